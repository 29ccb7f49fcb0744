package engine

import (
	"maps"
	"slices"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// session is one attachment of a worker.
type session struct {
	tenant     int64
	worker     flow.ID
	number     int64
	dispatcher string
	actions    map[string]bool
	queues     []string
	slots      int
	used       int
	draining   bool
	paused     bool // by people: it keeps what it has and gets nothing new
	lost       bool
	lostAt     int64
	graceEnd   int64         // when a lost session's work is given up
	opening    int64         // the newest request to open it
	held       []*assignment // in no order that means anything, but always in the same
	resuming   []*await      // children are final, the slot is not had yet
}

// hold notes that the session's worker has an assignment.
func (s *session) hold(a *assignment) {
	a.place = len(s.held)
	s.held = append(s.held, a)
}

// letGo takes an assignment out; the last one takes its place.
func (s *session) letGo(a *assignment) {
	if a.place >= len(s.held) || s.held[a.place] != a {
		return // the session has ended, and gave up its list
	}
	last := len(s.held) - 1
	s.held[a.place] = s.held[last]
	s.held[a.place].place = a.place
	s.held[last] = nil
	s.held = s.held[:last]
}

func (s *session) name() SessionName {
	return SessionName{s.dispatcher, s.tenant, s.worker, s.number, s.opening}
}

func (s *session) serves(l *lane) bool {
	return s.actions[l.action] && (len(s.queues) == 0 || slices.Contains(s.queues, l.queue))
}

func (s *session) free() int {
	if s.lost || s.draining || s.paused {
		return 0
	}
	return s.slots - s.used
}

// assignment is a task that was sent to a worker and is not known to have ended.
type assignment struct {
	id        flow.ID
	row       *row
	session   *session // nil: recorded by an earlier owner, not brought back yet
	worker    flow.ID
	number    int64
	acked     bool
	listed    bool // brought along, and its worker has not said since that it runs: the list may be older than the worker's last word
	recorded  bool
	deadline  int64 // of the attempt; 0 before its start
	askAt     int64 // when its worker is asked whether it has it
	stopAt    int64 // when a worker that has not stopped is told again
	holdsSlot bool
	place     int // in the session's list
	await     *await
}

func (a *assignment) stopping() bool { return a.row.State == flow.Stopping }

func (t *tenant) session(worker flow.ID) *session {
	for _, s := range t.sessions {
		if s.worker == worker {
			return s
		}
	}
	return nil
}

func (s *Shard) openSession(t *tenant, in *OpenSession) {
	old := t.session(in.Worker)
	if t.staleOpening(old, in, s.now) {
		s.effect(&Reply{in.To, refuse("aborted", "SESSION_STALE", "a newer session of this worker is open: listen again with a higher session number")})
		return
	}
	if old != nil && old.number == in.Session && old.opening == in.Opening {
		s.effect(&Reply{To: in.To}) // the same request once more
		return
	}
	fresh := &session{
		tenant: t.id, worker: in.Worker, number: in.Session, dispatcher: in.Dispatcher, queues: in.Queues, slots: in.Slots, draining: in.Draining, opening: in.Opening,
		paused:  in.Paused || t.paused[in.Worker],
		actions: make(map[string]bool, len(in.Actions)),
	}
	for _, action := range in.Actions {
		fresh.actions[action] = true
	}
	var before []*assignment
	if old != nil {
		before = old.held
		old.held = nil
		s.removeSession(t, old)
		if old.number != in.Session {
			s.change(&EndSession{t.id, old.worker, old.number, s.now})
			s.effect(&Close{old.name()})
		}
	}
	t.sessions = append(t.sessions, fresh)
	for _, l := range t.laneList {
		if fresh.serves(l) {
			l.join(fresh)
		}
	}
	s.change(&PutSession{t.id, in.Worker, in.Session, in.Dispatcher, s.now})
	s.effect(&WorkersNotice{t.id})
	s.effect(&Reply{To: in.To})
	for _, h := range in.Held {
		s.bringBack(t, fresh, h)
	}
	for _, a := range before {
		if a.session == old && s.assignments[a.id] == a {
			s.missing(a)
		}
	}
	t.match = true
}

// staleOpening tells of a request to open a session that has ended, or that has been overtaken by a newer session or a newer request.
func (t *tenant) staleOpening(old *session, in *OpenSession, now int64) bool {
	if over := t.ended[in.Worker]; now < over.until && over.number >= in.Session {
		return true
	}
	if old == nil || old.number != in.Session {
		return old != nil && old.number > in.Session
	}
	return old.dispatcher != in.Dispatcher || old.opening > in.Opening
}

// bringBack takes over an assignment that the worker still has, or tells it to stop.
func (s *Shard) bringBack(t *tenant, to *session, h Held) {
	a := s.assignments[h.Assignment]
	if a == nil {
		a = s.adopt(t, h)
	}
	if a == nil && s.runs[RunKey{t.id, h.Run}] == nil {
		// The run may be open beyond the windows, or finished: its row decides. Meanwhile the slot is taken.
		to.used++
		s.want(RunKey{t.id, h.Run}, &heldLater{Held: h, Tenant: t.id, worker: to.worker, session: to})
		return
	}
	if a == nil || a.row.Tenant != t.id || a.worker != to.worker && (a.recorded || a.session != nil) {
		s.effect(&Stop{to.name(), h.Assignment, reasonSuperseded})
		return
	}
	if a.session == to {
		return // named twice
	}
	a.session, a.worker, a.number = to, to.worker, to.number
	s.unconfirmed(a)
	to.hold(a)
	switch {
	case a.await == nil:
		a.holdsSlot = true
		to.used++
	case a.await.left == 0:
		s.resumeIn(to, a.await)
	}
	switch {
	case a.stopping():
		s.tellStop(a)
	case h.Started && a.row.State != flow.Running && a.row.State != flow.Waiting:
		s.begun(a, h.Running)
	case h.Started && a.deadline == 0:
		s.armAttempt(a, s.now-h.Running)
	}
}

// unconfirmed notes an assignment that its worker is said to have. If the worker says nothing of it, it is asked: who brought it along may have listed it before
// the worker's last word about it, which an earlier owner has heard.
func (s *Shard) unconfirmed(a *assignment) {
	a.acked, a.listed = true, true
	s.askLater(a)
}

// askLater lets the worker be asked for an assignment, unless it says by itself that it has it.
func (s *Shard) askLater(a *assignment) {
	a.askAt = s.now + s.cfg.AckTimeout
	s.setTimer(timer{at: a.askAt, kind: ackDue, assignment: a.id})
}

// asking tells whether it is to be asked for.
func (a *assignment) asking() bool { return !a.acked || a.listed }

// adopt makes an assignment of one that an earlier owner sent and did not write, as long as the task is open and nothing else was sent for it.
func (s *Shard) adopt(t *tenant, h Held) *assignment {
	r := s.runs[RunKey{t.id, h.Run}]
	if r == nil {
		return nil
	}
	w := r.byNo(h.TaskNo)
	if w == nil || w.assignment != nil || w.State != queued || w.Generation != h.Generation || w.Attempt != h.Attempt || w.over == h.Assignment {
		return nil // or an opening sent again, older than the worker's word that this assignment is over
	}
	t.leaveLane(w)
	a := &assignment{id: h.Assignment, row: w}
	w.assignment = a
	w.sent++
	s.assignments[a.id] = a
	s.move(w, flow.Assigned)
	s.setDue(w, 0)
	s.setTimer(timer{at: s.now + s.cfg.RecordAfter, kind: recordDue, assignment: a.id})
	return a
}

// missing handles an assignment that its worker does not know: one that never arrived goes back to the queue, others are lost. A worker that
// a task kills has no time to say that it started the task, so an acknowledged one counts as lost.
//
// One that never arrived has happened once, by chance. When it happens again, the task may be killing its workers before they can say a word.
func (s *Shard) missing(a *assignment) {
	if a.row.State == flow.Assigned && !a.acked {
		if a.row.unheard++; a.row.unheard == 1 {
			s.requeue(a)
			return
		}
	}
	s.lose(a)
}

func (s *Shard) removeSession(t *tenant, gone *session) {
	if i := slices.Index(t.sessions, gone); i >= 0 {
		t.sessions = slices.Delete(t.sessions, i, i+1)
	}
	for _, l := range t.laneList {
		l.part(gone)
	}
}

func (s *Shard) loseSession(t *tenant, in *LoseSession) {
	s.effect(&Reply{To: in.To})
	old := t.session(in.Worker)
	if old == nil || old.number < in.Session {
		s.sessionOver(t, in.Worker, in.Session) // its opening may yet arrive
		return
	}
	if old.number != in.Session {
		return
	}
	s.outOfTouch(t, old)
	if in.Gone {
		s.endSession(t, old)
	}
}

// outOfTouch begins a session's grace.
func (s *Shard) outOfTouch(t *tenant, ses *session) {
	if ses.lost {
		return
	}
	ses.lost, ses.lostAt, ses.graceEnd = true, s.now, s.now+s.cfg.Grace
	s.setTimer(timer{at: ses.graceEnd, kind: graceDue, tenant: t.id, worker: ses.worker, session: ses.number})
	s.effect(&WorkersNotice{t.id})
}

// loseDispatcher begins the grace of every session that a dispatcher held. Its workers may come back elsewhere, and so may the dispatcher itself: it then
// finds out by asking that its sessions are lost.
func (s *Shard) loseDispatcher(in *LoseDispatcher) {
	for _, id := range slices.Sorted(maps.Keys(s.tenants)) {
		t := s.tenants[id]
		for _, ses := range t.sessions {
			if ses.dispatcher == in.Dispatcher {
				s.outOfTouch(t, ses)
			}
		}
	}
}

// checkSessions tells a dispatcher which sessions it holds in vain.
func (s *Shard) checkSessions(t *tenant, in *CheckSessions) {
	reply := &SessionsReply{To: in.To}
	for _, key := range in.Sessions {
		if ses := t.session(key.Worker); ses == nil || ses.number != key.Session || ses.lost {
			reply.Missing = append(reply.Missing, key)
		}
	}
	s.effect(reply)
}

func (s *Shard) graceOver(tm timer) {
	t := s.tenants[tm.tenant]
	if t == nil {
		return
	}
	if old := t.session(tm.worker); old != nil && old.number == tm.session && old.lost && old.graceEnd == tm.at {
		s.endSession(t, old)
	}
}

func (s *Shard) endSession(t *tenant, old *session) {
	s.removeSession(t, old)
	s.sessionOver(t, old.worker, old.number)
	s.change(&EndSession{t.id, old.worker, old.number, s.now})
	s.effect(&WorkersNotice{t.id})
	held := old.held
	old.held = nil
	for _, a := range held {
		if s.assignments[a.id] == a {
			s.missing(a)
		}
	}
	s.markTenant(t)
}

// over is a session that has ended.
type over struct {
	number int64
	until  int64 // remembered until then
}

// sessionOver remembers a session's end for as long as a request to open it may still be on its way: opened again, it would have no stream, and nobody
// would ever say that it is lost.
func (s *Shard) sessionOver(t *tenant, worker flow.ID, number int64) {
	const graces = 12
	for len(t.endedOrder) > 0 && t.ended[t.endedOrder[0]].until <= s.now {
		delete(t.ended, t.endedOrder[0])
		t.endedOrder = t.endedOrder[1:]
	}
	before, known := t.ended[worker]
	if t.ended == nil {
		t.ended = make(map[flow.ID]over)
	}
	if t.ended[worker] = (over{max(number, before.number), s.now + graces*s.cfg.Grace}); !known {
		t.endedOrder = append(t.endedOrder, worker)
	}
}

func (s *Shard) drainWorker(t *tenant, in *DrainWorker) {
	if old := t.session(in.Worker); old != nil && old.number == in.Session {
		old.draining = true
		s.effect(&WorkersNotice{t.id})
	}
	s.effect(&Reply{To: in.To})
}

// release ends an assignment: its slot is free, and nothing of it is known any more.
func (s *Shard) release(a *assignment) {
	delete(s.assignments, a.id)
	if a.row.assignment == a {
		a.row.assignment = nil
	}
	if a.await != nil {
		s.dropAwait(a, refuse("failed_precondition", "PARENT_NOT_RUNNING", "the waiting task has ended or lost its worker"))
	}
	if a.session == nil {
		return
	}
	a.session.letGo(a)
	if a.holdsSlot {
		a.session.used--
	}
	t := s.tenants[a.session.tenant]
	t.match = true
	s.markTenant(t)
}

// requeue puts a task back that its worker does not have: at its old place, for free.
func (s *Shard) requeue(a *assignment) {
	w := a.row
	recorded := a.recorded
	if a.stopping() {
		s.stopped(a)
		return
	}
	if w.State != flow.Assigned {
		w.QueuedAt = s.now // it waits anew
	}
	s.release(a)
	s.move(w, queued)
	s.setDue(w, 0)
	s.enqueue(s.tenants[w.Tenant], w)
	s.markTenant(s.tenants[w.Tenant])
	if recorded {
		s.touch(w)
	}
}

// lose ends an attempt whose worker is gone. It spends no retry, but too many of them fail the task.
func (s *Shard) lose(a *assignment) {
	w := a.row
	t := s.tenants[w.Tenant]
	if a.stopping() {
		s.stopped(a)
		return
	}
	s.addAttempt(w, a.id, a.worker, "lost", w.Generation, w.StartedAt, s.now, nil)
	s.release(a)
	w.Lost++
	if int(w.Lost) > w.task().MaxLost {
		w.AssignmentID, w.WorkerID = a.id, a.worker
		w.Error = &TaskError{Kind: flow.KindWorkerLost, Message: "the task's worker was gone too often: it may be killing its worker (memory, a crash in native code)"}
		s.finishTask(t, w, flow.Failed)
		return
	}
	s.move(w, queued)
	w.QueuedAt = s.now // it waits anew, at its old place
	s.setDue(w, 0)
	s.enqueue(t, w)
	s.touch(w)
	s.markTenant(t)
}

func stopWord(r StopReason) int32 {
	if r == StopCancelled {
		return reasonCancelled
	}
	return reasonTimedOut
}

// stop tells a worker to stop. The assignment holds its slot until the worker says it did.
func (s *Shard) stop(a *assignment, why StopReason) {
	w := a.row
	if a.stopping() {
		if w.StopReason == StopTimeout && why != StopTimeout {
			w.StopReason = why // the whole run ends: no retry
			s.setDue(w, 0)
			s.touch(w)
		}
		return
	}
	w.StopReason = why
	s.move(w, flow.Stopping)
	s.setDue(w, 0)
	s.touch(w)
	if a.await != nil {
		s.dropAwait(a, refuse("aborted", "PARENT_STOPPING", "the waiting task has been told to stop"))
	}
	s.tellStop(a)
}

// tellStop tells the worker of a stopping assignment to stop, and again as long as it does not say that it did.
func (s *Shard) tellStop(a *assignment) {
	if a.session != nil {
		s.effect(&Stop{a.session.name(), a.id, stopWord(a.row.StopReason)})
	}
	a.stopAt = s.now + s.cfg.AckTimeout
	s.setTimer(timer{at: a.stopAt, kind: stopDue, assignment: a.id})
}

// stopped ends a stopping attempt: the worker said so, or is gone.
func (s *Shard) stopped(a *assignment) {
	w := a.row
	t := s.tenants[w.Tenant]
	w.AssignmentID, w.WorkerID = a.id, a.worker
	why := w.StopReason
	s.release(a)
	switch why {
	case StopTimeout:
		w.Error = &TaskError{Kind: flow.KindTimeout, Message: "the attempt ran longer than its execution timeout of " + w.task().ExecutionTimeout.String()}
		if !s.retry(t, w, a, w.Error, "timed_out", 0) {
			s.finishTask(t, w, flow.TimedOut)
		}
	case StopRunTimeout:
		w.Error = endError(w, why)
		s.finishTask(t, w, flow.TimedOut)
	default:
		w.Error = endError(w, why)
		s.finishTask(t, w, flow.Cancelled)
	}
}

// endError is the error of a task that ended with its run.
func endError(w *row, why StopReason) *TaskError {
	if why == StopRunTimeout {
		return &TaskError{Kind: flow.KindTimeout, Message: "the run ran longer than its timeout of " + w.run.plan.Workflow.RunTimeout.Round(time.Millisecond).String()}
	}
	return &TaskError{Kind: flow.KindCancelled, Message: "the run was cancelled"}
}
