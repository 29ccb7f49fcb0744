package tenon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	"github.com/tenon-run/tenon/sdk/go/internal/faketenon"
)

func double() *Workflow[int, int] {
	return NewTask("double", func(_ Context, in int) (int, error) { return 2 * in, nil })
}

func TestGraphPassesOutputsOn(t *testing.T) {
	b := setup(t)
	wf := NewWorkflow[int, string]("graph", WithRetries(1))
	twice := AddTask(wf, "twice", func(_ Context, in int) (int, error) { return 2 * in, nil })
	square := AddTask(wf, "square", func(_ Context, in int) (int, error) { return in * in, nil })
	AddTask(wf, "text", func(ctx Context, in int) (string, error) {
		a, err := ParentOutput(ctx, twice)
		if err != nil {
			return "", err
		}
		c, err := ParentOutput(ctx, square)
		return fmt.Sprintf("%s: %d, %d, %d", ctx.TaskName(), in, a, c), err
	}, WithParents(twice, square))
	b.start(WithSlots(2), WithWorkflows(wf))
	out, err := wf.TriggerAndWait(b.ctx, b.client, 5)
	if err != nil || out != "text: 5, 10, 25" {
		t.Fatalf("got %q, %v", out, err)
	}
}

// The shortest way to a result is one call, without a stream beside it.
func TestTriggerAndWaitIsOneCall(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf))
	if out, err := wf.TriggerAndWait(b.ctx, b.client, 4); err != nil || out != 8 {
		t.Fatalf("got %d, %v", out, err)
	}
	b.server.Look(func(s *faketenon.Seen) {
		if len(s.Triggers) != 1 || len(s.Awaits) != 0 {
			t.Errorf("the server saw %d triggers and %d awaits, want one and none", len(s.Triggers), len(s.Awaits))
		}
	})
}

func TestFailuresRetriesAndKinds(t *testing.T) {
	b := setup(t)
	wf := NewTask("moody", func(ctx Context, mood string) (int, error) {
		switch mood {
		case "flaky":
			if ctx.Attempt() < 3 {
				return 0, RetryAfter(Errorf("flaky", "not yet"), time.Millisecond)
			}
			return ctx.Attempt(), nil
		case "final":
			return 0, NonRetryable(Errorf("hopeless", "no use: %w", errors.New("inner")))
		case "exit":
			runtime.Goexit()
		}
		panic("boom")
	}, WithRetries(3))
	b.start(WithWorkflows(wf))
	if out, err := wf.TriggerAndWait(b.ctx, b.client, "flaky"); err != nil || out != 3 {
		t.Fatalf("flaky: got %d, %v", out, err)
	}
	for mood, want := range map[string]RunError{
		"final": {Kind: "hopeless", Message: "no use: inner"}, "panic": {Kind: KindPanic, Message: "panic: boom"},
		"exit": {Kind: KindPanic, Message: "the task's code ended its goroutine (runtime.Goexit)"},
	} {
		_, err := wf.TriggerAndWait(b.ctx, b.client, mood)
		got, ok := errors.AsType[*RunError](err)
		if !ok || got.Kind != want.Kind || got.Message != want.Message || got.Status != "failed" {
			t.Errorf("%s: got %v", mood, err)
		}
		if mood == "panic" && (got == nil || !strings.Contains(got.Stack, "worker_test.go")) {
			t.Errorf("the stack does not lead to the panic: %v", got)
		}
	}
	var wrong Workflow[[]string, int]
	wrong.def = wf.def
	_, err := wrong.TriggerAndWait(b.ctx, b.client, []string{"no string"})
	if got, ok := errors.AsType[*RunError](err); !ok || got.Kind != KindBadInput {
		t.Errorf("bad input: got %v", err)
	}
	attempts := 0
	b.server.Look(func(s *faketenon.Seen) {
		for _, batch := range s.Batches {
			for _, r := range batch {
				if r.GetFailed().GetError().GetKind() == "hopeless" {
					attempts++
				}
			}
		}
	})
	if attempts != 1 {
		t.Errorf("a failure that must not be retried was tried %d times", attempts)
	}
}

// One slot is enough for a parent and its children, all are awaited over one stream, and a retry of the parent finds them again.
func TestChildrenWithOneSlot(t *testing.T) {
	b := setup(t)
	leaf := double()
	top := NewTask("top", func(ctx Context, n int) (int, error) {
		var kids []Child[int]
		for i := range n {
			kids = append(kids, Child[int]{Key: fmt.Sprint("k", i), Input: i})
		}
		outs, err := Children(ctx, leaf, kids)
		if err != nil {
			return 0, err
		}
		if ctx.Attempt() == 1 {
			return 0, errors.New("once more")
		}
		one, err := RunChild(ctx, leaf, "k1", 77) // found by its key: the input is the old one
		if err != nil {
			return 0, err
		}
		sum := one
		for _, out := range outs {
			sum += out
		}
		return sum, nil
	}, WithRetries(1))
	b.start(WithSlots(1), WithWorkflows(leaf, top))
	out, err := top.TriggerAndWait(b.ctx, b.client, 20)
	if err != nil || out != 20*19+2 {
		t.Fatalf("got %d, %v", out, err)
	}
	b.server.Look(func(s *faketenon.Seen) {
		if len(s.Runs) != 21 {
			t.Errorf("%d runs were made, not one parent and 20 children", len(s.Runs))
		}
		withParent := 0
		for _, a := range s.Awaits {
			if a.GetParent() != nil {
				withParent++
			}
		}
		if withParent != 3 {
			t.Errorf("%d streams awaited children, not 3", withParent)
		}
	})
}

func TestFailedChildIsNamedByKey(t *testing.T) {
	b := setup(t)
	leaf := NewTask("leaf", func(_ Context, in int) (int, error) {
		if in == 1 {
			return 0, Errorf("odd", "it is one")
		}
		return in, nil
	})
	top := NewTask("top", func(ctx Context, _ int) (string, error) {
		_, err := Children(ctx, leaf, []Child[int]{{"zero", 0}, {"one", 1}, {"two", 2}})
		bulk, ok := errors.AsType[*BulkError](err)
		if !ok || len(bulk.Items) != 1 {
			return "", fmt.Errorf("got %w", err)
		}
		return bulk.Items[0].Key, nil
	})
	b.start(WithWorkflows(leaf, top))
	if out, err := top.TriggerAndWait(b.ctx, b.client, 0); err != nil || out != "one" {
		t.Fatalf("got %q, %v", out, err)
	}
}

// blocker is a workflow whose tasks run until released, or until their context ends when they obey.
type blocker struct {
	wf      *Workflow[int, int]
	started chan struct{}
	release chan struct{}
	cause   chan error
}

func newBlocker() *blocker {
	k := &blocker{started: make(chan struct{}, 100), release: make(chan struct{}), cause: make(chan error, 100)}
	k.wf = NewTask("block", func(ctx Context, in int) (int, error) {
		k.started <- struct{}{}
		select {
		case <-k.release:
			return in, nil
		case <-ctx.Done():
			k.cause <- context.Cause(ctx)
			return 0, ctx.Err()
		}
	})
	return k
}

func TestLogsAreStoredOnce(t *testing.T) {
	b := setup(t)
	wf := NewTask("talk", func(ctx Context, n int) (int, error) {
		log := ctx.Logger().With("who", "me").WithGroup("inner")
		for i := range n {
			log.Warn("line", "i", i, "err", errors.New("oops"))
		}
		ctx.Logger().Info(strings.Repeat("y", 100_000))
		return n, nil
	})
	stop := b.start(WithWorkflows(wf))
	b.server.Fail(workersv1connect.WorkerServiceLogProcedure, 1, connect.CodeUnavailable, true)
	if _, err := wf.TriggerAndWait(b.ctx, b.client, 100); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.server.Look(func(s *faketenon.Seen) {
		if len(s.Logs) != 101 {
			t.Fatalf("%d lines arrived", len(s.Logs))
		}
		var fields struct {
			Who   string
			Inner struct {
				I   int
				Err string
			}
		}
		if err := json.Unmarshal([]byte(s.Logs[7].GetFieldsJson()), &fields); err != nil || fields.Who != "me" || fields.Inner.I != 7 || fields.Inner.Err != "oops" {
			t.Errorf("got fields %s, %v", s.Logs[7].GetFieldsJson(), err)
		}
		if s.Logs[7].GetLevel() != runsv1.LogLevel_LOG_LEVEL_WARN || s.Logs[7].GetSequence() != 8 || s.Logs[7].GetTaskNo() != 1 {
			t.Errorf("got line %v", s.Logs[7])
		}
		if last := s.Logs[100].GetMessage(); len(last) > 64<<10 || !strings.HasSuffix(last, "(cut)") {
			t.Errorf("a long line has %d bytes and is not marked", len(last))
		}
		if calls := s.Calls[workersv1connect.WorkerServiceLogProcedure]; calls > 20 {
			t.Errorf("101 lines went out in %d calls", calls)
		}
	})
}

func TestInterceptorsStandAroundTasks(t *testing.T) {
	b := setup(t)
	var order []string
	note := func(name string) Interceptor {
		return func(ctx Context, next func(Context) error) error {
			order = append(order, name+" "+ctx.TaskName())
			defer func() { order = append(order, name+" done") }()
			return next(ctx)
		}
	}
	wf := double()
	stop := b.start(WithWorkflows(wf), WithInterceptors(note("outer"), note("inner")))
	if _, err := wf.TriggerAndWait(b.ctx, b.client, 1); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, ", "); got != "outer double, inner double, inner done, outer done" {
		t.Errorf("got %s", got)
	}
}

func TestWorkerStopsOnARefusedToken(t *testing.T) {
	b := setup(t)
	wf := double()
	w, err := b.client.NewWorker(WithWorkflows(wf))
	if err != nil {
		t.Fatal(err)
	}
	b.server.Fail(workersv1connect.WorkerServiceListenProcedure, 1, connect.CodeUnauthenticated, false)
	if err := w.Run(b.ctx); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("got %v", err)
	}
	if err := w.Run(b.ctx); err == nil {
		t.Error("a worker ran twice")
	}
}

func TestForgottenWorkerRegistersAgain(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf))
	b.server.Fail(workersv1connect.WorkerServiceListenProcedure, 1, connect.CodeNotFound, false)
	b.server.BreakSessions()
	b.until("the worker is back", func(s *faketenon.Seen) bool {
		return s.Calls[workersv1connect.WorkerServiceRegisterProcedure] == 2 && len(s.Listens) == 2
	})
	if out, err := wf.TriggerAndWait(b.ctx, b.client, 4); err != nil || out != 8 {
		t.Fatalf("got %d, %v", out, err)
	}
}

func TestNewWorkerNamesEveryFault(t *testing.T) {
	b := setup(t)
	one, two := NewWorkflow[int, int]("one"), NewWorkflow[int, int]("two")
	a := AddTask(one, "a", func(Context, int) (int, error) { return 0, nil })
	AddTask(one, "a", func(Context, int) (int, error) { return 0, nil })
	AddTask[int, int, int](one, "b", nil)
	AddTask(one, "c", func(Context, int) (int, error) { return 0, nil }, WithParents(a))
	AddTask(NewWorkflow[int, int]("three"), "d", func(Context, int) (int, error) { return 0, nil }, WithParents(a))
	_, err := b.client.NewWorker(WithSlots(0), WithWorkflows(one, two, two))
	for _, want := range []string{`task "a" is declared twice`, `task "b" has no function`, `"two" has no task`, `"two" is given twice`, "slots must be"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s: %v", want, err)
		}
	}
}
