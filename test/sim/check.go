package sim

import (
	"bytes"
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// checker holds the world to the promises. It sees what a user could see: rows, answers, and what workers are given to do.
type checker struct {
	w        *world
	quiet    bool // nothing goes wrong after which a worker that is well may lose its work
	promised map[engine.RunKey]bool
	executed map[flow.ID]bool // assignments whose code has run
	ends     map[rowKey]ending
	progress int64 // when a task has last ended
}

type rowKey struct {
	engine.RunKey
	task       int16
	generation int32
}

type ending struct {
	state      flow.State
	assignment flow.ID
}

func newChecker(w *world) *checker {
	return &checker{
		w: w, quiet: w.sc.Faults&unquiet == 0, promised: make(map[engine.RunKey]bool), executed: make(map[flow.ID]bool), ends: make(map[rowKey]ending),
	}
}

// written checks a row that has become durable: P2.
func (c *checker) written(r *engine.Row) {
	if !r.State.Final() || r.TaskNo == 0 && !r.Single {
		return
	}
	key, now := rowKey{r.RunKey, r.TaskNo, r.Generation}, ending{r.State, r.AssignmentID}
	if before, ended := c.ends[key]; ended && before != now {
		c.w.failf("P2: run %v task %d generation %d ended %s by %v, and then %s by %v", r.ID, r.TaskNo, r.Generation, before.state, before.assignment, now.state, now.assignment)
	}
	c.ends[key] = now
	c.progress = c.w.now
	switch {
	case r.State == flow.Completed && !c.executed[r.AssignmentID]:
		c.w.failf("P2: run %v task %d completed by %v, which nobody has executed", r.ID, r.TaskNo, r.AssignmentID)
	case r.State == flow.Completed && !bytes.Equal(r.Output.Inline, r.AssignmentID[:]):
		c.w.failf("P2: run %v task %d completed by %v with the result of %x", r.ID, r.TaskNo, r.AssignmentID, r.Output.Inline)
	case r.State == flow.Failed && r.Error.Kind != flow.KindWorkerLost && !c.executed[r.AssignmentID]:
		c.w.failf("P2: run %v task %d failed by %v, which nobody has executed: %+v", r.ID, r.TaskNo, r.AssignmentID, r.Error)
	}
}

// acknowledged checks a trigger that its caller was told is taken: P1.
func (c *checker) acknowledged(key engine.RunKey) {
	if c.w.store.newest(key) == nil {
		c.w.failf("P1: the trigger of run %v was acknowledged and is not stored", key.ID)
	}
	c.promised[key] = true
}

func (c *checker) generations(key engine.RunKey) int {
	n := len(c.w.store.history[key])
	if _, open := c.w.store.live[key]; open {
		n++
	}
	return n
}

// verdict checks a result that its worker may forget: P1.
func (c *checker) verdict(tenant int64, it *busv1.ReportItem, verdict int32) {
	if verdict != int32(engine.Accepted) || it.GetKind() != busv1.ReportKind_REPORT_KIND_COMPLETED && it.GetKind() != busv1.ReportKind_REPORT_KIND_FAILED {
		return
	}
	id := flow.ID(it.GetAssignmentId())
	if c.w.store.ended[id] != "" {
		return
	}
	key := engine.RunKey{Tenant: tenant, ID: flow.ID(it.GetRunId())}
	of := func(rows []engine.Row) bool {
		return slices.ContainsFunc(rows, func(r engine.Row) bool { return r.AssignmentID == id && r.State.Final() })
	}
	if !of(c.w.store.live[key]) && !slices.ContainsFunc(c.w.store.history[key], of) {
		c.w.failf("P1: the result of assignment %v of run %v was acknowledged and is not stored", id, key.ID)
	}
}

// ordered checks what an owner sends: the parents' results are durable (P3).
func (c *checker) ordered(order *busv1.DispatcherOrder) {
	for _, ses := range order.GetSessions() {
		for _, a := range ses.GetAssignments() {
			c.w.notef("epoch %d sends %s/%d.%d attempt %d as %s to session %d", order.GetEpoch(), short(flow.ID(a.GetRunId())), a.GetTaskNo(), a.GetGeneration(),
				a.GetAttempt(), short(flow.ID(a.GetAssignmentId())), ses.GetSession())
			c.parentsDone(ses.GetTenantId(), a)
		}
	}
}

func (c *checker) parentsDone(tenant int64, a *busv1.OrderedAssignment) {
	key := engine.RunKey{Tenant: tenant, ID: flow.ID(a.GetRunId())}
	rows := c.w.store.live[key]
	if len(rows) == 0 || rows[0].Generation != a.GetGeneration() {
		rows = nil
		for _, generation := range c.w.store.history[key] {
			if generation[0].Generation == a.GetGeneration() {
				rows = generation
			}
		}
	}
	if rows == nil {
		c.w.failf("P3: run %v was sent to a worker and is not stored", key.ID)
	}
	plan := c.w.byID[a.GetWorkflowId()]
	for i, p := range plan.Parents[a.GetTaskNo()-1] {
		if r := rows[p+1]; r.State != flow.Completed || !bytes.Equal(r.Output.Inline, a.GetParents()[i].GetOutput().GetJson()) {
			c.w.failf("P3: run %v task %d was sent before its parent %d was durably completed", key.ID, a.GetTaskNo(), p+1)
		}
	}
}

// carriedOut checks an order that a dispatcher follows: a stale owner starts nothing (P7), and what was sent to a session stays with it.
func (c *checker) carriedOut(ses *session, epoch int64, order *busv1.SessionOrder) {
	if epoch != ses.epoch {
		c.w.failf("P7: an order of epoch %d was carried out for a session that is attached to epoch %d", epoch, ses.epoch)
	}
	if order.GetSession() != ses.number && len(order.GetAssignments()) > 0 {
		c.w.failf("P9: an assignment for session %d was carried out in session %d, whose owner does not know of it", order.GetSession(), ses.number)
	}
}

// arrives checks a new assignment on a worker: it has a slot for it, and nobody else still has the task in hand (P4 as far as slots go, P9).
func (c *checker) arrives(x *worker, j *job) {
	if !c.quiet {
		return
	}
	used := 0
	for _, other := range x.jobs {
		if !other.done && !other.waiting && !other.given {
			used++
		}
	}
	if used >= x.slots {
		c.w.failf("P4: %s has %d slots, all in use, and gets another assignment", x.name, x.slots)
	}
	for _, y := range c.w.workers {
		for _, other := range y.jobs {
			same := y.tenant == x.tenant && bytes.Equal(other.order.GetRunId(), j.order.GetRunId()) && other.order.GetTaskNo() == j.order.GetTaskNo() &&
				other.order.GetGeneration() == j.order.GetGeneration()
			if same && !other.done && !other.stopping && !other.given {
				c.w.failf("P9: run %v task %d is in the hands of %s, which is well, as %v, and is given to %s as %v", flow.ID(j.order.GetRunId()), j.order.GetTaskNo(),
					y.name, other.id, x.name, j.id)
			}
		}
	}
}

// starts notes that a task's code runs.
func (c *checker) starts(x *worker, j *job) {
	c.executed[j.id] = true
	c.parentsDone(x.tenant, j.order)
}

// awaited checks that a parent goes on only after its children have ended for good.
func (c *checker) awaited(x *worker, j *job) {
	for _, id := range j.children {
		if len(c.w.store.history[engine.RunKey{Tenant: x.tenant, ID: id}]) == 0 {
			c.w.failf("P3: a task was told that its child %v has ended, which is not stored", id)
		}
	}
}

// died checks that a dead worker's work is not left with it for longer than its grace and a second (P9).
func (c *checker) died(x *worker) {
	if !c.quiet || c.w.sc.Faults&(Crash|Leave|Refused|LostOutcome) != 0 {
		return // a take-over has its own time
	}
	jobs, tenant, name := slices.Clone(x.jobs), x.tenant, x.name
	const noticed = 2 * second // until the dispatcher has seen the stream break, or the beat after the last
	c.w.after(noticed+grace+grace/20+second, nil, "", func() {
		for _, j := range jobs {
			for _, r := range c.w.store.live[engine.RunKey{Tenant: tenant, ID: flow.ID(j.order.GetRunId())}] {
				if r.State.InFlight() && r.AssignmentID == j.id {
					c.w.failf("P9: run %v task %d is still with %s, which died long ago", r.ID, r.TaskNo, name)
				}
			}
		}
	})
}

// line is one lane and priority of an owner.
type line struct {
	tenant   int64
	lane     uint64
	priority int16
}

// lines checks one owner's order of sending (P11) and the size of its memory (P8).
type lines struct {
	w           *world
	rows        map[rowKey]engine.Row // as the engine has last written or read them
	sent        map[rowKey]bool
	last        map[line]int64
	uncommitted map[engine.RunKey]int64 // by the step of the last change
	reads       map[laneKey]read        // the last of each lane
}

func newLines(w *world) *lines {
	return &lines{w: w, rows: make(map[rowKey]engine.Row), sent: make(map[rowKey]bool), last: make(map[line]int64), uncommitted: make(map[engine.RunKey]int64), reads: make(map[laneKey]read)}
}

func (l *lines) know(rows []engine.Row, over bool) {
	for i := range rows {
		key := rowKey{rows[i].RunKey, rows[i].TaskNo, rows[i].Generation}
		if old, known := l.rows[key]; !known || over || old.Revision < rows[i].Revision {
			l.rows[key] = rows[i]
		}
		if rows[i].State.InFlight() {
			l.sent[key] = true // by an owner before
		}
	}
}

func (l *lines) read(in engine.Input) {
	loaded := func(runs []engine.LoadedRun) {
		for _, run := range runs {
			l.know(run.Rows, false)
		}
	}
	switch in := in.(type) {
	case *engine.OpenSession:
		for _, h := range in.Held {
			l.out(in.Tenant, h.Run, h.TaskNo, h.Generation)
		}
	case *engine.Report:
		l.out(in.Tenant, in.Run, in.TaskNo, in.Generation)
	case *engine.RunLoaded:
		if in.Run != nil {
			l.know(in.Run.Rows, false)
		}
	case *engine.LaneLoaded:
		loaded(in.Runs)
	case *engine.TimersLoaded:
		loaded(in.Runs)
	case *engine.TenantLoaded:
		loaded(in.Running)
		loaded(in.Timers.Runs)
		for _, page := range in.Lanes {
			loaded(page.Runs)
		}
	case *engine.Committed:
		for key, seq := range l.uncommitted {
			if seq <= in.Seq {
				delete(l.uncommitted, key)
			}
		}
	}
}

// out notes a task that a worker has, or had, from this owner or one before. The row of a task is 0 where it is the run's only one.
func (l *lines) out(tenant int64, run flow.ID, task, generation int32) {
	for _, no := range []int16{0, int16(task)} { //nolint:gosec // small
		l.sent[rowKey{engine.RunKey{Tenant: tenant, ID: run}, no, generation}] = true
	}
}

func (l *lines) wrote(out *engine.Output) {
	for _, change := range out.Changes {
		switch ch := change.(type) {
		case *engine.InsertRun:
			l.know(ch.Rows, true)
			l.uncommitted[ch.Rows[0].RunKey] = out.Seq
		case *engine.UpdateRow:
			l.know([]engine.Row{ch.Row}, true)
			l.uncommitted[ch.Row.RunKey] = out.Seq
		}
	}
	for _, ask := range out.Asks {
		if a, ok := ask.(*engine.AskLane); ok {
			l.asks(a)
		}
	}
	for _, e := range out.Effects {
		if a, ok := e.(*engine.Assign); ok {
			clear(l.reads)
			l.leaves(a)
		}
	}
}

type laneKey struct {
	tenant int64
	lane   uint64
}

type read struct {
	from  int64
	times int
}

// asks: a lane is read on and on, not at one place again and again while nothing leaves it.
func (l *lines) asks(a *engine.AskLane) {
	const most = 25
	key := laneKey{a.Tenant, a.Lane}
	before := l.reads[key]
	if before.times == 0 || a.From > before.from {
		l.reads[key] = read{a.From, 1}
		return
	}
	l.reads[key] = read{before.from, before.times + 1}
	if before.times > most {
		l.w.failf("P8: a lane is read %d times at rank %d and before, and nothing leaves it", before.times, before.from)
	}
}

// leaves: tasks that leave for the first time leave by rank, within their lane and priority.
func (l *lines) leaves(a *engine.Assign) {
	task := int16(a.TaskNo) //nolint:gosec // small
	if a.Plan.Single() {
		task = 0
	}
	key := rowKey{engine.RunKey{Tenant: a.Tenant, ID: a.Run}, task, a.Generation}
	r, known := l.rows[key]
	if l.sent[key] || !known || r.Attempt > 1 || r.Lost > 0 {
		return // a requeued task keeps its rank, and so leaves before others
	}
	l.sent[key] = true
	at := line{a.Tenant, a.Plan.Lanes[a.TaskNo-1], r.Priority}
	if last, ok := l.last[at]; ok && r.Rank <= last {
		l.w.failf("P11: run %v task %d of rank %d left after rank %d of the same lane and priority", a.Run, a.TaskNo, r.Rank, last)
	}
	l.last[at] = r.Rank
}

// size checks that memory is bounded by the windows and by what is in flight.
func (l *lines) size(resident int, now int64) {
	const slack, ahead = 160, 11 * second
	for _, b := range l.w.does {
		if b.kind == parent {
			return // tasks that await their children stay in memory, and so do the children
		}
	}
	lanes := 2 * len(l.w.actions)
	most := l.w.sc.MaxRuns + lanes*l.w.sc.Window + len(l.uncommitted) + slack
	for _, x := range l.w.workers {
		most += x.slots
	}
	if resident <= most {
		return
	}
	for _, rows := range l.w.store.live {
		if slices.ContainsFunc(rows, func(r engine.Row) bool { return r.DueAt > 0 && r.DueAt < now+ahead || r.State.InFlight() }) {
			most++
		}
	}
	if resident > most {
		l.w.failf("P8: %d runs are in memory, at most %d are in flight, in a window or due", resident, most)
	}
}

// end checks that what was acknowledged is there (P1).
func (c *checker) end() {
	for key := range c.promised {
		if len(c.w.store.history[key]) == 0 {
			c.w.failf("P1: run %v was acknowledged and is lost", key.ID)
		}
	}
}
