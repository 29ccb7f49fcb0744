package loop_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tenon-run/tenon/internal/loop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// diary records who did what, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// member works until its context ends.
func (d *diary) member(name string) loop.Service {
	return loop.Service{Name: name, Run: func(ctx context.Context, ready func()) error {
		d.write("start " + name)
		ready()
		<-ctx.Done()
		d.write(fmt.Sprintf("stop %s: %v", name, context.Cause(ctx)))
		return ctx.Err()
	}}
}

func newGroup() *loop.Group { return loop.NewGroup(slog.New(slog.DiscardHandler)) }

func TestGroupStartsInOrderAndStopsInReverse(t *testing.T) {
	t.Parallel()
	var seen diary
	group := newGroup()
	for _, name := range []string{"a", "b", "c"} {
		group.AddService(seen.member(name))
	}
	ctx, cancel := context.WithCancel(t.Context())
	group.Add("last", func(context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if err := group.Run(ctx); err != nil {
		t.Fatal(err)
	}
	want := []string{"start a", "start b", "start c", "stop c: shutting down", "stop b: shutting down", "stop a: shutting down"}
	if got := seen.read(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGroupFirstFailureStopsAllWithItsCause(t *testing.T) {
	t.Parallel()
	var seen diary
	group := newGroup()
	group.AddService(seen.member("a"))
	broken := errors.New("disk full")
	group.Add("b", func(context.Context) error { return broken })
	err := group.Run(t.Context())
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "service b") {
		t.Errorf("Run = %v, want disk full of service b", err)
	}
	if got := seen.read(); len(got) != 2 || !strings.Contains(got[1], "disk full") {
		t.Errorf("a did not hear why it ended: %q", got)
	}
}

func TestGroupDoesNotStartAfterAFailureToGetReady(t *testing.T) {
	t.Parallel()
	var seen diary
	group := newGroup()
	group.AddService(loop.Service{Name: "a", Run: func(context.Context, func()) error { return errors.New("no port") }})
	group.AddService(seen.member("b"))
	if err := group.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no port") {
		t.Errorf("Run = %v, want no port", err)
	}
	if got := seen.read(); len(got) != 0 {
		t.Errorf("b was started: %q", got)
	}
}

func TestGroupSeesAFailureWhileALaterOneGetsReady(t *testing.T) {
	t.Parallel()
	group := newGroup()
	second := make(chan struct{})
	group.Add("a", func(context.Context) error {
		<-second
		return errors.New("a broke")
	})
	group.AddService(loop.Service{Name: "b", Run: func(ctx context.Context, _ func()) error {
		close(second)
		<-ctx.Done() // Never ready.
		return ctx.Err()
	}})
	if err := group.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "a broke") {
		t.Errorf("Run = %v, want a broke", err)
	}
}

func TestGroupAServiceThatEndsByItselfIsAFailure(t *testing.T) {
	t.Parallel()
	group := newGroup()
	group.Add("a", func(context.Context) error { return nil })
	if err := group.Run(t.Context()); !errors.Is(err, loop.ErrEnded) {
		t.Errorf("Run = %v, want ErrEnded", err)
	}
}

func TestGroupPanicIsAnErrorWithItsStack(t *testing.T) {
	t.Parallel()
	group := newGroup()
	group.Add("a", func(context.Context) error { panic("boom") })
	err := group.Run(t.Context())
	var panicked *loop.PanicError
	if !errors.As(err, &panicked) || panicked.Value != "boom" || !strings.Contains(string(panicked.Stack), "loop_test.go") {
		t.Errorf("Run = %v, want a PanicError with a stack through this file", err)
	}
}

func TestGroupNamesAServiceThatDoesNotStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		group := newGroup()
		group.AddService(loop.Service{Name: "deaf", StopTimeout: time.Second, Run: func(_ context.Context, ready func()) error {
			ready()
			<-release
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		group.Add("never started", func(context.Context) error { return errors.New("started after the end") })
		if err := group.Run(ctx); err != nil {
			t.Errorf("a group whose context has ended starts nothing, got %v", err)
		}

		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		group = newGroup()
		group.AddService(loop.Service{Name: "deaf", StopTimeout: time.Second, Run: func(_ context.Context, ready func()) error {
			ready()
			<-release
			return nil
		}})
		began := time.Now()
		err := group.Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "deaf") || time.Since(began) != time.Minute+time.Second {
			t.Errorf("Run = %v after %s, want deaf named after 1m1s", err, time.Since(began))
		}
		close(release)
	})
}

func TestTaskStopGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	task := loop.Start(t.Context(), "deaf", func(context.Context) error {
		<-release
		return errors.New("late")
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("impatient"))
	if err := task.Stop(ctx); err == nil || !strings.Contains(err.Error(), "impatient") {
		t.Errorf("Stop = %v, want impatient", err)
	}
	close(release)
	if err := task.Stop(t.Context()); err == nil || err.Error() != "late" {
		t.Errorf("Stop = %v, want late", err)
	}
}

// TestStress starts and stops from many goroutines at once; the race detector and goleak are the judges.
func TestStress(t *testing.T) {
	t.Parallel()
	for round := range 200 {
		var seen diary
		group := newGroup()
		for member := range 5 {
			group.AddService(seen.member(fmt.Sprint(member)))
		}
		if round%3 == 0 {
			group.Add("fails", func(context.Context) error { return errors.New("broken") })
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		runner := loop.Start(ctx, "group", group.Run)
		var callers sync.WaitGroup
		for caller := range 4 {
			callers.Go(func() {
				if caller%2 == 0 {
					cancel()
				}
				if err := runner.Stop(t.Context()); err != nil && !strings.Contains(err.Error(), "broken") {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		callers.Wait()
		cancel()
		starts, stops := 0, 0
		for _, line := range seen.read() {
			if strings.HasPrefix(line, "start") {
				starts++
			} else {
				stops++
			}
		}
		if starts != stops {
			t.Fatalf("round %d: %d members started, %d stopped", round, starts, stops)
		}
	}
}
