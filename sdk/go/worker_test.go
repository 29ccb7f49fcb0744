package tenon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
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

func TestBrokenSessionKeepsTasks(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	b.start(WithWorkflows(k.wf))
	run, err := k.wf.Trigger(b.ctx, b.client, 7)
	if err != nil {
		t.Fatal(err)
	}
	b.receive("the start", k.started)
	b.server.Fail(workersv1connect.WorkerServiceListenProcedure, 2, connect.CodeUnavailable, false)
	b.server.BreakSessions()
	b.until("the worker is back", func(s *faketenon.Seen) bool { return len(s.Listens) == 2 })
	b.server.Look(func(s *faketenon.Seen) {
		again := s.Listens[1]
		if len(again.GetHeld()) != 1 || again.GetHeld()[0].GetRunning() == nil || again.GetHeld()[0].GetTaskNo() != 1 || again.GetSession() <= s.Listens[0].GetSession() {
			t.Errorf("the worker came back with %v", again)
		}
	})
	close(k.release)
	if out, err := run.Result(b.ctx); err != nil || out != 7 {
		t.Fatalf("got %d, %v", out, err)
	}
	if len(k.started) != 0 {
		t.Error("the task ran twice")
	}
}

// A result whose answer got lost is sent again, the second answer is taken, and the assignment that comes twice meanwhile is not run twice.
func TestLostAnswerAndRetryVerdict(t *testing.T) {
	var retries atomic.Int32
	b := setup(t, func(s *faketenon.Server) {
		s.Verdict = func(r *workersv1.Report) workersv1.ReportVerdict {
			if r.GetCompleted() != nil && retries.Add(1) <= 3 {
				return workersv1.ReportVerdict_REPORT_VERDICT_RETRY
			}
			return workersv1.ReportVerdict_REPORT_VERDICT_UNSPECIFIED
		}
	})
	var runs atomic.Int32
	wf := NewTask("once", func(Context, int) (int, error) { return int(runs.Add(1)), nil })
	b.start(WithWorkflows(wf))
	b.server.Fail(workersv1connect.WorkerServiceReportProcedure, 1, connect.CodeUnavailable, true)
	if out, err := wf.TriggerAndWait(b.ctx, b.client, 0); err != nil || out != 1 || retries.Load() < 4 {
		t.Fatalf("got %d, %v after %d reports", out, err, retries.Load())
	}
	// The same again, now with the answer to the result itself lost: the server knows the assignment no more and says so.
	b.server.Fail(workersv1connect.WorkerServiceReportProcedure, 2, connect.CodeUnavailable, true)
	if out, err := wf.TriggerAndWait(b.ctx, b.client, 0); err != nil || out != 2 {
		t.Fatalf("got %d, %v", out, err)
	}
}

func TestRefusedOutputFailsTheTask(t *testing.T) {
	b := setup(t, func(s *faketenon.Server) {
		s.PayloadLimit = 100
		s.Verdict = func(r *workersv1.Report) workersv1.ReportVerdict {
			if r.GetCompleted().GetOutputJson() == `"bad"` {
				return workersv1.ReportVerdict_REPORT_VERDICT_REFUSED
			}
			return workersv1.ReportVerdict_REPORT_VERDICT_UNSPECIFIED
		}
	})
	wf := NewTask("echo", func(_ Context, in string) (string, error) { return in, nil }, WithRetries(5))
	b.start(WithWorkflows(wf))
	for _, in := range []string{"bad", strings.Repeat("x", 200)} {
		_, err := wf.TriggerAndWait(b.ctx, b.client, in)
		if got, ok := errors.AsType[*RunError](err); !ok || got.Kind != KindBadOutput {
			t.Errorf("%.10s: got %v", in, err)
		}
	}
}

// While one report is under way the next gather, and a task that ends meanwhile is reported once.
func TestReportsGather(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	b.start(WithSlots(50), WithWorkflows(k.wf))
	entered, release := b.server.Gate(workersv1connect.WorkerServiceReportProcedure)
	inputs := make([]int, 50)
	runs, err := k.wf.TriggerMany(b.ctx, b.client, inputs)
	if err != nil {
		t.Fatal(err)
	}
	b.receive("the first report", entered)
	for range inputs {
		b.receive("a start", k.started)
	}
	close(k.release)
	release()
	if _, err := Await(b.ctx, runs...); err != nil {
		t.Fatal(err)
	}
	b.server.Look(func(s *faketenon.Seen) {
		if n := len(s.Batches); n > 20 {
			t.Errorf("50 tasks were reported in %d calls", n)
		}
	})
}

func TestCancelStopsATask(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	b.start(WithWorkflows(k.wf))
	run, err := k.wf.Trigger(b.ctx, b.client, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.receive("the start", k.started)
	if _, err := run.Cancel(b.ctx, "enough"); err != nil {
		t.Fatal(err)
	}
	_, err = run.Result(b.ctx)
	if got, ok := errors.AsType[*RunError](err); !ok || got.Status != "cancelled" {
		t.Fatalf("got %v", err)
	}
	if cause := <-k.cause; !errors.Is(cause, ErrCancelled) {
		t.Errorf("the task was told %v", cause)
	}
}

func TestSupersededTaskStops(t *testing.T) {
	b := setup(t, func(s *faketenon.Server) {
		s.Verdict = func(r *workersv1.Report) workersv1.ReportVerdict {
			if r.GetStarted() != nil {
				return workersv1.ReportVerdict_REPORT_VERDICT_SUPERSEDED
			}
			return workersv1.ReportVerdict_REPORT_VERDICT_UNSPECIFIED
		}
	})
	k := newBlocker()
	b.start(WithWorkflows(k.wf))
	if _, err := k.wf.Trigger(b.ctx, b.client, 0); err != nil {
		t.Fatal(err)
	}
	select {
	case cause := <-k.cause:
		if !errors.Is(cause, ErrSuperseded) {
			t.Errorf("the task was told %v", cause)
		}
	case <-b.ctx.Done():
		t.Fatal("the task went on")
	}
}

func TestOutOfTouchCancelsTasks(t *testing.T) {
	b := setup(t, func(s *faketenon.Server) { s.Grace = 100 * time.Millisecond })
	k := newBlocker()
	b.start(WithWorkflows(k.wf))
	if _, err := k.wf.Trigger(b.ctx, b.client, 0); err != nil {
		t.Fatal(err)
	}
	b.receive("the start", k.started)
	for _, procedure := range []string{workersv1connect.WorkerServiceListenProcedure, workersv1connect.WorkerServiceHeartbeatProcedure, workersv1connect.WorkerServiceReportProcedure} {
		b.server.Fail(procedure, 1<<30, connect.CodeUnavailable, false)
	}
	b.server.BreakSessions()
	select {
	case cause := <-k.cause:
		if !errors.Is(cause, ErrOutOfTouch) {
			t.Errorf("the task was told %v", cause)
		}
	case <-b.ctx.Done():
		t.Fatal("the task went on")
	}
	b.server.Forgive()
	b.until("the worker is back", func(s *faketenon.Seen) bool { return len(s.Listens) >= 2 })
}

// A draining worker says so, gives new assignments back, lets its task finish and delivers the result.
func TestDrainFinishesRunningTasks(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	stop := b.start(WithSlots(1), WithWorkflows(k.wf))
	run, err := k.wf.Trigger(b.ctx, b.client, 3)
	if err != nil {
		t.Fatal(err)
	}
	b.receive("the start", k.started)
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	b.until("the worker drains", func(s *faketenon.Seen) bool { return len(s.Beats) > 0 && s.Beats[len(s.Beats)-1].GetDraining() })
	b.server.Send(&workersv1.ListenResponse{Assignments: []*workersv1.Assignment{{
		AssignmentId: []byte("one too many....")[:16], RunId: run.ID(), Workflow: "block", Task: "block", TaskNo: 1, Attempt: 1, InputJson: "0",
	}}})
	b.until("the late one is back", func(s *faketenon.Seen) bool {
		for _, batch := range s.Batches {
			for _, r := range batch {
				if r.GetWithdrawn() != nil {
					return true
				}
			}
		}
		return false
	})
	close(k.release)
	ended.Wait()
	if out, err := run.Result(b.ctx); err != nil || out != 3 {
		t.Fatalf("got %d, %v", out, err)
	}
}

func TestDrainTimeoutCancels(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	stop := b.start(WithWorkflows(k.wf), WithDrainTimeout(time.Millisecond))
	if _, err := k.wf.Trigger(b.ctx, b.client, 3); err != nil {
		t.Fatal(err)
	}
	b.receive("the start", k.started)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if cause := <-k.cause; !errors.Is(cause, ErrWorkerStopped) {
		t.Errorf("the task was told %v", cause)
	}
}

func TestServerDrainMovesTheSession(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf))
	b.server.Send(&workersv1.ListenResponse{Drain: true})
	b.until("the worker is back", func(s *faketenon.Seen) bool { return len(s.Listens) == 2 })
	if out, err := wf.TriggerAndWait(b.ctx, b.client, 4); err != nil || out != 8 {
		t.Fatalf("got %d, %v", out, err)
	}
}

// An assignment whose input is still being read is given back; one that runs is not.
func TestWithdrawal(t *testing.T) {
	b := setup(t, func(s *faketenon.Server) { s.InlineLimit = 10 })
	var ran atomic.Int32
	wf := NewTask("big", func(_ Context, in string) (int, error) {
		ran.Add(1)
		return len(in), nil
	})
	b.start(WithWorkflows(wf))
	entered, release := b.server.Gate(workersv1connect.WorkerServiceGetPayloadsProcedure)
	run, err := wf.Trigger(b.ctx, b.client, strings.Repeat("x", 1000))
	if err != nil {
		t.Fatal(err)
	}
	b.receive("the read", entered)
	var id []byte
	b.until("the acknowledgement", func(s *faketenon.Seen) bool {
		if len(s.Batches) > 0 && s.Batches[0][0].GetAcknowledged() != nil {
			id = s.Batches[0][0].GetAssignmentId()
		}
		return id != nil
	})
	b.server.Send(&workersv1.ListenResponse{Withdrawals: [][]byte{id}})
	b.until("it is back", func(s *faketenon.Seen) bool {
		for _, batch := range s.Batches {
			for _, r := range batch {
				if r.GetWithdrawn() != nil && string(r.GetAssignmentId()) == string(id) {
					return true
				}
			}
		}
		return false
	})
	release()
	// The server offers it again, and now it runs.
	if out, err := run.Result(b.ctx); err != nil || out != 1000 || ran.Load() != 1 {
		t.Fatalf("got %d, %v after %d starts", out, err, ran.Load())
	}
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
