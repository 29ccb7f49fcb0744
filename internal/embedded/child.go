package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// child is a running Postgres and the goroutine that waits for it.
type child struct {
	pid  int
	done chan struct{}
	err  error // set before done is closed
}

// startChild starts cmd. The operating system thread that starts it stays locked until the child has ended, because the death signal
// follows the thread, not the process.
func startChild(cmd *exec.Cmd) (*child, error) {
	c := &child{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(c.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		c.pid = cmd.Process.Pid
		started <- nil
		c.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		<-c.done
		return nil, err
	}
	return c, nil
}

// stopSteps are Postgres's ways to stop, from polite to violent, with the wait after each: fast shutdown (roll back, checkpoint, exit),
// immediate shutdown (as in a crash), and the kernel's.
var stopSteps = []struct {
	signal syscall.Signal
	wait   time.Duration
}{
	{syscall.SIGINT, 30 * time.Second},
	{syscall.SIGQUIT, 5 * time.Second},
	{syscall.SIGKILL, 5 * time.Second},
}

// stop ends the child. When ctx ends, it goes on to the next, less polite step at once; it returns when the process is gone.
func (c *child) stop(ctx context.Context) error {
	for _, step := range stopSteps {
		if err := syscall.Kill(c.pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("send %s to Postgres (pid %d): %w", step.signal, c.pid, err)
		}
		timer := time.NewTimer(step.wait)
		wait := ctx.Done()
		if step.signal != syscall.SIGINT {
			wait = nil // The violent steps always get their time, it is short.
		}
		select {
		case <-c.done:
			timer.Stop()
			return nil
		case <-wait:
		case <-timer.C:
		}
		timer.Stop()
	}
	return fmt.Errorf("postgres (pid %d) has survived SIGKILL", c.pid)
}

// runAs runs a command to its end as the account and returns its output on failure.
func runAs(ctx context.Context, owner account, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.Env = childEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner.credential()}
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, tail(output, 2000))
	}
	return nil
}

// childEnv is the environment of Postgres: nothing of ours but what it needs, so that no PG* variable changes its mind and no secret
// stands in its /proc entry.
func childEnv() []string {
	env := []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "LANG=C", "TZ=UTC"}
	if temp := os.Getenv("TMPDIR"); temp != "" {
		env = append(env, "TMPDIR="+temp)
	}
	return env
}

func tail(output []byte, limit int) []byte {
	if len(output) > limit {
		return output[len(output)-limit:]
	}
	return output
}
