package engine

import (
	"math"
	"slices"
	"sort"
)

// lane is a window of one line of queued tasks: every queued row of the lane with a rank below end stands in items.
type lane struct {
	key      uint64
	action   string
	queue    string
	items    []*row // by rank
	end      int64
	loading  bool
	void     bool   // the window lost its tail while a page was read: the page is no use
	aside    []*row // queued while a page is read, at or beyond end
	last     [10]int64
	sessions []*session // that serve it, in order of opening
	slots    int        // of those sessions
}

const wholeLane = math.MaxInt64

// sameRank is how many rows of a lane can share a rank: one a priority.
const sameRank = 10

// nextRank places a newly admitted task: engine time less what its priority is worth, strictly growing per priority.
func (l *lane) nextRank(now int64, priority int16, ageing int64) int64 {
	rank := now - int64(priority)*ageing
	if rank <= l.last[priority] {
		rank = l.last[priority] + 1
	}
	l.last[priority] = rank
	return rank
}

// laneOf finds or makes the line that a task waits in.
func (t *tenant) laneOf(w *row) *lane {
	key := w.run.plan.Lanes[w.index()]
	l := t.lanes[key]
	if l == nil {
		l = &lane{key: key, action: w.run.plan.Actions[w.index()], queue: w.task().Queue, end: wholeLane}
		t.lanes[key] = l
		t.laneList = append(t.laneList, l)
		for _, s := range t.sessions {
			if s.serves(l) {
				l.join(s)
			}
		}
	}
	return l
}

func (l *lane) join(s *session) {
	l.sessions = append(l.sessions, s)
	l.slots += s.slots
}

func (l *lane) part(s *session) {
	if i := slices.Index(l.sessions, s); i >= 0 {
		l.sessions = slices.Delete(l.sessions, i, i+1)
		l.slots -= s.slots
	}
}

// maxWindow bounds what slots add to a window.
const maxWindow = 10_000

// window is how many rows of the lane stand in memory at most.
func (s *Shard) window(l *lane) int {
	return max(s.cfg.Window, min(s.cfg.PerSlot*l.slots, maxWindow))
}

// enqueue puts a queued row into its lane's window, or leaves it to Postgres when the window does not reach it.
func (s *Shard) enqueue(t *tenant, w *row) {
	l := t.laneOf(w)
	w.Lane = l.key
	if w.inLane {
		return
	}
	switch {
	case w.Rank < l.end:
		l.insert(w)
		s.trim(l)
	case l.loading:
		w.inLane = true
		l.aside = append(l.aside, w)
	default:
		s.candidate(w.run)
	}
	t.match = true
}

func (l *lane) insert(w *row) {
	at := len(l.items)
	if at > 0 && l.items[at-1].Rank > w.Rank {
		at = sort.Search(len(l.items), func(i int) bool { return l.items[i].Rank > w.Rank })
	}
	l.items = slices.Insert(l.items, at, w)
	w.inLane = true
}

// trim gives up the window's tail when it is too long; what is given up stands in Postgres.
func (s *Shard) trim(l *lane) {
	for most := s.window(l); len(l.items) > most; {
		tail := l.items[len(l.items)-1]
		l.items[len(l.items)-1] = nil
		l.items = l.items[:len(l.items)-1]
		tail.inLane = false
		l.end = tail.Rank
		l.void = l.loading
		s.candidate(tail.run)
	}
}

// leaveLane takes a row out of its window, wherever it stands.
func (t *tenant) leaveLane(w *row) {
	if !w.inLane {
		return
	}
	w.inLane = false
	t.match = true // the window may run low
	l := t.lanes[w.Lane]
	if len(l.items) > 0 && l.items[0] == w {
		l.items[0] = nil
		l.items = l.items[1:]
		return
	}
	if i := slices.Index(l.items, w); i >= 0 {
		l.items = slices.Delete(l.items, i, i+1)
		return
	}
	if i := slices.Index(l.aside, w); i >= 0 {
		l.aside = slices.Delete(l.aside, i, i+1)
	}
}

// refill asks for the rows after the window once it runs low.
func (s *Shard) refill(t *tenant, l *lane) {
	if l.loading || l.end == wholeLane || len(l.items) > s.window(l)/2 {
		return
	}
	l.loading, l.void = true, false
	s.ask(&AskLane{Tenant: t.id, Lane: l.key, From: l.end, Limit: s.window(l)/2 + sameRank, Asked: s.seq})
}

// laneLoaded takes a page in. What the core knows of a run wins over what was read.
func (s *Shard) laneLoaded(t *tenant, in *LaneLoaded) {
	for i := range in.Runs {
		s.admitLoaded(t, &in.Runs[i], in.Asked)
	}
	l := t.lanes[in.Lane]
	if l == nil || !l.loading {
		s.takePage(t, in)
		return
	}
	l.loading = false
	aside := l.aside
	l.aside = nil
	for _, w := range aside {
		w.inLane = false
	}
	if !l.void {
		s.takePage(t, in)
	}
	t.match = true
	for _, w := range aside {
		if w.State == queued && w.assignment == nil {
			s.enqueue(t, w)
		}
	}
	s.refill(t, l)
}

// takePage moves the window's end past the page and puts its rows in.
func (s *Shard) takePage(t *tenant, in *LaneLoaded) {
	rows, end := make([]*row, 0, len(in.Rows)), int64(wholeLane)
	if !in.Last && len(in.Rows) > 0 {
		end = in.Rows[len(in.Rows)-1].Rank // rows of the same rank may follow
	}
	for _, e := range in.Rows {
		key := RunKey{t.id, e.Run}
		r := s.runs[key]
		if r == nil && s.outdated(key, in.Asked) {
			end = e.Rank // it changed and left memory meanwhile: the next page tells
			break
		}
		if r == nil || int(e.TaskNo) >= len(r.rows) {
			continue
		}
		if w := r.rows[e.TaskNo]; w.State == queued && w.assignment == nil {
			rows = append(rows, w)
		}
	}
	l := t.lanes[in.Lane]
	if l == nil {
		if len(rows) == 0 {
			return
		}
		l = t.laneOf(rows[0])
	}
	l.end = end
	for _, w := range rows {
		if !w.inLane && w.Rank < l.end {
			w.Lane = l.key
			l.insert(w)
		}
	}
	s.trim(l)
	t.match = true
}
