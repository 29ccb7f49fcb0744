package scheduler

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/flow"
)

// highest is above every id.
var highest = flow.ID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff} //nolint:gochecknoglobals // a constant, as far as Go has them

// page gathers one page of runs from the places that its filter allows, each read in the order of an index.
type page struct {
	tenant, workflow int64
	from, before     flow.ID
	size             int32 // one more than the page holds
	byState          bool
	waiting, running bool // open runs of these states
	completed        bool
	bad              []string // other final states
	begun            []flow.ID
	labels           map[string]string // every one of them

	rows   []schedulerq.ListedRunsRow
	lowest flow.ID // below it some place may hold more
	more   bool
}

func (p *page) narrow(f Filter) {
	lower := func(id flow.ID) {
		if !id.IsZero() && bytes.Compare(id[:], p.before[:]) < 0 {
			p.before = id
		}
	}
	lower(f.Before)
	lower(f.Until)
	if !f.CreatedBefore.IsZero() {
		lower(floor(f.CreatedBefore))
	}
	p.from = f.From
	if !f.CreatedAfter.IsZero() {
		if id := floor(f.CreatedAfter); bytes.Compare(id[:], p.from[:]) > 0 {
			p.from = id
		}
	}
	p.bad = []string{}
	p.byState = len(f.States) > 0
	p.labels = f.Labels
	for _, state := range f.States {
		switch state {
		case flow.Queued:
			p.waiting = true
		case flow.Running:
			p.running = true
		case flow.Completed:
			p.completed = true
		default:
			p.bad = append(p.bad, string(state))
		}
	}
}

// read reads open runs before finished ones: a run that ends meanwhile is found twice, and none is missed.
func (p *page) read(ctx context.Context, tx pgx.Tx, parent flow.ID) error {
	// A plan for any filter reads far too much for the one that is asked for.
	if _, err := tx.Exec(ctx, "SET LOCAL plan_cache_mode = force_custom_plan"); err != nil {
		return err
	}
	q := schedulerq.New(tx)
	if !parent.IsZero() {
		return p.readChildren(ctx, q, parent)
	}
	if len(p.labels) > 0 {
		return p.readLabelled(ctx, q)
	}
	return p.readPlaces(ctx, q)
}

// readPlaces reads from every place that may hold runs of the workflow and the states.
func (p *page) readPlaces(ctx context.Context, q *schedulerq.Queries) error {
	if !p.byState || p.waiting || p.running {
		if err := p.readOpen(ctx, q); err != nil {
			return err
		}
	}
	switch {
	case !p.byState || p.completed:
		states := p.bad
		if p.completed {
			states = append(slices.Clone(p.bad), string(flow.Completed))
		}
		rows, err := q.ListFinishedRuns(ctx, schedulerq.ListFinishedRunsParams{
			TenantID: p.tenant, BeforeID: p.before, FromID: p.from, WorkflowID: p.workflow, ByState: p.byState, States: states, PageSize: p.size,
		})
		return gather(p, rows, err)
	case len(p.bad) > 0:
		rows, err := q.ListBadRuns(ctx, schedulerq.ListBadRunsParams{
			States: p.bad, TenantID: p.tenant, BeforeID: p.before, FromID: p.from, WorkflowID: p.workflow, PageSize: p.size,
		})
		return gather(p, rows, err)
	}
	return nil
}

func (p *page) readOpen(ctx context.Context, q *schedulerq.Queries) error {
	if p.running && !p.waiting {
		rows, err := q.ListBegunRuns(ctx, schedulerq.ListBegunRunsParams{
			TenantID: p.tenant, BeforeID: p.before, FromID: p.from, WorkflowID: p.workflow, PageSize: p.size, BegunIds: p.begun,
		})
		return gather(p, rows, err)
	}
	rows, err := q.ListOpenRuns(ctx, schedulerq.ListOpenRunsParams{
		TenantID: p.tenant, BeforeID: p.before, FromID: p.from, WorkflowID: p.workflow, Waiting: p.waiting && !p.running, BegunIds: p.begun, PageSize: p.size,
	})
	return gather(p, rows, err)
}

// readChildren looks the ids up first: a run has few children among many runs. Workflow and state are looked at afterwards.
func (p *page) readChildren(ctx context.Context, q *schedulerq.Queries, parent flow.ID) error {
	ids, err := q.ChildIDs(ctx, schedulerq.ChildIDsParams{TenantID: p.tenant, ParentRunID: parent, BeforeID: p.before, FromID: p.from, PageSize: p.size})
	if err != nil {
		return err
	}
	return p.readNamed(ctx, q, ids)
}

// readNamed reads the runs of a page of ids, newest first, and keeps those that fit the filter. A run of ids as long as the page has more behind it.
func (p *page) readNamed(ctx context.Context, q *schedulerq.Queries, ids []flow.ID) error {
	if len(ids) == int(p.size) {
		ids, p.more = ids[:len(ids)-1], true
		p.lowest = ids[len(ids)-1]
	}
	rows, err := q.ListedRuns(ctx, schedulerq.ListedRunsParams{TenantID: p.tenant, RunIds: ids})
	for i := range rows {
		if p.fits(&rows[i]) {
			p.rows = append(p.rows, rows[i])
		}
	}
	return err
}

func (p *page) fits(r *schedulerq.ListedRunsRow) bool {
	switch {
	case p.workflow != 0 && r.WorkflowID != p.workflow, !carries(r.Labels, p.labels):
		return false
	case !p.byState:
		return true
	case r.Open:
		if r.StartedAt > 0 || r.Attempt > 1 || r.Lost > 0 || slices.Contains(p.begun, r.RunID) {
			return p.running
		}
		return p.waiting
	case r.State == string(flow.Completed):
		return p.completed
	default:
		return slices.Contains(p.bad, r.State)
	}
}

type listedRow interface {
	schedulerq.ListOpenRunsRow | schedulerq.ListBegunRunsRow | schedulerq.ListFinishedRunsRow | schedulerq.ListBadRunsRow
}

// gather adds what one place gave. One that is cut short says nothing about ids below its last.
func gather[R listedRow](p *page, rows []R, err error) error {
	for i := range rows {
		p.rows = append(p.rows, schedulerq.ListedRunsRow(rows[i]))
	}
	if n := len(rows); n == int(p.size) {
		p.more = true
		if last := p.rows[len(p.rows)-1].RunID; bytes.Compare(last[:], p.lowest[:]) > 0 {
			p.lowest = last
		}
	}
	return err
}

// merged is the page: newest first, of each run its newest generation.
func (p *page) merged() []schedulerq.ListedRunsRow {
	slices.SortStableFunc(p.rows, func(a, b schedulerq.ListedRunsRow) int {
		return cmp.Or(bytes.Compare(b.RunID[:], a.RunID[:]), cmp.Compare(b.Generation, a.Generation), cmp.Compare(b.Revision, a.Revision))
	})
	rows := slices.CompactFunc(p.rows, func(a, b schedulerq.ListedRunsRow) bool { return a.RunID == b.RunID })
	if !p.more {
		return rows
	}
	return slices.DeleteFunc(rows, func(r schedulerq.ListedRunsRow) bool { return bytes.Compare(r.RunID[:], p.lowest[:]) < 0 })
}
