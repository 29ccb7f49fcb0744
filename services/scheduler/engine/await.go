package engine

import (
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
)

// await is a task that waits for runs without holding its slot.
type await struct {
	to         Ref
	assignment *assignment
	left       int
	on         []*run   // open runs it waits for
	refusal    *Refusal // the answer, where one of the runs is none of its children
	dropped    bool     // the task has ended, or waits anew
}

// awaitLater is an await's share of a run that has to be read first.
type awaitLater struct {
	Tenant int64
	id     flow.ID
	await  *await
}

// heldLater is a brought-back assignment whose run has to be read first.
type heldLater struct {
	Held
	Tenant  int64
	worker  flow.ID
	session *session
}

func (i *awaitLater) tenant() int64 { return i.Tenant }
func (i *heldLater) tenant() int64  { return i.Tenant }

func (s *Shard) awaitRuns(t *tenant, in *AwaitRuns) {
	a, no := s.parentOf(&in.Parent, t)
	if no != nil {
		s.effect(&Reply{in.To, no})
		return
	}
	if a.row.State == flow.Assigned {
		s.begun(a, 0)
	}
	if a.await != nil {
		// The worker asks again, after a broken call: the newest one gets the answer.
		s.dropAwait(a, refuse("aborted", "AWAIT_REPLACED", "the task has sent a newer call that waits"))
	}
	w := &await{to: in.To, assignment: a, left: len(in.IDs) + 1}
	a.await = w
	if a.holdsSlot && a.session != nil {
		a.holdsSlot = false
		a.session.used--
	}
	s.move(a.row, flow.Waiting)
	t.match = true
	for _, id := range in.IDs {
		s.awaitOne(t, w, id)
	}
	s.awaited(w)
}

// awaitOne waits for one run: it may be open, finished, or neither.
func (s *Shard) awaitOne(t *tenant, w *await, id flow.ID) {
	key := RunKey{t.id, id}
	r := s.runs[key]
	if r == nil {
		s.want(key, &awaitLater{t.id, id, w})
		return
	}
	if r.rows[0].ParentRun != w.assignment.row.ID {
		s.refuseAwait(w)
		return
	}
	r.waiters = append(r.waiters, w)
	w.on = append(w.on, r)
}

// dropAwait ends a wait whose task has ended, has been told to stop or waits anew, and lets the runs go that stayed for it.
func (s *Shard) dropAwait(a *assignment, no *Refusal) {
	w := a.await
	a.await = nil
	w.dropped = true
	s.effect(&Reply{w.to, no})
	s.letGo(w)
}

func (s *Shard) letGo(w *await) {
	for _, r := range w.on {
		r.waiters = slices.DeleteFunc(r.waiters, func(other *await) bool { return other == w })
		if s.runs[r.key] == r {
			s.candidate(r)
		}
	}
	w.on = nil
}

// refuseAwait answers a wait for a run that is none of the task's children, as soon as the task has a slot again.
func (s *Shard) refuseAwait(w *await) {
	if w.dropped || w.refusal != nil {
		return
	}
	w.refusal, w.left = notFound(), 0
	s.letGo(w)
	s.goesOn(w)
}

// awaited counts one run down, and lets the task go on after the last.
func (s *Shard) awaited(w *await) {
	if w.dropped || w.refusal != nil {
		return
	}
	if w.left--; w.left == 0 {
		s.goesOn(w)
	}
}

func (s *Shard) goesOn(w *await) {
	if w.assignment.session != nil { // else once its worker is back
		s.resumeIn(w.assignment.session, w)
	}
}

func (s *Shard) resumeIn(ses *session, w *await) {
	ses.resuming = append(ses.resuming, w)
	t := s.tenants[ses.tenant]
	t.match = true
	s.markTenant(t)
}

// resume gives free slots to tasks whose children are done, before anything new gets one.
func (s *Shard) resume(ses *session) {
	for len(ses.resuming) > 0 {
		w := ses.resuming[0]
		if !w.dropped && (ses.lost || ses.used >= ses.slots) {
			return
		}
		ses.resuming = ses.resuming[1:]
		if w.dropped {
			continue
		}
		a := w.assignment
		a.await = nil
		s.unpark(a)
		s.effect(&Reply{w.to, w.refusal})
	}
}

// unpark makes a waiting task run again, in a slot.
func (s *Shard) unpark(a *assignment) {
	s.move(a.row, flow.Running)
	if a.session != nil && !a.holdsSlot {
		a.holdsSlot = true
		a.session.used++
	}
}

func (s *Shard) peek(in *Peek) {
	out := &PeekReply{To: in.To}
	for _, id := range in.IDs {
		r := s.runs[RunKey{in.Tenant, id}]
		if r == nil {
			continue
		}
		rows := make([]Row, len(r.rows))
		for i, w := range r.rows {
			rows[i] = w.Row
			if w.assignment != nil {
				rows[i].WorkerID, rows[i].AssignmentID = w.assignment.worker, w.assignment.id
			}
		}
		out.Runs = append(out.Runs, rows)
	}
	s.effect(out)
}
