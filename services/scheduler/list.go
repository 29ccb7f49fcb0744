package scheduler

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// Filter narrows a list of runs. Zero fields do not narrow.
type Filter struct {
	Workflow      string
	States        []flow.State
	CreatedAfter  time.Time
	CreatedBefore time.Time
	Parent        flow.ID
	Before        flow.ID // from the page token: only ids below
	PageSize      int
}

// List reads one page of runs, newest first, without payloads. more tells whether another page follows.
func (s *Service) List(ctx context.Context, f Filter) (views []*RunView, more bool, err error) {
	tenant := authn.From(ctx).TenantID
	params, err := s.listParams(ctx, tenant, f)
	if err != nil {
		return nil, false, err
	}
	var rows []schedulerq.ListRunsRow
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		rows, err = schedulerq.New(tx).ListRuns(ctx, params)
		return err
	})
	if err != nil {
		return nil, false, pg.Fault(err)
	}
	more = len(rows) == int(params.PageSize)
	byID := make(map[flow.ID]*RunView)
	for i := range rows {
		row := fromList(tenant, &rows[i])
		if byID[row.ID] != nil {
			continue
		}
		if len(views) == f.PageSize {
			more = true
			break
		}
		v := &RunView{Rows: []engine.Row{row}, Open: rows[i].Open}
		if v.Plan, err = s.cfg.Workflows.Plan(ctx, tenant, row.WorkflowID, int(row.Version)); err != nil {
			return nil, false, err
		}
		byID[row.ID] = v
		views = append(views, v)
	}
	if err := s.nameParents(ctx, tenant, byID); err != nil {
		return nil, false, err
	}
	s.overlay(ctx, tenant, byID) // one that ends at this moment is listed as its row tells it
	return views, more, nil
}

func (s *Service) listParams(ctx context.Context, tenant int64, f Filter) (schedulerq.ListRunsParams, error) {
	p := schedulerq.ListRunsParams{TenantID: tenant, ByState: len(f.States) > 0, OpenStates: []string{}, FinalStates: []string{}, ParentRunID: f.Parent}
	// A replayed run stands in both tables: some rows more make up for those that are left out.
	const spare = 2
	p.PageSize = int32(f.PageSize + spare) //nolint:gosec // at most 1,000
	p.BeforeID = flow.ID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if !f.CreatedBefore.IsZero() {
		p.BeforeID = floor(f.CreatedBefore)
	}
	if !f.Before.IsZero() && string(f.Before[:]) < string(p.BeforeID[:]) {
		p.BeforeID = f.Before
	}
	if !f.CreatedAfter.IsZero() {
		p.FromID = floor(f.CreatedAfter)
	}
	for _, state := range f.States {
		switch state {
		case flow.Queued:
			p.OpenStates = append(p.OpenStates, "queued", "assigned")
		case flow.Running:
			p.OpenStates = append(p.OpenStates, "running", "stopping", "waiting", "backing_off")
		default:
			p.FinalStates = append(p.FinalStates, string(state))
		}
	}
	if slices.Contains(p.OpenStates, "running") {
		// The row of a young attempt still says queued; memory decides, in overlay.
		p.OpenStates = append(p.OpenStates, "queued", "assigned")
	}
	if f.Workflow != "" {
		plan, err := s.cfg.Workflows.Resolve(ctx, tenant, f.Workflow, 0)
		if err != nil {
			return p, err
		}
		p.WorkflowID = plan.WorkflowID
	}
	return p, nil
}

// floor is the lowest id of an instant.
func floor(t time.Time) flow.ID {
	id := flow.MakeID(t.UnixMilli(), [10]byte{})
	clear(id[6:])
	return id
}

// Attempt is one attempt of a task, ended or current.
type Attempt struct {
	Task       string
	Generation int32
	Number     int32
	Outcome    string // empty while it runs
	Error      *engine.TaskError
	Worker     flow.ID
	StartedAt  int64
	EndedAt    int64
}

// Attempts lists a run's attempts, oldest first: those put on record, then the last of each task, which stands in the task's row.
func (s *Service) Attempts(ctx context.Context, id flow.ID) ([]Attempt, error) {
	v, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	tenant := authn.From(ctx).TenantID
	const most = 10_000
	var rows []schedulerq.Attempt
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		rows, err = schedulerq.New(tx).ListAttempts(ctx, schedulerq.ListAttemptsParams{TenantID: tenant, Class: int16(v.Top().Class), RunID: id, PageSize: most})
		return err
	})
	if err != nil {
		return nil, pg.Fault(err)
	}
	var out []Attempt
	for i := range rows {
		r := &rows[i]
		if r.Outcome == "superseded" {
			continue // a late result that changed nothing
		}
		out = append(out, Attempt{
			Task: v.Plan.Workflow.Tasks[r.TaskNo-1].Name, Generation: r.Generation, Number: r.Attempt, Outcome: r.Outcome, Error: decodeError(r.Error),
			Worker: r.WorkerID, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
		})
	}
	for i, w := range v.Tasks() {
		if w.StartedAt == 0 || w.State == flow.BackingOff || w.State == flow.Queued {
			continue
		}
		last := Attempt{Task: v.Plan.Workflow.Tasks[i].Name, Generation: w.Generation, Number: w.Attempt, Error: w.Error, Worker: w.WorkerID, StartedAt: w.StartedAt, EndedAt: w.EndedAt}
		if w.State.Final() {
			last.Outcome = string(w.State)
		}
		out = append(out, last)
	}
	return out, nil
}

// LogPage says which lines of a run's log to read.
type LogPage struct {
	Task            string
	AfterTime       int64
	AfterAssignment flow.ID
	AfterSequence   int64
	PageSize        int
}

// LogLine is one line that a task has logged.
type LogLine struct {
	Task       string
	Generation int32
	Attempt    int32
	At         int64
	Level      int16
	Message    string
	Fields     []byte
	Assignment flow.ID
	Sequence   int64
}

// Logs reads one page of a run's log, oldest first.
func (s *Service) Logs(ctx context.Context, id flow.ID, page LogPage) ([]LogLine, error) {
	views, err := s.views(ctx, []flow.ID{id})
	if err != nil {
		return nil, err
	}
	v := views[id]
	if v == nil {
		return nil, runNotFound(id)
	}
	taskNo := 0
	if page.Task != "" {
		i, ok := v.Plan.Task(page.Task)
		if !ok {
			return nil, fault.InvalidField("task", "the run's workflow has no task %q", page.Task)
		}
		taskNo = i + 1
	}
	tenant := authn.From(ctx).TenantID
	var rows []schedulerq.ListLogsRow
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		rows, err = schedulerq.New(tx).ListLogs(ctx, schedulerq.ListLogsParams{
			TenantID: tenant, Class: int16(v.Top().Class), RunID: id, TaskNo: int16(taskNo), AfterLogged: page.AfterTime, AfterAssignment: page.AfterAssignment, //nolint:gosec // at most 300
			AfterSequence: page.AfterSequence, PageSize: int32(page.PageSize), //nolint:gosec // at most 1,000
		})
		return err
	})
	if err != nil {
		return nil, pg.Fault(err)
	}
	out := make([]LogLine, len(rows))
	for i := range rows {
		r := &rows[i]
		out[i] = LogLine{
			Task: v.Plan.Workflow.Tasks[r.TaskNo-1].Name, Generation: r.Generation, Attempt: r.Attempt, At: r.LoggedAt, Level: r.Level, Message: r.Message,
			Fields: r.Fields, Assignment: r.AssignmentID, Sequence: r.Sequence,
		}
	}
	return out, nil
}
