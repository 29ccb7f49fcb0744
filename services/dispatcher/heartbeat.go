package dispatcher

import (
	"context"
	"sync"
	"time"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// forgetAfter is how long a worker without a session stays in memory after its last call.
const forgetAfter = 10 * time.Minute

// Heartbeat notes that a worker lives, in memory alone. A session that is not open here gives FailedPrecondition, SESSION_UNKNOWN: the worker
// listens anew. An older one than the worker's newest gives Aborted, SESSION_STALE.
func (s *Service) Heartbeat(ctx context.Context, caller Caller, request *workersv1.HeartbeatRequest) (*workersv1.HeartbeatResponse, error) {
	w, err := s.worker(ctx, caller.TenantID, request.GetWorkerId())
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	number := request.GetSession()
	if number < w.number {
		return nil, fault.Aborted(ReasonSessionStale, "session %d of worker %s is over, its newest is %d", number, w.publicID(), w.number)
	}
	ses := w.session
	if ses == nil || ses.number != number {
		return nil, fault.FailedPrecondition(ReasonSessionUnknown,
			"session %d of worker %s is not open here: listen again with a higher number", number, w.publicID())
	}
	w.heard = s.cfg.Now()
	if request.GetDraining() {
		w.draining = true
		if !ses.drainTold {
			ses.drainTold = true
			s.tell(w, &busv1.ShardRequest{TenantId: w.tenant, Kind: &busv1.ShardRequest_DrainWorker{
				DrainWorker: &busv1.DrainWorker{WorkerId: w.id[:], Session: number},
			}})
		}
	}
	return &workersv1.HeartbeatResponse{}, nil
}

// expire ends the sessions of workers that have been silent for the grace, and drops what has not been needed for long from memory.
func (s *Service) expire(now time.Time) {
	cutOff := sync.OnceValue(s.cutOff)
	for _, w := range s.allWorkers() {
		w.mu.Lock()
		ses := w.session
		silent := now.Sub(w.heard)
		forgotten := ses == nil && now.Sub(w.touched) > forgetAfter
		w.mu.Unlock()
		switch {
		case ses != nil && silent > s.cfg.Grace/2 && cutOff():
			// Its heartbeats may arrive elsewhere and not find the way here, and nobody could take over its work. The rest of its grace is left for
			// them when the bus is back.
			w.mu.Lock()
			if half := now.Add(-s.cfg.Grace / 2); w.heard.Before(half) {
				w.heard = half
			}
			w.mu.Unlock()
		case ses != nil && silent > s.cfg.Grace:
			s.close(ses, fault.Aborted(ReasonWorkerSilent,
				"worker %s has sent no heartbeat for %s; its session %d has ended", w.publicID(), silent.Round(time.Millisecond), ses.number))
		case forgotten:
			s.forget(w)
		}
	}
	s.finished.expire(now)
}

// cutOff tells whether this process has lost the bus. Nobody serves the subject: being told so takes a connection.
func (s *Service) cutOff() bool {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(s.life, patience)
	defer cancel()
	_, err := s.cfg.Bus.Request(ctx, WorkerSubject(flow.ID{}), nil)
	return fault.HasReason(err, bus.ReasonDisconnected)
}
