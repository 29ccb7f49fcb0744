package dispatcher

import (
	"context"
	"time"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/proto/typeid"
)

// WorkerSubject is where the dispatcher that holds a worker's session answers with its instance.
func WorkerSubject(worker flow.ID) string { return "tenon.worker." + worker.String() }

// Holder tells which other dispatcher holds a worker's session, by its instance: the worker's calls belong there, where its table is. It is
// empty when the session is here, and when nobody has one.
func (s *Service) Holder(ctx context.Context, caller Caller, publicID string) string {
	raw, err := typeid.Parse(typeid.Worker, publicID)
	if err != nil {
		return "" // The call itself will say so.
	}
	if w := s.find(caller.TenantID, flow.ID(raw)); w != nil {
		w.mu.Lock()
		here := w.session != nil
		w.mu.Unlock()
		if here {
			return ""
		}
	}
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := s.cfg.Bus.Request(ctx, WorkerSubject(flow.ID(raw)), nil)
	if err != nil {
		if !fault.HasReason(err, bus.ReasonNoResponder) {
			s.cfg.Log.Warn("dispatcher: it is not known who holds a worker's session", "worker", publicID, "error", fault.Detail(err))
		}
		return ""
	}
	if holder := string(answer); holder != s.cfg.Instance {
		return holder
	}
	return ""
}

// answerFor brings the answer on the bus in line with whether the worker has a session here. It may be called at any time.
func (s *Service) answerFor(w *worker) {
	w.answering.Lock()
	defer w.answering.Unlock()
	w.mu.Lock()
	here := w.session != nil
	w.mu.Unlock()
	switch {
	case here && w.answers == nil:
		sub, err := s.cfg.Bus.Serve(WorkerSubject(w.id), func(context.Context, []byte) ([]byte, error) {
			return []byte(s.cfg.Instance), nil
		})
		if err != nil {
			s.cfg.Log.Warn("dispatcher: calls of a worker that reach other processes will not find its session", "worker", w.publicID(), "error", err)
			return
		}
		w.answers = sub
	case !here && w.answers != nil:
		w.answers.Stop()
		w.answers = nil
	}
}

// Ready tells whether orders arrive, so that workers can listen.
func (s *Service) Ready(context.Context) error {
	select {
	case <-s.ready:
	default:
		return fault.Unavailable("DISPATCHER_STARTING", "the dispatcher has not subscribed to its orders yet")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errStopping()
	}
	return nil
}
