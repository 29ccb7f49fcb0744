package engine

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
)

// simStore is the database as the engine may rely on it: live rows, finished generations, attempts. It takes nothing that Postgres would not take.
type simStore struct {
	live     map[RunKey][]Row
	history  map[RunKey][][]Row // by generation, the newest last
	attempts []AddAttempt
	sessions map[SessionName]bool // open or not
	plans    map[int64]*flow.Plan
	window   int
}

func newSimStore(window int) *simStore {
	return &simStore{live: make(map[RunKey][]Row), history: make(map[RunKey][][]Row), sessions: make(map[SessionName]bool), plans: make(map[int64]*flow.Plan), window: window}
}

// apply writes one change, or tells why it cannot be written.
func (s *simStore) apply(c Change) error {
	switch c := c.(type) {
	case *InsertRun:
		return s.insert(c.Rows)
	case *UpdateRow:
		rows := s.live[c.Row.RunKey]
		if int(c.Row.TaskNo) >= len(rows) {
			return fmt.Errorf("update of the missing row %v/%d", c.Row.ID, c.Row.TaskNo)
		}
		if err := checkMove(&rows[c.Row.TaskNo], &c.Row); err != nil {
			return err
		}
		rows[c.Row.TaskNo] = c.Row
	case *FinishRun:
		return s.finish(c.Rows)
	case *AddAttempt:
		s.attempts = append(s.attempts, *c)
	case *PutSession:
		s.sessions[SessionName{Tenant: c.Tenant, Worker: c.Worker, Session: c.Session}] = true
	case *EndSession:
		name := SessionName{Tenant: c.Tenant, Worker: c.Worker, Session: c.Session}
		if !s.sessions[name] {
			return fmt.Errorf("end of a session that is not open: %v", name)
		}
		s.sessions[name] = false
	default:
		return fmt.Errorf("unknown change %T", c)
	}
	return nil
}

func (s *simStore) insert(rows []Row) error {
	key := rows[0].RunKey
	if _, exists := s.live[key]; exists {
		return fmt.Errorf("insert of %v, which is open", key.ID)
	}
	generation := int32(1)
	if old := s.history[key]; len(old) > 0 {
		generation = old[len(old)-1][0].Generation + 1
	}
	for i := range rows {
		if rows[i].Generation != generation || int(rows[i].TaskNo) != i || rows[i].RunKey != key {
			return fmt.Errorf("insert of %v row %d as generation %d row %d, expected generation %d", key.ID, i, rows[i].Generation, rows[i].TaskNo, generation)
		}
	}
	s.live[key] = slices.Clone(rows)
	return nil
}

func (s *simStore) finish(rows []Row) error {
	key := rows[0].RunKey
	old := s.live[key]
	if len(old) != len(rows) {
		return fmt.Errorf("end of %v with %d rows, of which %d are open", key.ID, len(rows), len(old))
	}
	var states []flow.State
	kept := slices.Clone(rows)
	for i := range rows {
		if err := checkMove(&old[i], &rows[i]); err != nil {
			return err
		}
		if !rows[i].State.Final() {
			return fmt.Errorf("end of %v with row %d %s", key.ID, i, rows[i].State)
		}
		if i > 0 || rows[i].Single {
			states = append(states, rows[i].State)
		}
		w := &kept[i] // history has no such columns
		w.Lane, w.Rank, w.DueAt, w.DeadlineAt, w.Session, w.StopReason = 0, 0, 0, 0, 0, NotStopping
	}
	if rows[0].State != flow.RunOutcome(states) {
		return fmt.Errorf("run %v ended %s with tasks %v", key.ID, rows[0].State, states)
	}
	delete(s.live, key)
	s.history[key] = append(s.history[key], kept)
	return nil
}

// checkMove tells whether a row may be rewritten so. An assignment that does not last is not written, so its states may be missing in between.
func checkMove(from, to *Row) error {
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

// newest is a run as the store has it, open or finished; nil when there is none.
func (s *simStore) newest(key RunKey) *LoadedRun {
	if rows, open := s.live[key]; open {
		return &LoadedRun{Plan: s.plans[rows[0].WorkflowID], Rows: slices.Clone(rows), Open: true}
	}
	if old := s.history[key]; len(old) > 0 {
		rows := old[len(old)-1]
		return &LoadedRun{Plan: s.plans[rows[0].WorkflowID], Rows: slices.Clone(rows)}
	}
	return nil
}

// rows lists the live rows of a tenant that a test wants, in the order that it gives.
func (s *simStore) rows(tenant int64, want func(*Row) bool, by func(*Row) int64) []*Row {
	var out []*Row
	for key, rows := range s.live {
		for i := range rows {
			if key.Tenant == tenant && want(&rows[i]) {
				out = append(out, &rows[i])
			}
		}
	}
	slices.SortFunc(out, func(a, b *Row) int {
		return cmp.Or(cmp.Compare(by(a), by(b)), bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.TaskNo, b.TaskNo))
	})
	return out
}

func (s *simStore) whole(rows []*Row) []LoadedRun {
	var out []LoadedRun
	seen := make(map[RunKey]bool)
	for _, w := range rows {
		if !seen[w.RunKey] {
			seen[w.RunKey] = true
			out = append(out, *s.newest(w.RunKey))
		}
	}
	return out
}

// answer reads what an ask wants, as the store is now.
func (s *simStore) answer(ask Ask) Input {
	switch a := ask.(type) {
	case *AskRun:
		return &RunLoaded{Tenant: a.Tenant, ID: a.ID, Asked: a.Asked, Run: s.newest(a.RunKey)}
	case *AskLane:
		page := s.lanePage(a.Tenant, a.Lane, a.From, a.Limit)
		page.Asked = a.Asked
		return &page
	case *AskTimers:
		page := s.timerPage(a.Tenant, a.From, a.Limit)
		page.Asked = a.Asked
		return &page
	case *AskTenant:
		return s.tenantPage(a)
	default:
		panic(fmt.Sprintf("unknown ask %T", ask))
	}
}

func (s *simStore) lanePage(tenant int64, lane uint64, from int64, limit int) LaneLoaded {
	rows := s.rows(tenant, func(w *Row) bool { return w.Lane == lane && w.Rank >= from && w.State == flow.Queued }, func(w *Row) int64 { return w.Rank })
	out := LaneLoaded{Tenant: tenant, Lane: lane, Last: len(rows) <= limit}
	rows = rows[:min(limit, len(rows))]
	for _, w := range rows {
		out.Rows = append(out.Rows, LaneEntry{Run: w.ID, TaskNo: w.TaskNo, Rank: w.Rank})
	}
	out.Runs = s.whole(rows)
	return out
}

func (s *simStore) timerPage(tenant, from int64, limit int) TimersLoaded {
	rows := s.rows(tenant, func(w *Row) bool { return w.DueAt > 0 && w.DueAt >= from }, func(w *Row) int64 { return w.DueAt })
	out := TimersLoaded{Tenant: tenant, Last: len(rows) <= limit}
	rows = rows[:min(limit, len(rows))]
	if !out.Last {
		out.End = rows[len(rows)-1].DueAt
	}
	out.Runs = s.whole(rows)
	return out
}

func (s *simStore) tenantPage(a *AskTenant) *TenantLoaded {
	out := &TenantLoaded{Tenant: a.Tenant, Asked: a.Asked}
	all := s.rows(a.Tenant, func(*Row) bool { return true }, func(w *Row) int64 { return int64(w.Lane) }) //nolint:gosec // only an order
	out.Any = len(all) > 0
	var sent []*Row
	for i, w := range all {
		if w.State.InFlight() && !w.AssignmentID.IsZero() {
			sent = append(sent, w)
		}
		if w.Lane != 0 && (i == 0 || all[i-1].Lane != w.Lane) {
			out.Lanes = append(out.Lanes, s.lanePage(a.Tenant, w.Lane, -1<<62, s.window/2+1))
		}
	}
	out.Running = s.whole(sent)
	out.Timers = s.timerPage(a.Tenant, 1, s.window)
	return out
}
