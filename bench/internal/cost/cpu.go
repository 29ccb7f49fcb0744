// Package cost reads what work cost: CPU time from the kernel (Linux), and writes, transactions, statements and WAL from Postgres's own statistics.
// Only the bench's scenarios import it.
package cost

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc, USER_HZ: 10 ms on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU is the time that a process has spent so far, children that it waited for included. The error is os.ErrNotExist where there is no /proc.
func CPU(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	return s.own + s.waited, err
}

// CPUTree is CPU of a process and of all its running children: for Postgres, whose backends are children of its first process.
func CPUTree(pid int) (time.Duration, error) {
	total, err := CPU(pid)
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// One that has ended meanwhile is in its parent's sum the next time.
		if s, err := readStat(child); err == nil && s.parent == pid {
			total += s.own + s.waited
		}
	}
	return total, nil
}

type stat struct {
	parent      int
	own, waited time.Duration
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// parseStat reads the fields after the command's name, which stands in parentheses and may hold anything.
func parseStat(text []byte) (stat, error) {
	const parent, userTime, systemTime, waitedUser, waitedSystem = 1, 11, 12, 13, 14
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= waitedSystem {
		return stat{}, fmt.Errorf("/proc/pid/stat has %d fields after the name", len(fields))
	}
	var numbers [waitedSystem + 1]int64
	for _, i := range []int{parent, userTime, systemTime, waitedUser, waitedSystem} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("/proc/pid/stat: %w", err)
		}
		numbers[i] = n
	}
	return stat{
		parent: int(numbers[parent]),
		own:    time.Duration(numbers[userTime]+numbers[systemTime]) * tick,
		waited: time.Duration(numbers[waitedUser]+numbers[waitedSystem]) * tick,
	}, nil
}

// PeakMemory is the most memory, in bytes, that a process has had resident so far. The error is os.ErrNotExist where there is no /proc.
func PeakMemory(pid int) (int64, error) {
	return memory(pid, "VmHWM:")
}

// Memory is what a process has resident now, in bytes. The error is os.ErrNotExist where there is no /proc.
func Memory(pid int) (int64, error) {
	return memory(pid, "VmRSS:")
}

func memory(pid int, field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseMemory(text, field)
}

func parseMemory(text []byte, field string) (int64, error) {
	const kibibyte = 1024
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n * kibibyte, err
		}
	}
	return 0, fmt.Errorf("/proc/pid/status has no %s", field)
}
