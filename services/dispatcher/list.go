package dispatcher

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/dispatcherq"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// WorkerInfo is a worker as people see it: its row, and what the owner of its shard knows.
type WorkerInfo struct {
	Row  Registration
	Live *busv1.SurveyedWorker // nil: it is not attached
}

// Registration is a worker's row with its newest session: times in microseconds, 0 for none.
type Registration struct {
	ID              flow.ID
	Name            string
	Actions         []string
	Queues          []string
	Slots           int32
	Language        string
	LanguageVersion string
	SdkVersion      string
	Os              string
	Host            string
	Pid             int64
	CreatedAt       time.Time
	Wanted          int16
	OpenedAt        int64
	ClosedAt        int64
}

// WorkerPage says which workers to list: attached ones come first.
type WorkerPage struct {
	Before       flow.ID // only ids below, within the part; zero: from its beginning
	Others       bool    // the attached ones are done with
	AttachedOnly bool
	PageSize     int
}

// WorkerList is one page. Next is nil at the end.
type WorkerList struct {
	Workers           []WorkerInfo
	Next              *WorkerPage
	Attached          int
	Slots, SlotsTaken int32
}

// ListWorkers reads one page of the tenant's workers. Unavailable when nobody owns the tenant's shard at the moment.
func (s *Service) ListWorkers(ctx context.Context, caller Caller, page WorkerPage) (*WorkerList, error) {
	live, err := s.survey(ctx, caller.TenantID, &busv1.SurveyTenant{Workers: true})
	if err != nil {
		return nil, err
	}
	out := &WorkerList{Attached: len(live)}
	byID := make(map[flow.ID]*busv1.SurveyedWorker, len(live))
	ids := make([]flow.ID, 0, len(live))
	for _, l := range live {
		out.Slots += l.GetSlots()
		out.SlotsTaken += l.GetSlotsUsed()
		if id, err := flow.IDFromBytes(l.GetWorkerId()); err == nil {
			byID[id] = l
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b flow.ID) int { return bytes.Compare(b[:], a[:]) })
	var wanted []flow.ID
	if !page.Others {
		from := 0
		if !page.Before.IsZero() {
			from = len(ids) - len(slices.DeleteFunc(slices.Clone(ids), func(id flow.ID) bool { return bytes.Compare(id[:], page.Before[:]) >= 0 }))
		}
		wanted = ids[from:min(len(ids), from+page.PageSize)]
		if from+len(wanted) < len(ids) {
			out.Next = &WorkerPage{Before: wanted[len(wanted)-1]}
		}
	}
	err = pg.InTenant(ctx, s.cfg.Pool, caller.TenantID, func(tx pgx.Tx) error {
		q := dispatcherq.New(tx)
		rows, err := q.AttachedWorkers(ctx, dispatcherq.AttachedWorkersParams{TenantID: caller.TenantID, Ids: notNil(wanted)})
		for i := range rows {
			out.Workers = append(out.Workers, WorkerInfo{Registration(rows[i]), byID[rows[i].ID]})
		}
		if err != nil || page.AttachedOnly || out.Next != nil {
			return err
		}
		return s.others(ctx, q, caller.TenantID, page, ids, out)
	})
	return out, pg.Fault(err)
}

// others fills a page up with workers that are not attached.
func (s *Service) others(ctx context.Context, q *dispatcherq.Queries, tenant int64, page WorkerPage, attached []flow.ID, out *WorkerList) error {
	room := page.PageSize - len(out.Workers)
	before := flow.ID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if page.Others && !page.Before.IsZero() {
		before = page.Before
	}
	rows, err := q.OtherWorkers(ctx, dispatcherq.OtherWorkersParams{TenantID: tenant, BeforeID: before, Ids: notNil(attached), PageSize: int32(room) + 1}) //nolint:gosec // at most 500
	if len(rows) > room {
		rows = rows[:room]
		out.Next = &WorkerPage{Others: true}
		if room > 0 {
			out.Next.Before = rows[room-1].ID
		}
	}
	for i := range rows {
		out.Workers = append(out.Workers, WorkerInfo{Row: Registration(rows[i])})
	}
	return err
}

// GetWorker reads one worker with what it runs.
func (s *Service) GetWorker(ctx context.Context, caller Caller, publicID string) (*WorkerInfo, error) {
	raw, err := typeid.Parse(typeid.Worker, publicID)
	if err != nil {
		return nil, fault.InvalidField("worker_id", "%s", err.Error())
	}
	id := flow.ID(raw)
	var rows []dispatcherq.AttachedWorkersRow
	err = pg.InTenant(ctx, s.cfg.Pool, caller.TenantID, func(tx pgx.Tx) error {
		rows, err = dispatcherq.New(tx).AttachedWorkers(ctx, dispatcherq.AttachedWorkersParams{TenantID: caller.TenantID, Ids: []flow.ID{id}})
		return err
	})
	if err != nil {
		return nil, pg.Fault(err)
	}
	if len(rows) == 0 {
		return nil, fault.NotFound("worker", publicID)
	}
	live, err := s.survey(ctx, caller.TenantID, &busv1.SurveyTenant{WorkerId: id[:]})
	if err != nil {
		return nil, err
	}
	out := &WorkerInfo{Row: Registration(rows[0])}
	if len(live) > 0 {
		out.Live = live[0]
	}
	return out, nil
}

// survey asks the owner of the tenant's shard, which alone knows who is attached.
func (s *Service) survey(ctx context.Context, tenant int64, what *busv1.SurveyTenant) ([]*busv1.SurveyedWorker, error) {
	const most = 3 * time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	reply, _, err := s.cfg.Owners.Call(ctx, tenant, &busv1.ShardRequest{TenantId: tenant, Kind: &busv1.ShardRequest_Survey{Survey: what}})
	return reply.GetSurvey().GetWorkers(), err
}

func notNil(ids []flow.ID) []flow.ID {
	if ids == nil {
		return []flow.ID{}
	}
	return ids
}
