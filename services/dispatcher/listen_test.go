package dispatcher

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

func TestListenDeliversAssignments(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(2), 1)
	open := h.owner.hearOpen()
	if open.GetDispatcher() != h.cfg.Instance || open.GetSlots() != 2 || open.GetSession() != 1 || len(open.GetActions()) != 1 {
		t.Errorf("the owner heard %v", open)
	}
	o := ordered()
	ref := newID(time.Now())
	o.Parents = []*busv1.OrderedParent{{Task: "a", Output: &busv1.Payload{Json: []byte("7")}}, {Task: "b", Output: &busv1.Payload{Ref: ref[:]}}}
	got := h.assign(l, o)
	if got.GetTaskNo() != 1 || got.GetTask() != "task" || got.GetInputJson() != `{"n":1}` || got.GetExecutionTimeout().AsDuration() != time.Minute {
		t.Errorf("the worker got %v", got)
	}
	if p := got.GetParents(); len(p) != 2 || p[0].GetOutputJson() != "7" || id(p[1].GetOutputRef()) != ref {
		t.Errorf("parents are %v", p)
	}
	h.order(l, 1, &busv1.SessionOrder{Cancels: []*busv1.OrderedCancel{{AssignmentId: o.GetAssignmentId(), Reason: 2}}, Withdrawals: [][]byte{o.GetAssignmentId()}})
	next := l.next()
	if len(next.GetCancels()) != 1 || next.GetCancels()[0].GetReason() != workersv1.CancelReason_CANCEL_REASON_TIMED_OUT || len(next.GetWithdrawals()) != 1 {
		t.Errorf("the worker got %v, want a cancel and a withdrawal", next)
	}
}

func TestOrdersOfAnotherEpochOrSessionAreDropped(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(8), 3)
	h.order(l, 0, &busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{ordered()}})
	h.order(l, 2, &busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{ordered()}})
	h.order(l, 1, &busv1.SessionOrder{Session: 2, Assignments: []*busv1.OrderedAssignment{ordered()}})
	h.assign(l, ordered()) // One publisher's messages arrive in order: nothing of the above came before it.
}

func TestOrderSentTwiceIsDeliveredOnce(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(8), 1)
	o := ordered()
	h.assign(l, o)
	h.order(l, 1, &busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{o}})
	h.assign(l, ordered())
}

func TestOlderSessionIsRefused(t *testing.T) {
	h := setup(t)
	worker := h.register(1)
	h.listen(worker, 5)
	wantFault(t, h.dial(worker, 5).end(), fault.CodeAborted, ReasonSessionStale)
	wantFault(t, h.dial(worker, 4).end(), fault.CodeAborted, ReasonSessionStale)
}

func TestNewerSessionEndsTheOlder(t *testing.T) {
	h := setup(t)
	worker := h.register(4)
	older := h.listen(worker, 1)
	kept, lost := ordered(), ordered()
	h.assign(older, kept)
	h.assign(older, lost)
	h.owner.hearOpen()
	newer := h.listen(worker, 2, held(kept))
	wantFault(t, older.end(), fault.CodeAborted, ReasonSessionSuperseded)
	open := h.owner.hearOpen()
	if len(open.GetHeld()) != 1 || id(open.GetHeld()[0].GetAssignmentId()) != id(kept.GetAssignmentId()) {
		t.Errorf("held is %v, want what the worker listed", open.GetHeld())
	}
	h.assign(newer, ordered())
	newer.hangUp()
	// Nothing was said about session 1: its successor took its place.
	if lose := h.owner.hearLose(); lose.GetSession() != 2 || lose.GetGone() {
		t.Errorf("the owner heard %v, want the loss of session 2", lose)
	}
}

func TestBrokenStreamLosesTheSession(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(1), 1)
	l.hangUp()
	if err := l.end(); err == nil {
		t.Error("Listen returned nil for a broken stream")
	}
	if lose := h.owner.hearLose(); lose.GetSession() != 1 || lose.GetGone() {
		t.Errorf("the owner heard %v", lose)
	}
}

func TestCloseOrderEndsTheSession(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(1), 1)
	h.order(l, 1, &busv1.SessionOrder{Close: true})
	wantFault(t, l.end(), fault.CodeAborted, ReasonSessionSuperseded)
}

func TestRefusedSessionIsToldToTheWorker(t *testing.T) {
	h := setup(t)
	h.owner.script(func(r *busv1.ShardRequest) *busv1.ShardReply {
		if r.GetOpenSession() == nil {
			return nil
		}
		return &busv1.ShardReply{Kind: &busv1.ShardReply_Session{Session: &busv1.OpenSessionReply{Error: refusal("", "no")}}}
	})
	wantFault(t, h.dial(h.register(1), 1).end(), fault.CodeInvalid, "")
}

// An owner's first orders may overtake its answer to OpenSession.
func TestOrdersBeforeTheAnswerWait(t *testing.T) {
	h := setup(t)
	worker := h.register(4)
	early, stale := ordered(), ordered()
	l := &listener{h: h, worker: worker, number: 1}
	arrived := make(chan struct{})
	h.owner.script(func(r *busv1.ShardRequest) *busv1.ShardReply {
		if r.GetOpenSession() == nil {
			return nil
		}
		h.order(l, 9, &busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{stale}})
		h.order(l, 1, &busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{early}})
		<-arrived
		return nil
	})
	go func() {
		defer close(arrived)
		w := h.find(h.caller.TenantID, id(workerID(t, worker)))
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			w.mu.Lock()
			waiting := w.session != nil && len(w.session.pending) == 2
			w.mu.Unlock()
			if waiting {
				return
			}
			runtime.Gosched()
		}
	}()
	got := h.listen(worker, 1).next().GetAssignments()
	if len(got) != 1 || id(got[0].GetAssignmentId()) != id(early.GetAssignmentId()) {
		t.Errorf("the worker got %v, want what its own owner sent", got)
	}
}

func TestShutdownDrainsTheStreams(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(1), 1)
	h.stop()
	if m := l.next(); !m.GetDrain() {
		t.Errorf("the last message is %v, want drain", m)
	}
	if err := l.end(); err != nil {
		t.Errorf("the stream ended with %v, want an orderly end", err)
	}
	if lose := h.owner.hearLose(); lose.GetGone() {
		t.Error("a worker whose server stops is not gone")
	}
	wantFault(t, h.dial(l.worker, 2).end(), fault.CodeUnavailable, ReasonShuttingDown)
}

func TestStreamBeatsAndBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{cfg: Config{Beat: 5 * time.Second}}
		w := &worker{slots: 100, sent: make(map[flow.ID]*assignment)}
		ctx, cancel := context.WithCancelCause(t.Context())
		ses := &session{worker: w, number: 1, epoch: 1, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1)}
		w.session = ses
		type sent struct {
			m  *workersv1.ListenResponse
			at time.Duration
		}
		var got []sent
		began := time.Now()
		done := make(chan error)
		go func() {
			done <- s.stream(ses, func(m *workersv1.ListenResponse) error {
				got = append(got, sent{m, time.Since(began)})
				time.Sleep(time.Second) // The wire is slow: what gathers meanwhile leaves together.
				return nil
			})
		}()
		time.Sleep(7500 * time.Millisecond) // opened at 0 s (until 1 s), a beat at 6 s (until 7 s)
		for range 3 {
			w.mu.Lock()
			ses.apply(&busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{ordered(), ordered()}})
			ses.signal()
			w.mu.Unlock()
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		cancel(fault.Aborted("TEST", "over"))
		wantFault(t, <-done, fault.CodeAborted, "TEST")
		if len(got) != 4 || !got[0].m.GetOpened() || got[1].at != 6*time.Second || proto.Size(got[1].m) != 0 {
			t.Fatalf("sent %v, want opened, a beat after 5 s of quiet, and two batches", got)
		}
		if first, second := len(got[2].m.GetAssignments()), len(got[3].m.GetAssignments()); first != 2 || second != 4 {
			t.Errorf("batches have %d and %d assignments, want 2 and then the 4 that had gathered", first, second)
		}
	})
}

func TestFramesAreCut(t *testing.T) {
	t.Parallel()
	var out outbox
	for range 5 {
		o := ordered()
		o.Input = &busv1.Payload{Json: make([]byte, 200<<10)}
		out.assignments = append(out.assignments, wireAssignment(o))
	}
	out.cancels = append(out.cancels, &workersv1.Cancel{AssignmentId: make([]byte, 16)})
	frames := out.frames()
	count := 0
	for _, f := range frames {
		count += len(f.GetAssignments())
		if size := proto.Size(f); size > MaxFrame {
			t.Errorf("a frame has %d bytes", size)
		}
	}
	if len(frames) != 3 || count != 5 || len(frames[2].GetCancels()) != 1 {
		t.Errorf("%d frames with %d assignments, want 3 with 5 and the cancel last", len(frames), count)
	}
}
