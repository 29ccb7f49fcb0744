package scheduler

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// What a stream of changes gathers before it reads again.
const (
	readPause  = 100 * time.Millisecond
	resetPause = time.Second
)

// runStream is one reader of a tenant's changes. Guarded by the subscription's lock, but for wake.
type runStream struct {
	wake     chan struct{} // has room for one token
	seq      int64         // told up to here; negative: nothing is known of what the reader has
	workflow int64
	labels   map[string]string
}

// RunChanges is one message of a stream; with neither views nor reset it is a beat.
type RunChanges struct {
	Views []*RunView
	Reset bool
	Token string
}

// WatchAll sends the tenant's runs, or those of one workflow or with certain labels, whenever they have changed, until ctx ends.
func (s *Service) WatchAll(ctx context.Context, workflow string, labels map[string]string, token string, send func(RunChanges) error) error {
	tenant := authn.From(ctx).TenantID
	st := &runStream{wake: make(chan struct{}, 1), seq: -1, labels: labels}
	if workflow != "" {
		plan, err := s.cfg.Workflows.Resolve(ctx, tenant, workflow, 0)
		if err != nil {
			return err
		}
		st.workflow = plan.WorkflowID
	}
	h, err := s.notices.listen(tenant)
	if err != nil {
		return err
	}
	defer s.notices.leave(tenant, h)
	h.follow(st, token)
	defer h.unfollow(st)
	s.compare(ctx, tenant, h)
	for first := true; ; first = false {
		said, pause := h.next(st)
		if !first || said.Reset || len(said.ids) > 0 {
			if err := s.tell(ctx, tenant, said, st.labels, send); err != nil {
				return err
			}
		} else if err := send(RunChanges{Token: said.Token}); err != nil { // a stream that goes on says so at once
			return err
		}
		if err := s.nextChange(ctx, tenant, h, st, pause, send); err != nil {
			return err
		}
	}
}

// changes is what a stream has to be told next.
type changes struct {
	RunChanges
	ids []flow.ID
}

// nextChange waits for a change, and before it for the pause since the last. A quiet stream sends beats, and makes sure that no message was lost.
func (s *Service) nextChange(ctx context.Context, tenant int64, h *heard, st *runStream, pause time.Duration, send func(RunChanges) error) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	for {
		timer.Reset(s.cfg.Beat)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-st.wake:
			return nil
		case <-timer.C:
			s.compare(ctx, tenant, h)
			if err := send(RunChanges{Token: h.tokenOf(st)}); err != nil {
				return err
			}
		}
	}
}

// compare asks the owner how many messages it has sent.
func (s *Service) compare(ctx context.Context, tenant int64, h *heard) {
	if r := s.survey(ctx, tenant, &busv1.SurveyTenant{}); r != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.recent.compare(r.GetEpoch(), r.GetNumber())
	}
}

// tell reads the changed runs and sends them.
func (s *Service) tell(ctx context.Context, tenant int64, said changes, labels map[string]string, send func(RunChanges) error) error {
	if len(said.ids) > 0 {
		var rows []schedulerq.ListedRunsRow
		err := pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) (err error) {
			rows, err = schedulerq.New(tx).ListedRuns(ctx, schedulerq.ListedRunsParams{TenantID: tenant, RunIds: said.ids})
			return err
		})
		if err != nil {
			return pg.Fault(err)
		}
		rows = slices.DeleteFunc(rows, func(r schedulerq.ListedRunsRow) bool { return !carries(r.Labels, labels) })
		if said.Views, err = s.listed(ctx, tenant, rows); err != nil {
			return err
		}
	}
	return send(said.RunChanges)
}

// follow adds a stream, and lets it go on from a token as far as that is known.
func (h *heard) follow(st *runStream, token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.recent
	if r.id.IsZero() {
		r.id, r.number, r.streams = newID(), -1, make(map[*runStream]struct{})
	}
	r.streams[st] = struct{}{}
	if seq, ok := r.place(token); ok {
		st.seq = seq
	}
}

func (h *heard) unfollow(st *runStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.recent.streams, st)
}

// next is what has changed since the stream was told last, and how long it then rests.
func (h *heard) next(st *runStream) (changes, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids, known := h.recent.since(st.seq, st.workflow)
	st.seq = h.recent.seq
	out := changes{RunChanges{Reset: !known, Token: h.recent.token(st.seq)}, ids}
	if !known {
		return out, resetPause
	}
	return out, readPause
}

func (h *heard) tokenOf(st *runStream) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.recent.token(st.seq)
}
