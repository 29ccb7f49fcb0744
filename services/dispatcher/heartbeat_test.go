package dispatcher

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

func (l *listener) heartbeat(draining bool) error {
	_, err := l.h.Heartbeat(l.h.t.Context(), l.h.caller, &workersv1.HeartbeatRequest{WorkerId: l.worker, Session: l.number, Draining: draining})
	return err
}

func TestSilentWorkerIsLost(t *testing.T) {
	h := setup(t)
	quiet := h.listen(h.register(1), 1)
	h.workflow("second", 1, "task")
	response, err := h.Register(t.Context(), h.caller, &workersv1.RegisterRequest{Actions: []string{"second/task"}, Slots: 1})
	must(t, err)
	alive := h.listen(response.GetWorkerId(), 1)
	h.clock.advance(9 * time.Second)
	must(t, alive.heartbeat(false))
	h.expire(h.clock.advance(1500 * time.Millisecond))
	wantFault(t, quiet.end(), fault.CodeAborted, ReasonWorkerSilent)
	if lose := h.owner.hearLose(); string(lose.GetWorkerId()) != string(workerID(t, quiet.worker)) || !lose.GetGone() {
		t.Errorf("the owner heard %v, want the silent worker to be gone: its grace has passed", lose)
	}
	wantFault(t, quiet.heartbeat(false), fault.CodeFailedPrecondition, ReasonSessionUnknown)
	must(t, alive.heartbeat(false))
	h.assign(alive, ordered())
}

// brokenBus is one whose connection is lost when the test says so.
type brokenBus struct {
	bus.Bus

	lost atomic.Bool
}

func (b *brokenBus) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if b.lost.Load() {
		return nil, fault.Unavailable(bus.ReasonDisconnected, "the connection is lost")
	}
	return b.Bus.Request(ctx, subject, data)
}

// While the bus is away a worker's heartbeats may not find the way to its session, so their absence says nothing.
func TestSilenceDoesNotCountWithoutABus(t *testing.T) {
	broken := &brokenBus{}
	h := setup(t, func(c *Config) {
		broken.Bus = c.Bus
		c.Bus = broken
	})
	l := h.listen(h.register(1), 1)
	broken.lost.Store(true)
	for range 3 {
		h.expire(h.clock.advance(11 * time.Second))
	}
	must(t, l.heartbeat(false))
	broken.lost.Store(false)
	h.expire(h.clock.advance(11 * time.Second))
	wantFault(t, l.end(), fault.CodeAborted, ReasonWorkerSilent)
}

func TestHeartbeatOfAnOlderSessionIsAborted(t *testing.T) {
	h := setup(t)
	worker := h.register(1)
	older := h.listen(worker, 1)
	newer := h.listen(worker, 2)
	wantFault(t, older.heartbeat(false), fault.CodeAborted, ReasonSessionStale)
	must(t, newer.heartbeat(false))
}

func TestHeartbeatAfterARestartAsksForANewSession(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(1), 1)
	h.start()
	wantFault(t, l.heartbeat(false), fault.CodeFailedPrecondition, ReasonSessionUnknown)
}

func TestDrainingIsToldOnce(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(1), 1)
	for range 3 {
		must(t, l.heartbeat(true))
	}
	isDrain := func(r *busv1.ShardRequest) bool { return r.GetDrainWorker() != nil }
	if drain := h.owner.hear("DrainWorker", isDrain).GetDrainWorker(); drain.GetSession() != 1 {
		t.Errorf("the owner heard %v", drain)
	}
	l.hangUp()
	// The worker had nothing left: it said good-bye.
	lose := h.owner.hear("LoseSession", func(r *busv1.ShardRequest) bool {
		if isDrain(r) {
			t.Error("the owner was told of the drain twice")
		}
		return r.GetLoseSession() != nil
	}).GetLoseSession()
	if !lose.GetGone() {
		t.Error("a drained worker that hangs up is gone")
	}
}

func TestForgottenWorkerIsReadAgain(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(1), 1)
	l.hangUp()
	_ = l.end()
	h.expire(h.clock.advance(forgetAfter + time.Second))
	if w := h.find(h.caller.TenantID, id(workerID(t, l.worker))); w != nil {
		t.Fatal("the worker is still in memory")
	}
	h.listen(l.worker, 2)
}
