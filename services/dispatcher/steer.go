package dispatcher

import (
	"context"

	"github.com/tenon-run/tenon/db/dispatcherq"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// What people want of a worker, as its row says.
const (
	wantedServe int16 = iota
	wantedPause
	wantedDrain
)

// ReasonWorkerDraining is given when a worker that was told to end is paused or resumed.
const ReasonWorkerDraining = "WORKER_DRAINING"

// Pause stops assignments to a worker, or lets them go on.
func (s *Service) Pause(ctx context.Context, caller Caller, publicID string, paused bool) error {
	wanted := wantedServe
	if paused {
		wanted = wantedPause
	}
	w, err := s.want(ctx, caller, publicID, wanted)
	if err != nil {
		return err
	}
	return s.steer(ctx, w, &busv1.ShardRequest{TenantId: w.tenant, Kind: &busv1.ShardRequest_PauseWorker{
		PauseWorker: &busv1.PauseWorker{WorkerId: w.id[:], Paused: paused},
	}})
}

// Drain tells a worker to finish what it has and to end.
func (s *Service) Drain(ctx context.Context, caller Caller, publicID string) error {
	w, err := s.want(ctx, caller, publicID, wantedDrain)
	if err != nil {
		return err
	}
	w.mu.Lock()
	ses, number := w.session, w.number
	if ses != nil {
		ses.out.stop = true
		ses.signal()
	}
	w.mu.Unlock()
	if ses == nil {
		return nil // it is told when it listens next
	}
	return s.steer(ctx, w, &busv1.ShardRequest{TenantId: w.tenant, Kind: &busv1.ShardRequest_DrainWorker{
		DrainWorker: &busv1.DrainWorker{WorkerId: w.id[:], Session: number},
	}})
}

// want writes what people want, so that it outlives this process, and keeps it for the next attachment.
func (s *Service) want(ctx context.Context, caller Caller, publicID string, wanted int16) (*worker, error) {
	w, err := s.worker(ctx, caller.TenantID, publicID)
	if err != nil {
		return nil, err
	}
	w.steering.Lock()
	defer w.steering.Unlock()
	rows, err := s.queries.WantWorker(ctx, dispatcherq.WantWorkerParams{TenantID: w.tenant, ID: w.id, Wanted: wanted})
	if err != nil {
		return nil, pg.Fault(err)
	}
	if rows == 0 {
		return nil, fault.FailedPrecondition(ReasonWorkerDraining, "worker %s was told to finish and end: start another worker", publicID)
	}
	w.mu.Lock()
	w.wanted = wanted
	w.mu.Unlock()
	return w, nil
}

// takeWanted reads what people want of a worker that has just opened a session, and tells one that is to end.
func (s *Service) takeWanted(ctx context.Context, w *worker, ses *session) error {
	w.steering.Lock()
	defer w.steering.Unlock()
	wanted, err := s.queries.WorkerWanted(ctx, dispatcherq.WorkerWantedParams{TenantID: w.tenant, ID: w.id})
	if err != nil {
		return pg.Fault(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wanted = wanted; wanted == wantedDrain {
		ses.out.stop = true
		ses.signal()
	}
	return nil
}

// steer tells the owner; the worker's row tells the next one.
func (s *Service) steer(ctx context.Context, w *worker, request *busv1.ShardRequest) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	_, _, err := s.cfg.Owners.Call(ctx, w.tenant, request)
	return err
}
