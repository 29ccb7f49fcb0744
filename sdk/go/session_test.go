package tenon

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	"github.com/tenon-run/tenon/sdk/go/internal/faketenon"
)

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

// A worker that people have drained finishes its task, and Run returns by itself.
func TestAWorkerThatIsToldToStopEnds(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	w, err := b.client.NewWorker(WithSlots(1), WithWorkflows(k.wf))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(b.ctx) }()
	b.until("the worker is there", func(s *faketenon.Seen) bool { return len(s.Listens) > 0 })
	run, err := k.wf.Trigger(b.ctx, b.client, 3)
	if err != nil {
		t.Fatal(err)
	}
	b.receive("the start", k.started)
	b.server.Send(&workersv1.ListenResponse{Stop: true})
	b.until("the worker drains", func(s *faketenon.Seen) bool { return len(s.Beats) > 0 && s.Beats[len(s.Beats)-1].GetDraining() })
	close(k.release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if out, err := run.Result(b.ctx); err != nil || out != 3 {
		t.Fatalf("got %d, %v", out, err)
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
