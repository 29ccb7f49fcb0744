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
	Labels        map[string]string // all of them
	From, Until   flow.ID           // ids from the first on and before the second
	Before        flow.ID           // from the page token: only ids below
	PageSize      int
}

// List reads one page of runs, newest first, without payloads, and says where the next begins: at a zero id there is none.
func (s *Service) List(ctx context.Context, f Filter) (views []*RunView, next flow.ID, err error) {
	tenant := authn.From(ctx).TenantID
	p := &page{tenant: tenant, before: highest, size: int32(f.PageSize) + 1} //nolint:gosec // at most 1,000
	if f.Workflow != "" {
		plan, err := s.cfg.Workflows.Resolve(ctx, tenant, f.Workflow, 0)
		if err != nil {
			return nil, next, err
		}
		p.workflow = plan.WorkflowID
	}
	p.narrow(f)
	if p.waiting || p.running {
		p.begun = s.begun(ctx, tenant, p.workflow)
	}
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error { return p.read(ctx, tx, f.Parent) })
	if err != nil {
		return nil, next, pg.Fault(err)
	}
	rows := p.merged()
	if len(rows) > f.PageSize {
		rows = rows[:f.PageSize]
		next = rows[f.PageSize-1].RunID
	} else if p.more {
		next = p.lowest
	}
	views, err = s.listed(ctx, tenant, rows)
	if len(f.States) > 0 {
		// A run may have moved on since its row was read.
		views = slices.DeleteFunc(views, func(v *RunView) bool { return !slices.Contains(f.States, v.Status()) })
	}
	return views, next, err
}

// listed makes views of rows without payloads.
func (s *Service) listed(ctx context.Context, tenant int64, rows []schedulerq.ListedRunsRow) (views []*RunView, err error) {
	byID := make(map[flow.ID]*RunView, len(rows))
	for i := range rows {
		row := fromList(tenant, &rows[i])
		v := &RunView{Rows: []engine.Row{row}, Open: rows[i].Open}
		if v.Plan, err = s.cfg.Workflows.Plan(ctx, tenant, row.WorkflowID, int(row.Version)); err != nil {
			return nil, err
		}
		byID[row.ID] = v
		views = append(views, v)
	}
	if err := s.nameParents(ctx, tenant, byID); err != nil {
		return nil, err
	}
	s.overlay(ctx, tenant, byID) // one that ends at this moment is listed as its row tells it
	return views, nil
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
	Text            string // in the message, in whatever case
	MinLevel        int16
	AfterTime       int64
	AfterAssignment flow.ID
	AfterSequence   int64
	PageSize        int
}

// searching tells whether lines are passed over.
func (p *LogPage) searching() bool { return p.Task != "" || p.Text != "" || p.MinLevel > 0 }

// scannedLines is how many lines one call looks through for those that fit.
const scannedLines = 20_000

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

// Logs reads one page of a run's log, oldest first, and says where the next begins: nil at the end.
func (s *Service) Logs(ctx context.Context, id flow.ID, page LogPage) (lines []LogLine, next *LogPage, err error) {
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return s.logs(ctx, v, page)
}

func (s *Service) logs(ctx context.Context, v *RunView, page LogPage) (lines []LogLine, next *LogPage, err error) {
	taskNo := 0
	if page.Task != "" {
		i, ok := v.Plan.Task(page.Task)
		if !ok {
			return nil, nil, fault.InvalidField("task", "the run's workflow has no task %q", page.Task)
		}
		taskNo = i + 1
	}
	tenant := authn.From(ctx).TenantID
	scan := page.PageSize
	if page.searching() {
		scan = scannedLines
	}
	var rows []schedulerq.ListLogsRow
	var end []schedulerq.LogScanEndRow
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		q := schedulerq.New(tx)
		class, id := int16(v.Top().Class), v.Top().ID
		rows, err = q.ListLogs(ctx, schedulerq.ListLogsParams{
			TenantID: tenant, Class: class, RunID: id, TaskNo: int16(taskNo), AfterLogged: page.AfterTime, AfterAssignment: page.AfterAssignment, //nolint:gosec // at most 300
			AfterSequence: page.AfterSequence, PageSize: int32(page.PageSize), ScanSize: int32(scan), MinLevel: page.MinLevel, Search: page.Text, //nolint:gosec // at most 20,000
		})
		if err != nil || len(rows) == page.PageSize || !page.searching() {
			return err
		}
		end, err = q.LogScanEnd(ctx, schedulerq.LogScanEndParams{
			TenantID: tenant, Class: class, RunID: id, AfterLogged: page.AfterTime, AfterAssignment: page.AfterAssignment, AfterSequence: page.AfterSequence,
			Skip: scannedLines - 1,
		})
		return err
	})
	if err != nil {
		return nil, nil, pg.Fault(err)
	}
	lines = make([]LogLine, len(rows))
	for i := range rows {
		r := &rows[i]
		lines[i] = LogLine{
			Task: v.Plan.Workflow.Tasks[r.TaskNo-1].Name, Generation: r.Generation, Attempt: r.Attempt, At: r.LoggedAt, Level: r.Level, Message: r.Message,
			Fields: r.Fields, Assignment: r.AssignmentID, Sequence: r.Sequence,
		}
	}
	switch {
	case len(rows) == page.PageSize:
		last := &rows[len(rows)-1]
		next = &LogPage{AfterTime: last.LoggedAt, AfterAssignment: last.AssignmentID, AfterSequence: last.Sequence}
	case len(end) > 0:
		next = &LogPage{AfterTime: end[0].LoggedAt, AfterAssignment: end[0].AssignmentID, AfterSequence: end[0].Sequence}
	}
	return lines, next, nil
}
