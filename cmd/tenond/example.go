package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tenon-run/tenon/internal/embedded"
)

// exampleWorkflow is what the example worker serves and `tenond dev` runs.
const exampleWorkflow = "stdlib-index"

// errNoCheckout means that tenond runs outside of its own source tree: the example is built from there.
var errNoCheckout = errors.New("the example is built from Tenon's checkout, and this is none: run tenond dev inside it, or with --no-example")

// findCheckout looks for the source tree at or above the working folder.
func findCheckout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "examples", "go", "stdindex", "worker")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errNoCheckout
		}
		dir = parent
	}
}

// buildExample builds the example's programs into a folder.
func buildExample(ctx context.Context, into string, programs ...string) error {
	checkout, err := findCheckout()
	if err != nil {
		return err
	}
	const anyone = 0o755
	if err := os.MkdirAll(into, anyone); err != nil {
		return err
	}
	// Git refuses to speak of a checkout that belongs to another user, and the stamp is of no use here.
	args := []string{"build", "-buildvcs=false", "-o", into + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./stdindex/"+p)
	}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own example
	cmd.Dir = filepath.Join(checkout, "examples", "go")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the example with go: %w\n%s", err, out)
	}
	return nil
}

// workerProcess is an example worker as a process of its own, which dies with this one.
type workerProcess struct {
	cmd     *exec.Cmd
	running atomic.Int64 // tasks that it has started and not ended, by its trace
	done    chan struct{}
	wait    sync.Once
}

func startWorker(program string, env []string, output io.Writer, args ...string) (*workerProcess, error) {
	w := &workerProcess{cmd: exec.Command(program, args...), done: make(chan struct{})} //nolint:gosec,noctx // stopped by stop, in order
	w.cmd.Env = append(os.Environ(), env...)
	w.cmd.Stderr = output
	w.cmd.SysProcAttr = embedded.ChildAttributes()
	trace, traced := io.Pipe()
	w.cmd.Stdout = traced
	started := make(chan error, 1)
	go func() {
		defer close(w.done)
		// The death signal follows the thread that started the child: it has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := w.cmd.Start()
		started <- err
		if err == nil {
			_ = w.cmd.Wait() // its end is what matters; how it ended is in its own log
		}
		_ = traced.Close() // never fails
	}()
	go w.read(trace)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the example worker: %w", err)
	}
	return w, nil
}

// read follows the worker's trace: one line of JSON when a task starts and when it ends.
func (w *workerProcess) read(trace io.Reader) {
	lines := bufio.NewScanner(trace)
	for lines.Scan() {
		var e struct {
			Event string `json:"event"`
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch e.Event {
		case "start":
			w.running.Add(1)
		case "end":
			w.running.Add(-1)
		}
	}
}

// stop lets the worker finish what it runs, and ends it by force when it takes too long.
func (w *workerProcess) stop() {
	const patience = 10 * time.Second
	w.wait.Do(func() {
		_ = w.cmd.Process.Signal(syscall.SIGTERM) // gone already is as good
		select {
		case <-w.done:
		case <-time.After(patience):
			_ = w.cmd.Process.Kill() // gone already is as good
			<-w.done
		}
	})
}

// kill ends the worker as a crash would.
func (w *workerProcess) kill() error {
	err := w.cmd.Process.Kill()
	<-w.done
	return err
}

// direct runs the program that indexes the same tree without Tenon, and returns its digest.
func direct(ctx context.Context, program, root string) (string, error) {
	args := []string{}
	if root != "" {
		args = append(args, "-root", root)
	}
	out, err := exec.CommandContext(ctx, program, args...).Output() //nolint:gosec // our own example
	if err != nil {
		return "", fmt.Errorf("index directly: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
