package checkout

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds everything that a test waits for: compiling everything anew on a slow machine is the longest.
const patience = 10 * time.Minute

// command is a running command in a session of its own, as a shell with a terminal would start it.
type command struct {
	cmd    *exec.Cmd
	output *bufio.Reader
	stderr *buffer
	folder []string // where its processes work, by which they are found
	ended  bool
}

// start runs a command in the checkout. At the test's end whatever is left of it is killed, and is a failure.
func (c *checkout) start(t *testing.T, extra []string, name string, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = c.dir, slices.Concat(c.env, extra)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.who.credential}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	run := &command{cmd: cmd, output: bufio.NewReader(output), stderr: &buffer{}, folder: []string{c.base}}
	cmd.Stderr = run.stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v (can the user %s run it?)", cmd, err, c.who.name)
	}
	t.Cleanup(func() {
		if !run.ended {
			_ = cmd.Cancel()
			run.wait()
		}
		cancel()
		for _, left := range run.left(t) {
			t.Errorf("left over: %s", left)
			_ = syscall.Kill(left.pid, syscall.SIGKILL)
		}
	})
	return run
}

// until reads the command's output up to a line that begins so, and returns it all.
func (r *command) until(t *testing.T, begin string) string {
	t.Helper()
	var text strings.Builder
	for {
		line, err := r.output.ReadString('\n')
		text.WriteString(line)
		if strings.HasPrefix(line, begin) {
			return text.String()
		}
		if err != nil {
			t.Fatalf("%s ended (%v) without a line %q: %s\n%s", r.cmd, errors.Join(err, r.wait()), begin, &text, r.stderr)
		}
	}
}

// end reads the rest of the command's output, waits for its end, and returns both.
func (r *command) end(t *testing.T) (string, error) {
	t.Helper()
	text, err := io.ReadAll(r.output)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), r.wait()
}

func (r *command) wait() error {
	r.ended = true
	return r.cmd.Wait()
}

// interrupt does what Ctrl-C does: the terminal signals all processes of the foreground's group.
func (r *command) interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// left lists the command's living processes.
func (r *command) left(t *testing.T) []process {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(p process) bool {
		return p.group != r.cmd.Process.Pid && p.session != r.cmd.Process.Pid && !p.worksIn(r.folder)
	})
}

// awaitNone waits until no process is left of a command that was killed: nobody is told of the end of what it left behind.
func (r *command) awaitNone(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := r.left(t)
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("still there: %v", left)
		}
	}
}

// process is a living process of this machine.
type process struct {
	pid, group, session int
	command             string
	places              []string // its working folder, its program, its arguments and its environment, as far as they may be seen
}

// String is for failures.
func (p process) String() string { return strconv.Itoa(p.pid) + " " + p.command }

// worksIn asks in several ways, since Postgres's processes leave the session, clear their environment and write over their arguments.
func (p process) worksIn(folders []string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool {
		return slices.ContainsFunc(p.places, func(place string) bool { return strings.Contains(place, folder) })
	})
}

func processes() ([]process, error) {
	if runtime.GOOS != "linux" {
		return listProcesses()
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	var all []process
	for _, folder := range folders {
		stat, err := os.ReadFile(filepath.Join(folder, "stat"))
		if err != nil {
			continue // it has just ended
		}
		p := process{}
		if p.pid, err = strconv.Atoi(filepath.Base(folder)); err != nil || p.pid == os.Getpid() {
			continue
		}
		var state string
		var parent int
		fields := string(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name before it may hold anything
		if _, err := fmt.Sscan(fields, &state, &parent, &p.group, &p.session); err != nil {
			return nil, fmt.Errorf("%s/stat: %w", folder, err)
		}
		if state == "Z" || state == "X" {
			continue // only its parent has not heard of its end
		}
		for _, name := range []string{"cmdline", "environ"} {
			if text, err := os.ReadFile(filepath.Join(folder, name)); err == nil {
				p.places = append(p.places, strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " ")))
			}
		}
		if len(p.places) > 0 {
			p.command = p.places[0]
		}
		for _, name := range []string{"cwd", "exe"} {
			if place, err := os.Readlink(filepath.Join(folder, name)); err == nil {
				p.places = append(p.places, place)
			}
		}
		all = append(all, p)
	}
	return all, err
}

// listProcesses is for systems without /proc; there the arguments and the group are all that is seen.
func listProcesses() ([]process, error) {
	out, err := exec.Command("ps", "-axww", "-o", "pid=,pgid=,stat=,command=").Output()
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	var all []process
	for line := range strings.Lines(string(out)) {
		var p process
		var state string
		if _, err := fmt.Sscan(line, &p.pid, &p.group, &state, &p.command); err != nil {
			return nil, fmt.Errorf("read %q: %w", line, err)
		}
		if p.pid == os.Getpid() || strings.HasPrefix(state, "Z") {
			continue
		}
		p.places = []string{line}
		all = append(all, p)
	}
	return all, nil
}

// running reads what tenond records of itself in its data folder, and makes sure that it is one of the command's processes.
func (r *command) running(t *testing.T, data string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	var record struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if !slices.ContainsFunc(r.left(t), func(p process) bool { return p.pid == record.PID }) {
		t.Fatalf("the process %d is none of this test's: %v", record.PID, r.left(t))
	}
	return record.PID
}

// buffer takes what a process writes while the test reads it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

// String is all of it so far.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
