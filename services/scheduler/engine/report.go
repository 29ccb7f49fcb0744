package engine

import "github.com/tenon-run/tenon/internal/flow"

// report applies one piece of news. The assignment's id is the only fence.
func (s *Shard) report(t *tenant, in *Report) {
	a := s.assignments[in.Assignment]
	if a == nil || a.row.Tenant != t.id {
		a = s.unknown(t, in)
	}
	if a == nil {
		return
	}
	verdict := Accepted
	w := a.row
	listed := a.listed
	if in.Session >= a.number && in.Kind != Acknowledged {
		a.listed = false // one that has started may be known as such to an earlier owner alone
	}
	switch in.Kind {
	case Acknowledged:
		a.acked = true
	case Started:
		a.acked = true
		if w.State == flow.Assigned {
			s.begun(a, s.since(w, in.Running))
		}
	case Withdrawn:
		if w.State == flow.Assigned || a.stopping() || listed {
			w.over = a.id
			s.requeue(a)
		}
	case Stopped:
		w.over = a.id
		if a.stopping() {
			s.stopped(a)
		} else {
			// The worker stopped by itself: it had lost touch for longer than its grace.
			s.lose(a)
		}
	case Succeeded, FailedAttempt:
		verdict = s.ended(t, a, in)
	}
	s.effect(&VerdictReply{in.To, verdict})
}

// ended applies a result.
func (s *Shard) ended(t *tenant, a *assignment, in *Report) Verdict {
	w := a.row
	if a.stopping() {
		s.stopped(a)
		return Superseded
	}
	if w.State == flow.Assigned {
		s.begun(a, s.since(w, in.Running))
	}
	w.AssignmentID, w.WorkerID = a.id, a.worker
	s.release(a)
	if in.Kind == Succeeded {
		w.Output, w.Error = in.Output, nil
		s.finishTask(t, w, flow.Completed)
		return Accepted
	}
	w.Error = in.Error
	if w.Error == nil {
		w.Error = &TaskError{Kind: flow.KindError, Message: "the worker reported a failure without an error"}
	}
	if in.NeverRetry || !s.retry(t, w, a, w.Error, "failed", in.RetryAfter) {
		s.finishTask(t, w, flow.Failed)
	}
	return Accepted
}

// since bounds how long a worker says its code has been running: it cannot have begun before it was queued.
func (s *Shard) since(w *row, running int64) int64 {
	return max(0, min(running, s.now-w.QueuedAt))
}

// retry puts a failed attempt behind and waits for the next, if the policy has one.
func (s *Shard) retry(t *tenant, w *row, a *assignment, err *TaskError, outcome string, after int64) bool {
	policy := w.task().Retry
	if int(w.Attempt) > policy.Max || !policy.Allows(err.Kind) {
		return false
	}
	s.addAttempt(w, a.id, a.worker, outcome, w.Generation, w.StartedAt, s.now, err)
	wait := after
	if wait == 0 {
		wait = policy.Backoff(int(w.Attempt), s.random.Float64()).Microseconds()
	}
	s.move(w, flow.BackingOff)
	w.StopReason = NotStopping
	w.AssignmentID, w.WorkerID = flow.ID{}, flow.ID{}
	s.setDue(w, s.now+max(wait, 1))
	s.touch(w)
	s.markTenant(t)
	return true
}

// unknown handles news of an assignment that is not in memory: a doubled result, one that outlived its owner, or one that came too late. It returns
// an assignment when the news is to be applied after all.
func (s *Shard) unknown(t *tenant, in *Report) *assignment {
	key := RunKey{t.id, in.Run}
	r := s.runs[key]
	if r == nil {
		s.want(key, in)
		return nil
	}
	w := r.byNo(in.TaskNo)
	if w == nil {
		s.effect(&VerdictReply{in.To, Superseded})
		return nil
	}
	if w.AssignmentID == in.Assignment && !in.Assignment.IsZero() {
		s.effect(&VerdictReply{in.To, Accepted})
		return nil
	}
	switch {
	case in.Kind == Withdrawn, in.Kind == Stopped:
		w.over = in.Assignment
	case !t.stale(in):
		a := s.adopt(t, Held{Assignment: in.Assignment, Run: in.Run, TaskNo: in.TaskNo, Generation: in.Generation, Attempt: in.Attempt})
		if a != nil {
			s.attach(t, a, in)
			return a
		}
	}
	if in.Kind == Succeeded || in.Kind == FailedAttempt {
		s.addAttempt(w, in.Assignment, in.Worker, "superseded", in.Generation, 0, s.now, in.Error)
	}
	s.effect(&VerdictReply{in.To, Superseded})
	return nil
}

// stale tells of news that is no result and that a newer session of the worker has overtaken: what the worker has, it said when it opened that.
func (t *tenant) stale(in *Report) bool {
	ses := t.session(in.Worker)
	return in.Kind <= Started && ses != nil && ses.number > in.Session
}

// attach ties an adopted assignment to its worker's session, when that is open here.
func (s *Shard) attach(t *tenant, a *assignment, in *Report) {
	a.worker, a.number = in.Worker, in.Session
	s.unconfirmed(a)
	ses := t.session(in.Worker)
	if ses == nil || ses.number < in.Session {
		s.setTimer(timer{at: s.now + s.cfg.Grace, kind: orphanDue, assignment: a.id})
		return
	}
	a.session, a.number, a.holdsSlot = ses, ses.number, true
	ses.used++
	ses.hold(a)
}

// reportFinished answers news about a run that has ended.
func (s *Shard) reportFinished(in *Report, rows []Row) {
	for i := range rows {
		w := &rows[i]
		if w.Single || int32(w.TaskNo) == in.TaskNo {
			verdict := Superseded
			if w.AssignmentID == in.Assignment {
				verdict = Accepted
			} else if in.Kind == Succeeded || in.Kind == FailedAttempt {
				s.change(&AddAttempt{
					RunKey: w.RunKey, Class: w.Class, TaskNo: int16(in.TaskNo), Generation: in.Generation, Attempt: in.Attempt, Outcome: "superseded", //nolint:gosec // at most 300
					Assignment: in.Assignment, Worker: in.Worker, EndedAt: s.now, Error: in.Error,
				})
			}
			s.effect(&VerdictReply{in.To, verdict})
			return
		}
	}
	s.effect(&VerdictReply{in.To, Superseded})
}
