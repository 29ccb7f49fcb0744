package dispatcher

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/dispatcherq"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// SubjectNotices, with the tenant's number behind it, is where the owner of a shard tells what has changed.
const SubjectNotices = "tenon.notices."

const (
	// watchPause is the least time between two messages of a stream: slots change with every task.
	watchPause = 500 * time.Millisecond
	// toldWorkers bounds one message; beyond it, the reader reads its list again.
	toldWorkers = 100
)

// WorkerChanges is one message of a stream of workers; with neither workers nor reset it is a beat.
type WorkerChanges struct {
	Workers           []WorkerInfo
	Reset             bool
	Attached          int
	Slots, SlotsTaken int32
}

// watched is what a stream knows of the workers that it watches.
type watched struct {
	tenant int64
	only   flow.ID // zero: all
	wake   chan struct{}
	known  map[flow.ID]*busv1.SurveyedWorker
}

// WatchWorkers sends the tenant's workers, or one, whenever they have changed, until ctx ends. The owner of the tenant's shard tells when to look, and is
// asked again with each beat, since a hint may have been lost.
func (s *Service) WatchWorkers(ctx context.Context, caller Caller, publicID string, send func(WorkerChanges) error) error {
	w := &watched{tenant: caller.TenantID, wake: make(chan struct{}, 1)}
	if publicID != "" {
		info, err := s.GetWorker(ctx, caller, publicID)
		if err != nil {
			return err
		}
		w.only = info.Row.ID
	}
	sub, err := s.cfg.Bus.Subscribe(SubjectNotices+strconv.FormatInt(caller.TenantID, 10), w.hear)
	if err != nil {
		return err
	}
	defer sub.Stop()
	for {
		said, err := s.look(ctx, w)
		if err != nil {
			return err
		}
		if err := send(said); err != nil {
			return err
		}
		if err := w.rest(ctx, s.cfg.Beat); err != nil {
			return err
		}
	}
}

// hear notes that it is time to look. A run that starts or ends takes or frees a slot.
func (w *watched) hear(m bus.Msg) {
	said := new(busv1.RunNotices)
	if proto.Unmarshal(m.Data, said) != nil || !said.GetWorkers() && len(said.GetRuns()) == 0 {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// rest waits for a change, and at most for a beat.
func (w *watched) rest(ctx context.Context, beat time.Duration) error {
	pause := time.NewTimer(min(watchPause, beat))
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-pause.C:
	}
	quiet := time.NewTimer(beat)
	defer quiet.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.wake:
	case <-quiet.C:
	}
	return nil
}

// look asks the owner and tells what is different from the last time. Without an owner nothing is.
func (s *Service) look(ctx context.Context, w *watched) (WorkerChanges, error) {
	what := &busv1.SurveyTenant{Workers: true}
	if !w.only.IsZero() {
		what = &busv1.SurveyTenant{WorkerId: w.only[:]}
	}
	live, err := s.survey(ctx, w.tenant, what)
	if err != nil {
		if transient(err) && ctx.Err() == nil {
			return WorkerChanges{}, nil
		}
		return WorkerChanges{}, err
	}
	out := WorkerChanges{Attached: len(live)}
	now := make(map[flow.ID]*busv1.SurveyedWorker, len(live))
	var ids []flow.ID
	for _, l := range live {
		out.Slots += l.GetSlots()
		out.SlotsTaken += l.GetSlotsUsed()
		worker := id(l.GetWorkerId())
		now[worker] = l
		if !proto.Equal(w.known[worker], l) {
			ids = append(ids, worker)
		}
	}
	for worker := range w.known {
		if now[worker] == nil {
			ids = append(ids, worker)
		}
	}
	first := w.known == nil
	w.known = now
	if out.Reset = first || len(ids) > toldWorkers; out.Reset || len(ids) == 0 {
		return out, nil
	}
	out.Workers, err = s.infos(ctx, w.tenant, ids, now)
	return out, err
}

// infos are workers as people see them, the newest first.
func (s *Service) infos(ctx context.Context, tenant int64, ids []flow.ID, live map[flow.ID]*busv1.SurveyedWorker) ([]WorkerInfo, error) {
	var out []WorkerInfo
	err := pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		rows, err := dispatcherq.New(tx).AttachedWorkers(ctx, dispatcherq.AttachedWorkersParams{TenantID: tenant, Ids: ids})
		for i := range rows {
			out = append(out, WorkerInfo{Registration(rows[i]), live[rows[i].ID]})
		}
		return err
	})
	return out, pg.Fault(err)
}
