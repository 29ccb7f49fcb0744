package dispatcher

import (
	"context"
	"fmt"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/proto/typeid"

	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
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
			return context.Cause(ses.ctx)
		case <-beat.C:
			if err := send(&workersv1.ListenResponse{}); err != nil {
				return err
			}
		case <-ses.wake:
			frames, leaving := ses.take()
			for _, frame := range frames {
				if err := send(frame); err != nil {
					return err
				}
			}
			if leaving {
				return send(&workersv1.ListenResponse{Drain: true})
			}
		}
		beat.Reset(s.cfg.Beat)
	}
}

// take empties the outbox. From here on what was in it counts as delivered.
func (ses *session) take() (frames []*workersv1.ListenResponse, leaving bool) {
	w := ses.worker
	w.mu.Lock()
	out := ses.out
	ses.out = outbox{}
	for _, a := range out.assignments {
		if sent := w.sent[id(a.GetAssignmentId())]; sent != nil {
			sent.delivered = true
		}
	}
	leaving = ses.leaving
	w.mu.Unlock()
	return out.frames(), leaving
}

// readHeld reads what a worker brings along.
func (s *Service) readHeld(held []*workersv1.Held) ([]*assignment, error) {
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
		a := &assignment{id: assignmentID, run: run, taskNo: h.GetTaskNo(), generation: h.GetGeneration(), attempt: h.GetAttempt(), brought: true, delivered: true}
		if h.GetRunning() != nil {
			a.begun = now.Add(-max(h.GetRunning().AsDuration(), 0))
		}
		list[i] = a
	}
	return list, nil
}
