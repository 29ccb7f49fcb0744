package sim

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// rows are the tables. They take nothing that Postgres would not take.
type rows struct {
	w        *world
	live     map[engine.RunKey][]engine.Row
	history  map[engine.RunKey][][]engine.Row // by generation, the newest last
	attempts []engine.AddAttempt
	ended    map[flow.ID]string // the outcome of attempts, by assignment
	sessions map[sessionKey]bool
}

type sessionKey struct {
	tenant  int64
	worker  flow.ID
	session int64
}

func newRows(w *world) *rows {
	return &rows{
		w: w, live: make(map[engine.RunKey][]engine.Row), history: make(map[engine.RunKey][][]engine.Row), ended: make(map[flow.ID]string),
		sessions: make(map[sessionKey]bool),
	}
}

// write makes one change, or tells why it cannot be made.
func (r *rows) write(c engine.Change) error {
	switch c := c.(type) {
	case *engine.InsertRun:
		return r.insert(c.Rows)
	case *engine.UpdateRow:
		live := r.live[c.Row.RunKey]
		if int(c.Row.TaskNo) >= len(live) {
			return fmt.Errorf("update of the missing row %v/%d", c.Row.ID, c.Row.TaskNo)
		}
		if err := checkMove(&live[c.Row.TaskNo], &c.Row); err != nil {
			return err
		}
		live[c.Row.TaskNo] = c.Row
		r.w.check.written(&c.Row)
	case *engine.FinishRun:
		return r.finish(c.Rows)
	case *engine.AddAttempt:
		r.w.check.progress = r.w.now // there are only so many of a task
		r.attempts = append(r.attempts, *c)
		r.ended[c.Assignment] = c.Outcome
	case *engine.PutSession:
		r.sessions[sessionKey{c.Tenant, c.Worker, c.Session}] = true
	case *engine.EndSession:
		r.sessions[sessionKey{c.Tenant, c.Worker, c.Session}] = false
	default:
		return fmt.Errorf("unknown change %T", c)
	}
	return nil
}

func (r *rows) insert(in []engine.Row) error {
	key := in[0].RunKey
	if _, exists := r.live[key]; exists {
		return fmt.Errorf("insert of %v, which is open", key.ID)
	}
	generation := int32(1)
	if old := r.history[key]; len(old) > 0 {
		generation = old[len(old)-1][0].Generation + 1
	}
	for i := range in {
		if in[i].Generation != generation || int(in[i].TaskNo) != i || in[i].RunKey != key {
			return fmt.Errorf("insert of %v row %d as generation %d row %d, expected generation %d", key.ID, i, in[i].Generation, in[i].TaskNo, generation)
		}
	}
	r.live[key] = slices.Clone(in)
	for i := range in {
		r.w.check.written(&in[i])
	}
	return nil
}

func (r *rows) finish(in []engine.Row) error {
	key := in[0].RunKey
	old := r.live[key]
	if len(old) != len(in) {
		return fmt.Errorf("end of %v with %d rows, of which %d are open", key.ID, len(in), len(old))
	}
	var states []flow.State
	kept := slices.Clone(in)
	for i := range in {
		if err := checkMove(&old[i], &in[i]); err != nil {
			return err
		}
		if !in[i].State.Final() {
			return fmt.Errorf("end of %v with row %d %s", key.ID, i, in[i].State)
		}
		if i > 0 || in[i].Single {
			states = append(states, in[i].State)
		}
		w := &kept[i] // history has no such columns
		w.Lane, w.Rank, w.DueAt, w.DeadlineAt, w.Session, w.StopReason = 0, 0, 0, 0, 0, engine.NotStopping
	}
	if in[0].State != flow.RunOutcome(states) {
		return fmt.Errorf("run %v ended %s with tasks %v", key.ID, in[0].State, states)
	}
	delete(r.live, key)
	r.history[key] = append(r.history[key], kept)
	for i := range kept {
		r.w.check.written(&kept[i])
	}
	return nil
}

// checkMove tells whether a row may be rewritten so. An assignment that does not last is not written, so its states may be missing in between.
func checkMove(from, to *engine.Row) error {
	if from.Generation != to.Generation || to.Revision <= from.Revision || from.State.Final() && from.State != to.State {
		return fmt.Errorf("run %v row %d: from generation %d revision %d %s to generation %d revision %d %s",
			to.ID, to.TaskNo, from.Generation, from.Revision, from.State, to.Generation, to.Revision, to.State)
	}
	if to.TaskNo == 0 && !to.Single || from.State == to.State || flow.MayMove(from.State, to.State) {
		return nil
	}
	unwritten := []flow.State{flow.Queued, flow.Assigned, flow.Running, flow.Waiting, flow.Stopping}
	reached := []flow.State{from.State}
	for i := 0; i < len(reached) && slices.Contains(unwritten, reached[i]); i++ {
		if flow.MayMove(reached[i], to.State) {
			return nil
		}
		for _, next := range unwritten {
			if flow.MayMove(reached[i], next) && !slices.Contains(reached, next) {
				reached = append(reached, next)
			}
		}
	}
	return fmt.Errorf("run %v task %d: no way from %s to %s", to.ID, to.TaskNo, from.State, to.State)
}

func (r *rows) plan(id int64) *flow.Plan { return r.w.byID[id] }

func (r *rows) open(key engine.RunKey) (engine.LoadedRun, bool) {
	in, ok := r.live[key]
	if !ok {
		return engine.LoadedRun{}, false
	}
	return engine.LoadedRun{Plan: r.plan(in[0].WorkflowID), Rows: slices.Clone(in), Open: true}, true
}

func (r *rows) finished(key engine.RunKey) *engine.LoadedRun {
	old := r.history[key]
	if len(old) == 0 {
		return nil
	}
	last := old[len(old)-1]
	return &engine.LoadedRun{Plan: r.plan(last[0].WorkflowID), Rows: slices.Clone(last)}
}

// newest is a run as the tables have it; nil when there is none.
func (r *rows) newest(key engine.RunKey) *engine.LoadedRun {
	if run, ok := r.open(key); ok {
		return &run
	}
	return r.finished(key)
}

// list gives the live rows of a tenant that somebody wants, in his order.
func (r *rows) list(tenant int64, want func(*engine.Row) bool, by func(*engine.Row) int64) []*engine.Row {
	var out []*engine.Row
	for key, live := range r.live {
		for i := range live {
			if key.Tenant == tenant && want(&live[i]) {
				out = append(out, &live[i])
			}
		}
	}
	slices.SortFunc(out, func(a, b *engine.Row) int {
		return cmp.Or(cmp.Compare(by(a), by(b)), bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.TaskNo, b.TaskNo))
	})
	return out
}

// whole reads the open runs of these keys, each once; what is not open any more is left out.
func (r *rows) whole(keys []engine.RunKey) []engine.LoadedRun {
	var out []engine.LoadedRun
	seen := make(map[engine.RunKey]bool)
	for _, key := range keys {
		if run, ok := r.open(key); ok && !seen[key] {
			seen[key] = true
			out = append(out, run)
		}
	}
	return out
}

func keysOf(in []*engine.Row) []engine.RunKey {
	out := make([]engine.RunKey, len(in))
	for i, row := range in {
		out[i] = row.RunKey
	}
	return out
}

// answer reads what an ask wants, as the owner's queries do: in several statements, between which pause lets the world go on.
func (r *rows) answer(ask engine.Ask, pause func(then func()), done func(engine.Input)) {
	switch a := ask.(type) {
	case *engine.AskRun:
		if run, ok := r.open(a.RunKey); ok {
			done(&engine.RunLoaded{Tenant: a.Tenant, ID: a.ID, Asked: a.Asked, Run: &run})
			return
		}
		pause(func() { done(&engine.RunLoaded{Tenant: a.Tenant, ID: a.ID, Asked: a.Asked, Run: r.finished(a.RunKey)}) })
	case *engine.AskLane:
		page, keys := r.lanePage(a)
		pause(func() {
			page.Runs = append(page.Runs, r.whole(keys)...)
			done(page)
		})
	case *engine.AskTimers:
		page, keys := r.timerPage(a)
		pause(func() {
			page.Runs = r.whole(keys)
			done(page)
		})
	case *engine.AskTenant:
		done(r.tenantPage(a))
	default:
		panic(fmt.Sprintf("unknown ask %T", ask))
	}
}

// lanePage reads a page; the runs of single tasks come with it, DAGs are read after it.
func (r *rows) lanePage(a *engine.AskLane) (*engine.LaneLoaded, []engine.RunKey) {
	order := func(w *engine.Row) int64 { return w.Rank }
	if r.w.broken == CallerOrder {
		order = func(*engine.Row) int64 { return 0 } // by id
	}
	from := a.From
	if r.w.broken == RefillFromHead {
		from = lowestRank
	}
	found := r.list(a.Tenant, func(w *engine.Row) bool { return w.Lane == a.Lane && w.Rank >= from && w.State == flow.Queued }, order)
	found = found[:min(a.Limit, len(found))]
	out := &engine.LaneLoaded{Tenant: a.Tenant, Lane: a.Lane, Asked: a.Asked, Last: len(found) < a.Limit}
	var dags []engine.RunKey
	for _, w := range found {
		out.Rows = append(out.Rows, engine.LaneEntry{Run: w.ID, TaskNo: w.TaskNo, Rank: w.Rank})
		if w.Single {
			out.Runs = append(out.Runs, engine.LoadedRun{Plan: r.plan(w.WorkflowID), Open: true, Rows: []engine.Row{*w}})
		} else {
			dags = append(dags, w.RunKey)
		}
	}
	return out, dags
}

const lowestRank = -1 << 62

func (r *rows) timerPage(a *engine.AskTimers) (*engine.TimersLoaded, []engine.RunKey) {
	found := r.list(a.Tenant, func(w *engine.Row) bool { return w.DueAt > 0 && w.DueAt >= a.From }, func(w *engine.Row) int64 { return w.DueAt })
	found = found[:min(a.Limit, len(found))]
	out := &engine.TimersLoaded{Tenant: a.Tenant, Asked: a.Asked, Last: len(found) < a.Limit}
	for _, w := range found {
		out.End = w.DueAt
	}
	return out, keysOf(found)
}

func (r *rows) tenantPage(a *engine.AskTenant) *engine.TenantLoaded {
	window := r.w.engineConfig().WithDefaults().Window
	out := &engine.TenantLoaded{Tenant: a.Tenant, Asked: a.Asked}
	sent := r.list(a.Tenant, func(w *engine.Row) bool { return w.State.InFlight() && !w.AssignmentID.IsZero() }, func(*engine.Row) int64 { return 0 })
	out.Running = r.whole(keysOf(sent))
	inLanes := r.list(a.Tenant, func(w *engine.Row) bool { return w.Lane != 0 }, func(w *engine.Row) int64 { return int64(w.Lane) }) //nolint:gosec // only an order
	for i, w := range inLanes {
		if i > 0 && inLanes[i-1].Lane == w.Lane {
			continue
		}
		page, dags := r.lanePage(&engine.AskLane{Tenant: a.Tenant, Lane: w.Lane, From: lowestRank, Limit: window / 2, Asked: a.Asked})
		page.Runs = append(page.Runs, r.whole(dags)...)
		out.Lanes = append(out.Lanes, *page)
	}
	timers, keys := r.timerPage(&engine.AskTimers{Tenant: a.Tenant, From: 1, Limit: window, Asked: a.Asked})
	timers.Runs = r.whole(keys)
	out.Timers = *timers
	out.Any = len(sent)+len(out.Lanes)+len(timers.Runs) > 0
	return out
}

// openRows describes what is open, cut to a readable length.
func (s *store) openRows() string {
	var out strings.Builder
	for tenant := int64(1); tenant <= int64(s.w.sc.Tenants); tenant++ {
		for _, w := range s.list(tenant, func(w *engine.Row) bool { return !w.State.Final() }, func(w *engine.Row) int64 { return w.CreatedAt }) {
			if out.Len() > 1500 {
				return out.String() + "..."
			}
			fmt.Fprintf(&out, "\n  tenant %d %v/%d %s attempt %d lane %x rank %d due %d assignment %v", w.Tenant, w.ID, w.TaskNo, w.State, w.Attempt, w.Lane, w.Rank, w.DueAt, w.AssignmentID)
		}
	}
	return out.String()
}

// describe tells what a commit wants.
func describe(c *scheduler.Commit) string {
	var out []string
	for _, p := range c.Parts {
		for _, change := range p.Changes {
			switch c := change.(type) {
			case *engine.InsertRun:
				out = append(out, fmt.Sprintf("%d.%d insert %s", p.Shard, p.Epoch, short(c.Rows[0].ID)))
			case *engine.UpdateRow:
				out = append(out, fmt.Sprintf("%d.%d %s/%d %s", p.Shard, p.Epoch, short(c.Row.ID), c.Row.TaskNo, c.Row.State))
			case *engine.FinishRun:
				out = append(out, fmt.Sprintf("%d.%d %s ends %s", p.Shard, p.Epoch, short(c.Rows[0].ID), c.Rows[0].State))
			case *engine.AddAttempt:
				out = append(out, fmt.Sprintf("%d.%d %s/%d attempt %d %s", p.Shard, p.Epoch, short(c.ID), c.TaskNo, c.Attempt, c.Outcome))
			case *engine.PutSession:
				out = append(out, fmt.Sprintf("%d.%d session %s.%d", p.Shard, p.Epoch, short(c.Worker), c.Session))
			case *engine.EndSession:
				out = append(out, fmt.Sprintf("%d.%d end of session %s.%d", p.Shard, p.Epoch, short(c.Worker), c.Session))
			}
		}
	}
	return strings.Join(out, "; ")
}

// short is an id's end, enough to tell ids apart in a trace.
func short(id flow.ID) string { return fmt.Sprintf("%x", id[13:]) }
