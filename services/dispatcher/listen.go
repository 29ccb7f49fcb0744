package dispatcher

import (
	"context"
	"fmt"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// Listen opens a session and sends what the worker has to do, until ctx ends, a newer session takes over (Aborted, SESSION_SUPERSEDED), the
// worker falls silent for the grace (Aborted, WORKER_SILENT), or the process stops (nil, after a message with drain set). It fails with
// Aborted, SESSION_STALE, when the number is not higher than the worker's last, and with Unavailable when the shard has no owner now.
func (s *Service) Listen(ctx context.Context, caller Caller, request *workersv1.ListenRequest, send func(*workersv1.ListenResponse) error) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return fault.Of(context.Cause(ctx))
	}
	w, err := s.worker(ctx, caller.TenantID, request.GetWorkerId())
	if err != nil {
		return err
	}
	held, err := s.readHeld(request.GetHeld())
	if err != nil {
		return err
	}
	ses, err := s.open(ctx, w, caller, request.GetSession(), held)
	if err != nil {
		return err
	}
	defer s.streams.Done()
	defer s.answerFor(w)
	s.answerFor(w)
	if err := s.takeWanted(ctx, w, ses); err != nil {
		s.close(ses, err)
		return err
	}
	if err := s.attach(ses.ctx, ses, false); err != nil {
		s.close(ses, err)
		return err
	}
	s.cfg.Log.Info("dispatcher: session opened", "tenant", w.tenant, "worker", w.publicID(), "session", ses.number, "slots", w.slots, "held", len(held))
	err = s.stream(ses, send)
	s.close(ses, err)
	return err
}

// stream sends until the session ends. Whatever has gathered while a message was on its way leaves with the next.
func (s *Service) stream(ses *session, send func(*workersv1.ListenResponse) error) error {
	if err := send(&workersv1.ListenResponse{Opened: true}); err != nil {
		return err
	}
	beat := time.NewTimer(s.cfg.Beat)
	defer beat.Stop()
	for {
		select {
		case <-ses.ctx.Done():
			return ses.farewell(send)
		case <-beat.C:
			if err := send(&workersv1.ListenResponse{}); err != nil {
				return err
			}
		case <-ses.wake:
			for _, frame := range ses.take() {
				if err := send(frame); err != nil {
					return err
				}
			}
		}
		beat.Reset(s.cfg.Beat)
	}
}

// farewell is the end of a session's stream. A worker whose server stops is told to go elsewhere; what is still in the outbox is not sent
// any more, so that its next session gets it anew.
func (ses *session) farewell(send func(*workersv1.ListenResponse) error) error {
	cause := context.Cause(ses.ctx)
	if !fault.HasReason(cause, ReasonShuttingDown) {
		return cause
	}
	ses.worker.mu.Lock()
	ses.leaving = true
	ses.worker.mu.Unlock()
	return send(&workersv1.ListenResponse{Drain: true})
}

// take empties the outbox. From here on what was in it counts as delivered.
func (ses *session) take() []*workersv1.ListenResponse {
	ses.worker.mu.Lock()
	out := ses.out
	ses.out = outbox{}
	ses.worker.mu.Unlock()
	return out.frames()
}

// readHeld reads what a worker brings along.
func (s *Service) readHeld(held []*workersv1.Held) ([]*assignment, error) {
	if len(held) > MaxHeld {
		return nil, fault.InvalidField("held", "must have at most %d assignments", MaxHeld)
	}
	now := s.cfg.Now()
	list := make([]*assignment, len(held))
	for i, h := range held {
		run, err := typeid.Parse(typeid.Run, h.GetRunId())
		if err != nil {
			return nil, fault.InvalidField(fmt.Sprintf("held[%d].run_id", i), "%s", err.Error())
		}
		assignmentID, err := flow.IDFromBytes(h.GetAssignmentId())
		if err != nil || assignmentID.IsZero() {
			return nil, fault.InvalidField(fmt.Sprintf("held[%d].assignment_id", i), "must be the 16 bytes that the assignment came with")
		}
		a := &assignment{id: assignmentID, run: run, taskNo: h.GetTaskNo(), generation: h.GetGeneration(), attempt: h.GetAttempt(), brought: true}
		if h.GetRunning() != nil {
			a.begun = now.Add(-max(h.GetRunning().AsDuration(), 0))
		}
		list[i] = a
	}
	return list, nil
}
