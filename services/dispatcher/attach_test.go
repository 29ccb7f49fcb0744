package dispatcher

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/fault"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

func (h *house) census(epoch int64) {
	h.t.Helper()
	data, err := proto.Marshal(&busv1.SessionsWanted{Shard: h.shard, Epoch: epoch})
	must(h.t, err)
	must(h.t, h.bus.Publish(SubjectSessionsWanted, data))
}

func TestNewOwnerGetsTheSessionsWithWhatTheyHold(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(8), 1)
	h.owner.hearOpen()
	running, done, waiting := ordered(), ordered(), ordered()
	for _, o := range []*busv1.OrderedAssignment{running, done, waiting} {
		h.assign(l, o)
	}
	l.report(started(running), completed(done, "1"))
	h.clock.advance(3 * time.Second)
	h.owner.takeOver(2)
	h.census(2)
	open := h.owner.hearOpen()
	if open.GetSession() != 1 || len(open.GetHeld()) != 2 {
		t.Fatalf("the new owner heard %v, want session 1 with two assignments", open)
	}
	for _, item := range open.GetHeld() {
		if isRunning := id(item.GetAssignmentId()) == id(running.GetAssignmentId()); isRunning != item.GetStarted() || isRunning != (item.GetRunning() == 3_000_000) {
			t.Errorf("held %v is not as the worker reported", item)
		}
	}
	h.awaitEpoch(l, 2)
	h.order(l, 1, &busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{ordered()}})
	h.assign(l, ordered()) // The old owner's order was refused, or it would have come first.
}

// awaitEpoch waits until a session is attached to an epoch.
func (h *house) awaitEpoch(l *listener, epoch int64) {
	h.t.Helper()
	w := h.find(h.caller.TenantID, id(workerID(h.t, l.worker)))
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		w.mu.Lock()
		attached := w.session != nil && w.session.epoch == epoch
		w.mu.Unlock()
		if attached {
			return
		}
		runtime.Gosched()
	}
	h.t.Fatalf("the session was not attached to epoch %d", epoch)
}

func TestReportFindsANewOwnerWhoseCallWasLost(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(8), 1)
	h.owner.hearOpen()
	h.owner.takeOver(2)
	l.report(completed(ordered(), "1"))
	h.owner.hearOpen()
	h.awaitEpoch(l, 2)
}

func TestProbeFindsANewOwnerWhoseCallWasLost(t *testing.T) {
	h := setup(t, func(c *Config) { c.ProbeInterval = 20 * time.Millisecond })
	l := h.listen(h.register(8), 1)
	h.owner.takeOver(2)
	h.awaitEpoch(l, 2)
}

func TestRestartedDispatcherLearnsFromTheWorker(t *testing.T) {
	h := setup(t)
	worker := h.register(8)
	l := h.listen(worker, 1)
	o := ordered()
	h.assign(l, o)
	h.owner.hearOpen()
	h.start()
	brought := held(o)
	brought.Running = durationpb.New(2 * time.Second)
	again := h.listen(worker, 2, brought)
	open := h.owner.hearOpen()
	if len(open.GetHeld()) != 1 || !open.GetHeld()[0].GetStarted() || open.GetHeld()[0].GetRunning() != 2_000_000 || open.GetHeld()[0].GetTaskNo() != 1 {
		t.Fatalf("the owner heard %v", open)
	}
	h.order(again, 1, &busv1.SessionOrder{Cancels: []*busv1.OrderedCancel{{AssignmentId: o.GetAssignmentId(), Reason: 3}}})
	if m := again.next(); len(m.GetCancels()) != 1 {
		t.Errorf("the worker got %v, want the cancel of what it brought along", m)
	}
}

func TestProbeEndsASessionThatItsOwnerTakesForLost(t *testing.T) {
	h := setup(t, func(c *Config) { c.ProbeInterval = 20 * time.Millisecond })
	h.owner.script(func(r *busv1.ShardRequest) *busv1.ShardReply {
		reply := &busv1.CheckSessionsReply{}
		for _, s := range r.GetCheckSessions().GetSessions() {
			if s.GetSession() == 1 {
				reply.Missing = append(reply.Missing, s)
			}
		}
		if len(reply.GetMissing()) == 0 {
			return nil
		}
		return &busv1.ShardReply{Kind: &busv1.ShardReply_Sessions{Sessions: reply}}
	})
	worker := h.register(8)
	if err := h.listen(worker, 1).end(); !fault.HasReason(err, ReasonSessionLost) {
		t.Fatalf("the stream ended with %v", err)
	}
	h.assign(h.listen(worker, 2), ordered())
}

// deaf owners do not hear the first few times that a session is lost.
type deaf struct {
	Owners

	left atomic.Int32
}

func (d *deaf) Call(ctx context.Context, tenantID int64, request *busv1.ShardRequest) (*busv1.ShardReply, int64, error) {
	if request.GetLoseSession() != nil && d.left.Add(-1) >= 0 {
		return nil, 0, fault.Unavailable("DEAF", "no answer in time")
	}
	return d.Owners.Call(ctx, tenantID, request)
}

func TestOwnersAreToldUntilOneHears(t *testing.T) {
	h := setup(t, func(c *Config) {
		owners := &deaf{Owners: c.Owners}
		owners.left.Store(3)
		c.Owners = owners
	})
	l := h.listen(h.register(8), 1)
	l.hangUp()
	if lost := h.owner.hearLose(); lost.GetSession() != 1 || lost.GetGone() {
		t.Errorf("the owner heard %v", lost)
	}
}

func TestOrdersThatFollowAnOlderListAreDropped(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(8), 1)
	h.owner.takeOver(2)
	h.detach(h.find(h.caller.TenantID, id(workerID(t, l.worker))), 2)
	h.awaitEpoch(l, 2)
	h.order(l, 2, &busv1.SessionOrder{Opening: 1, Assignments: []*busv1.OrderedAssignment{ordered()}})
	o := ordered()
	h.order(l, 2, &busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{o}})
	if got := l.next().GetAssignments(); len(got) != 1 || id(got[0].GetAssignmentId()) != id(o.GetAssignmentId()) {
		t.Errorf("the worker got %v", got)
	}
}
