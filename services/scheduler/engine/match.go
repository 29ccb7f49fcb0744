package engine

import (
	"container/heap"

	"github.com/tenon-run/tenon/internal/flow"
)

// byHead orders lanes by the rank of their first row.
type byHead []*lane

func (h byHead) Len() int           { return len(h) }
func (h byHead) Less(i, j int) bool { return h[i].items[0].Rank < h[j].items[0].Rank }
func (h byHead) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byHead) Push(x any)        { *h = append(*h, x.(*lane)) } //nolint:forcetypeassert // heap's own call
func (h *byHead) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// matchTenant gives free slots to waiting tasks: first to tasks whose children are done, then by rank over all lanes that somebody serves.
func (s *Shard) matchTenant(t *tenant) {
	for _, ses := range t.sessions {
		s.resume(ses)
	}
	if s.now < t.holdUntil {
		return
	}
	var open byHead
	for _, l := range t.laneList {
		if len(l.items) > 0 && l.pick() != nil {
			open = append(open, l)
		}
	}
	heap.Init(&open)
	for len(open) > 0 {
		l := open[0]
		ses := l.pick()
		if ses == nil {
			heap.Pop(&open)
			continue
		}
		w := l.items[0]
		l.items[0] = nil
		l.items = l.items[1:]
		w.inLane = false
		s.assign(ses, w)
		s.refill(t, l)
		if len(l.items) == 0 {
			heap.Pop(&open)
		} else {
			heap.Fix(&open, 0)
		}
	}
	for _, l := range t.laneList {
		s.refill(t, l)
	}
}

// pick is the session with the most free slots, the longest attached one among equals.
func (l *lane) pick() *session {
	var best *session
	for _, ses := range l.sessions {
		if ses.free() > 0 && (best == nil || ses.free() > best.free()) {
			best = ses
		}
	}
	return best
}

// assign sends a task. Nothing is written until it lasts.
func (s *Shard) assign(ses *session, w *row) {
	a := &assignment{id: s.newID(), row: w, session: ses, worker: ses.worker, number: ses.number, holdsSlot: true}
	ses.used++
	ses.hold(a)
	s.assignments[a.id] = a
	w.assignment = a
	w.sent++
	s.move(w, flow.Assigned)
	w.DueAt = 0
	if w.DeadlineAt > 0 {
		w.DueAt = w.DeadlineAt
		s.arm(w)
	}
	s.setTimer(timer{at: s.now + s.cfg.RecordAfter, kind: recordDue, assignment: a.id})
	s.setTimer(timer{at: s.now + s.cfg.AckTimeout, kind: ackDue, assignment: a.id})
	top := w.run.rows[0]
	out := &Assign{
		SessionName: ses.name(), Assignment: a.id, Run: w.ID, TaskNo: w.number(), Generation: w.Generation, Attempt: w.Attempt, Plan: w.run.plan,
		Input: top.Input, Timeout: w.task().ExecutionTimeout.Microseconds(), Trace: top.Traceparent, Class: w.Class,
	}
	for _, p := range w.run.plan.Parents[w.index()] {
		out.Parents = append(out.Parents, ParentOutput{w.run.plan.Workflow.Tasks[p].Name, w.run.taskAt(p).Output})
	}
	s.effect(out)
}

// begun marks the start of the task's code, some microseconds ago.
func (s *Shard) begun(a *assignment, ago int64) {
	w := a.row
	a.acked = true
	s.move(w, flow.Running)
	s.armAttempt(a, s.now-ago)
	w.StartedAt = s.now - ago
	if top := w.run.rows[0]; top.StartedAt == 0 {
		top.StartedAt = w.StartedAt
		top.State = flow.Running
		top.dirty = true // written with the run's next change
	}
	s.effect(&Notice{w.RunKey, w.WorkflowID, w.run.revision(), false})
}

func (s *Shard) armAttempt(a *assignment, startedAt int64) {
	if d := a.row.task().ExecutionTimeout; d > 0 {
		a.deadline = startedAt + d.Microseconds()
		s.setTimer(timer{at: a.deadline, kind: attemptDue, assignment: a.id})
	}
}
