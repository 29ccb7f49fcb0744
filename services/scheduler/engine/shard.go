package engine

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

const queued = flow.Queued

// Config bounds a shard's engine. Times are in microseconds where the field is an int64.
type Config struct {
	Ageing      int64 // what one step of priority is worth in waiting; default 30 s
	AckTimeout  int64 // until an unacknowledged assignment is withdrawn; default 5 s
	RecordAfter int64 // age at which an assignment is written; default 1 s
	Grace       int64 // how long a worker out of touch keeps its work; default 10 s
	Hold        int64 // how long a tenant with open runs waits for workers to come back after a take-over; default 1 s
	Window      int   // rows of a lane kept in memory, at least; default 1,000
	PerSlot     int   // rows of a lane kept in memory for each slot that serves it, up to 10,000, so that a page comes before the last is worked off; default 4, negative: none
	MaxRuns     int   // runs kept in memory beyond what is in flight; default 10,000
	NoHold      bool  // the owner before handed the shard over in order, so that every assignment is recorded: nobody needs to wait for workers
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	set := func(v *int64, d time.Duration) {
		if *v == 0 {
			*v = d.Microseconds()
		}
	}
	set(&c.Ageing, 30*time.Second)
	set(&c.AckTimeout, 5*time.Second)
	set(&c.RecordAfter, time.Second)
	set(&c.Grace, 10*time.Second)
	set(&c.Hold, time.Second)
	if c.Window == 0 {
		c.Window = 1000
	}
	if c.PerSlot == 0 {
		c.PerSlot = 4
	}
	if c.MaxRuns == 0 {
		c.MaxRuns = 10_000
	}
	return c
}

// Shard is the engine of one shard. It is not safe for concurrent use.
type Shard struct {
	cfg         Config
	now         int64
	seq         int64
	committed   int64
	order       int64
	random      *rand.Rand
	tenants     map[int64]*tenant
	runs        map[RunKey]*run
	assignments map[flow.ID]*assignment
	timers      timers
	touched     []*run             // changed in this step, in order
	marked      []*tenant          // to match at the end of this step, in order
	candidates  []*run             // may leave memory
	gone        map[RunKey]int64   // left memory while something was being read, by the step that last changed them
	left        []departure        // the entries of gone, in the order of leaving
	asking      []int64            // steps of the asks without an answer, in order
	sweepAt     int                // number of timers at which the outdated ones are dropped
	waiting     map[RunKey][]Input // inputs that wait for a run to be read
	leaving     bool               // handed over: nothing is sent any more
	out         Output
}

// departure is one run that left memory.
type departure struct {
	key RunKey
	seq int64 // the step it left in
}

// tenant is what the shard knows of one tenant.
type tenant struct {
	id            int64
	ready         bool
	parked        []Input // until it is loaded
	lanes         map[uint64]*lane
	laneList      []*lane
	sessions      []*session
	holdUntil     int64
	timerEnd      int64 // every timer of the tenant due before it is in memory
	timersLoading bool
	timersFrom    int64 // where the page being read starts
	timersWider   int   // doublings of the page, where one instant has more rows than it holds
	timersMissed  int64 // earliest timer of the runs that left memory while the page is read
	refillAt      int64 // when the next page is asked for; 0: not at all
	match         bool
	marked        bool
	ended         map[flow.ID]over // newest ended session of each worker, for a while
	endedOrder    []flow.ID        // its workers, those that came first in front
	paused        map[flow.ID]bool // workers that people have paused since this owner came
}

// New makes an empty shard. The same seed and the same inputs give the same outputs.
func New(cfg Config, seed [32]byte) *Shard {
	return &Shard{
		cfg:         cfg.WithDefaults(),
		random:      rand.New(rand.NewChaCha8(seed)), //nolint:gosec // ids only fence; the seed is from the shell's strong source
		tenants:     make(map[int64]*tenant),
		runs:        make(map[RunKey]*run),
		assignments: make(map[flow.ID]*assignment),
		gone:        make(map[RunKey]int64),
		waiting:     make(map[RunKey][]Input),
	}
}

// LoadTenant asks for a tenant's open runs before the first input names it; the shell calls it for every tenant of a shard it has just taken over.
func (s *Shard) LoadTenant(now time.Time, tenantID int64) Output {
	s.begin(now)
	s.tenantFor(tenantID)
	return s.finish()
}

// HandOver is the shard's last step but for Committed: it records every assignment that is not recorded yet, so that the next owner knows what
// is out without asking anybody, and sends nothing.
func (s *Shard) HandOver(now time.Time) Output {
	s.begin(now)
	s.leaving = true
	var young []*row
	for _, a := range s.assignments {
		if !a.recorded {
			young = append(young, a.row)
		}
	}
	slices.SortFunc(young, func(a, b *row) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.TaskNo, b.TaskNo))
	})
	for _, w := range young {
		s.touch(w)
	}
	return s.finish()
}

// Settled tells whether everything is known that was out when the shard was taken over: its tenants are loaded, and their workers have had their time
// to say what they run. A shard that is handed over earlier leaves the next owner with the same questions.
func (s *Shard) Settled() bool {
	for _, t := range s.tenants {
		if !t.ready || s.now < t.holdUntil {
			return false
		}
	}
	return true
}

// Step applies inputs in order at one instant.
func (s *Shard) Step(now time.Time, in []Input) Output {
	s.begin(now)
	if len(in) > 1 {
		s.out.Changes, s.out.Effects = make([]Change, 0, len(in)), make([]Effect, 0, 2*len(in)) // about what a step makes
	}
	s.fire()
	for _, input := range in {
		s.apply(input)
	}
	return s.finish()
}

func (s *Shard) begin(now time.Time) {
	s.now = max(s.now, now.UnixMicro())
	s.seq++
	s.out = Output{Seq: s.seq}
}

func (s *Shard) finish() Output {
	// What waits is written as waiting before it is sent: an assignment that does not outlive its commit leaves no trace.
	s.flush()
	for i := 0; i < len(s.marked); i++ {
		t := s.marked[i]
		t.marked = false
		if t.match && t.ready && !s.leaving {
			t.match = false
			s.matchTenant(t)
		}
	}
	s.marked = s.marked[:0]
	s.evict()
	s.sweep()
	if len(s.timers) > 0 {
		s.out.NextWake = s.timers[0].at
	}
	out := s.out
	s.out = Output{}
	return out
}

func (s *Shard) effect(e Effect) { s.out.Effects = append(s.out.Effects, e) }
func (s *Shard) change(c Change) { s.out.Changes = append(s.out.Changes, c) }

func (s *Shard) ask(a Ask) {
	s.asking = append(s.asking, s.seq)
	s.out.Asks = append(s.out.Asks, a)
}

// answered crosses an ask off, and forgets departures that no answer on its way can be older than.
func (s *Shard) answered(asked int64) {
	if i := slices.Index(s.asking, asked); i >= 0 {
		s.asking = slices.Delete(s.asking, i, i+1)
	}
	for len(s.left) > 0 && (len(s.asking) == 0 || s.left[0].seq <= s.asking[0]) {
		d := s.left[0]
		s.left = s.left[1:]
		if s.gone[d.key] <= d.seq {
			delete(s.gone, d.key)
		}
	}
}

// leave takes a run out of memory. While something is being read, it is remembered: the answer may show the run as it was before.
func (s *Shard) leave(r *run) {
	delete(s.runs, r.key)
	if len(s.asking) > 0 {
		s.gone[r.key] = max(s.gone[r.key], r.lastSeq)
		s.left = append(s.left, departure{r.key, s.seq})
	}
}

// outdated tells whether an answer to an ask of that step may show an older state of the run than the last one in memory.
func (s *Shard) outdated(key RunKey, asked int64) bool {
	return s.gone[key] > asked
}

// tenantFor finds a tenant, and asks for it on first sight.
func (s *Shard) tenantFor(id int64) *tenant {
	t := s.tenants[id]
	if t == nil {
		t = &tenant{id: id, lanes: make(map[uint64]*lane), timerEnd: allTimers}
		s.tenants[id] = t
		s.ask(&AskTenant{Tenant: id, Asked: s.seq})
	}
	return t
}

func (s *Shard) markTenant(t *tenant) {
	if !t.marked {
		t.marked = true
		s.marked = append(s.marked, t)
	}
}

func (s *Shard) apply(input Input) {
	if in, ok := input.(*Committed); ok {
		s.committed = max(s.committed, in.Seq)
		return
	}
	if in, ok := input.(*LoseDispatcher); ok {
		s.loseDispatcher(in)
		return
	}
	t := s.tenantFor(input.tenant())
	s.markTenant(t)
	if in, ok := input.(*TenantLoaded); ok {
		if in.Elsewhere {
			delete(s.tenants, t.id)
		} else {
			s.tenantLoaded(t, in)
		}
		s.answered(in.Asked)
		return
	}
	if !t.ready {
		t.parked = append(t.parked, input)
		return
	}
	s.applyReady(t, input)
}

func (s *Shard) applyReady(t *tenant, input Input) {
	switch in := input.(type) {
	case *Trigger:
		s.trigger(t, in)
	case *CancelRun:
		s.cancelRun(t, in)
	case *ReplayRun:
		s.replayRun(t, in)
	case *AwaitRuns:
		s.awaitRuns(t, in)
	case *Peek:
		s.peek(in)
	case *OpenSession:
		s.openSession(t, in)
	case *LoseSession:
		s.loseSession(t, in)
	case *CheckSessions:
		s.checkSessions(t, in)
	case *DrainWorker:
		s.drainWorker(t, in)
	case *Survey:
		s.survey(t, in)
	case *PauseWorker:
		s.pauseWorker(t, in)
	case *CheckParent:
		_, no := s.parentOf(&in.Parent, t)
		s.effect(&Reply{in.To, no})
	case *Report:
		s.report(t, in)
	case *RunLoaded:
		s.runLoaded(t, in)
		s.answered(in.Asked)
	case *LaneLoaded:
		s.laneLoaded(t, in)
		s.answered(in.Asked)
	case *TimersLoaded:
		s.timersLoaded(t, in)
		s.answered(in.Asked)
	}
}

// newID draws an assignment's id.
func (s *Shard) newID() flow.ID {
	var id flow.ID
	for i := 0; i < len(id); i += 8 {
		v := s.random.Uint64()
		for j := range 8 {
			id[i+j] = byte(v >> (8 * j))
		}
	}
	return id
}

// move changes a task's state. A move that the table does not know is a fault of the engine itself: the shard stops rather than writing it.
func (s *Shard) move(w *row, to flow.State) {
	if w.State != to && !flow.MayMove(w.State, to) {
		panic("engine: no move from " + string(w.State) + " to " + string(to))
	}
	w.State = to
}

// touch marks a row as changed in this step.
func (s *Shard) touch(w *row) {
	w.dirty = true
	s.touchRun(w.run)
}

func (s *Shard) touchRun(r *run) {
	if !r.dirty {
		r.dirty = true
		s.touched = append(s.touched, r)
	}
}

// flush turns the step's changed rows into changes and notices.
func (s *Shard) flush() {
	for _, r := range s.touched {
		r.dirty = false
		r.lastSeq = s.seq
		if r.rows[0].State.Final() {
			s.flushFinal(r)
			continue
		}
		s.flushOpen(r)
	}
	s.touched = s.touched[:0]
}

func (s *Shard) flushOpen(r *run) {
	if r.rows[0].fresh {
		s.insertRun(r)
		return
	}
	changed := false
	s.candidate(r)
	for _, w := range r.rows {
		if !w.dirty {
			continue
		}
		changed = true
		s.change(&UpdateRow{s.written(w)})
	}
	if changed {
		s.effect(&Notice{r.key, r.rows[0].WorkflowID, r.revision(), false})
	}
}

func (s *Shard) insertRun(r *run) {
	rows := make([]Row, len(r.rows))
	for i, w := range r.rows {
		rows[i] = s.written(w)
		w.fresh = false
	}
	s.candidate(r)
	s.change(&InsertRun{rows})
	s.effect(&Notice{r.key, r.rows[0].WorkflowID, r.revision(), false})
}

// flushFinal writes a run's end and lets it go from memory.
func (s *Shard) flushFinal(r *run) {
	if r.rows[0].fresh {
		s.insertRun(r)
	}
	rows := make([]Row, len(r.rows))
	for i, w := range r.rows {
		rows[i] = s.written(w)
	}
	s.change(&FinishRun{rows})
	s.effect(&Notice{r.key, r.rows[0].WorkflowID, r.revision(), true})
	s.leave(r)
	for _, a := range r.waiters {
		s.awaited(a)
	}
	r.waiters = nil
}

// written is a row as it goes to the table: with its assignment if one is out, in a lane only while it waits there.
func (s *Shard) written(w *row) Row {
	w.dirty = false
	w.Revision++
	out := w.Row
	if a := w.assignment; a != nil {
		a.recorded = true
		out.AssignmentID, out.WorkerID, out.Session = a.id, a.worker, a.number
	}
	if out.State != queued {
		out.Lane = 0
	}
	return out
}
