package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopLeftover stops a Postgres that still runs on the data directory from an earlier life of Tenon (kill -9). Our lock is held, so
// nobody else's can be meant. A postmaster.pid whose process is gone, or is something else by now, is removed.
func stopLeftover(ctx context.Context, data string, log *slog.Logger) error {
	pidFile := filepath.Join(data, "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", pidFile, err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 || !isPostmaster(pid, data) {
		if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the stale %s: %w", pidFile, err)
		}
		return nil
	}
	log.Info("embedded: stopping the Postgres of an earlier start", "pid", pid, "data", data)
	for _, step := range stopSteps[:2] { // Never SIGKILL: its children would go on writing for a moment.
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the Postgres of an earlier start (pid %d): %w", pid, err)
		}
		gone, err := waitGone(ctx, pid, data, step.wait)
		if err != nil || gone {
			return err
		}
	}
	return fmt.Errorf("a Postgres of an earlier start (pid %d) on %s does not stop: end it by hand, then start again", pid, data)
}

// waitGone polls, since a process that is not our child sends no notice of its end.
func waitGone(ctx context.Context, pid int, data string, limit time.Duration) (bool, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for isPostmaster(pid, data) {
		select {
		case <-tick.C:
		case <-deadline.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	return true, nil
}

// isPostmaster reports whether pid is a live process that works in the data directory, which a postmaster makes its own.
func isPostmaster(pid int, data string) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	if runtime.GOOS == "linux" {
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		return err == nil && sameFolder(cwd, data)
	}
	output, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(output), "postgres") && strings.Contains(string(output), data)
}

func sameFolder(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
