package engine

import "github.com/tenon-run/tenon/internal/flow"

// want reads a run, and lets the input wait for it.
func (s *Shard) want(key RunKey, in Input) {
	waiting, asked := s.waiting[key]
	s.waiting[key] = append(waiting, in)
	if !asked {
		s.ask(&AskRun{RunKey: key, Asked: s.seq})
	}
}

// waitsFor lets an input wait if its run is being read already.
func (s *Shard) waitsFor(key RunKey, in Input) bool {
	waiting, asked := s.waiting[key]
	if asked {
		s.waiting[key] = append(waiting, in)
	}
	return asked
}

// resident makes a run in memory of one that was read.
func resident(in *LoadedRun) *run {
	r := &run{plan: in.Plan, key: in.Rows[0].RunKey}
	for i := range in.Rows {
		r.rows = append(r.rows, &row{Row: in.Rows[i], run: r, sent: unknownSent})
	}
	return r
}

// admitLoaded takes an open run in, unless memory knows better, or knew better after the ask.
func (s *Shard) admitLoaded(t *tenant, in *LoadedRun, asked int64) *run {
	key := in.Rows[0].RunKey
	if r := s.runs[key]; r != nil {
		return r
	}
	if s.outdated(key, asked) || !in.Open {
		return nil
	}
	r := resident(in)
	s.runs[key] = r
	for _, w := range r.rows {
		s.arm(w)
		if w.Rank != 0 {
			l := t.laneOf(w)
			l.last[w.Priority] = max(l.last[w.Priority], w.Rank)
		}
		if w.State.InFlight() && (w.Single || w.TaskNo > 0) {
			s.recall(w)
		}
	}
	s.candidate(r)
	return r
}

// recall makes the assignment that an earlier owner recorded; its worker has the grace to bring it back.
func (s *Shard) recall(w *row) {
	a := &assignment{id: w.AssignmentID, row: w, worker: w.WorkerID, number: w.Session, acked: true, recorded: true}
	w.assignment = a
	w.AssignmentID, w.WorkerID, w.Session = flow.ID{}, flow.ID{}, 0 // the row's own are the final ones
	s.assignments[a.id] = a
	if w.State == flow.Waiting {
		// It held no slot; until its worker says again what it waits for, it counts as running.
		s.move(w, flow.Running)
	}
	if w.StartedAt > 0 && w.State == flow.Running {
		s.armAttempt(a, w.StartedAt) // its time goes on, whether or not whoever brings it back knows that it has started
	}
	s.setTimer(timer{at: s.now + s.cfg.Grace, kind: orphanDue, assignment: a.id})
}

// tenantLoaded makes a tenant ready: in-flight runs, first pages of its lanes, near timers.
func (s *Shard) tenantLoaded(t *tenant, in *TenantLoaded) {
	t.ready = true
	for i := range in.Running {
		s.admitLoaded(t, &in.Running[i], in.Asked)
	}
	for i := range in.Lanes {
		in.Lanes[i].Asked = in.Asked
		s.laneLoaded(t, &in.Lanes[i])
	}
	in.Timers.Asked = in.Asked
	s.timersLoaded(t, &in.Timers)
	if in.Any && !s.cfg.NoHold {
		t.holdUntil = s.now + s.cfg.Hold
		s.setTimer(timer{at: t.holdUntil, kind: holdDue, tenant: t.id})
	}
	t.match = true
	parked := t.parked
	t.parked = nil
	for _, p := range parked {
		s.applyReady(t, p)
	}
}

// runLoaded goes on with what waited for a run.
func (s *Shard) runLoaded(t *tenant, in *RunLoaded) {
	key := RunKey{in.Tenant, in.ID}
	waiting := s.waiting[key]
	delete(s.waiting, key)
	found := in.Run
	if s.runs[key] == nil && s.outdated(key, in.Asked) {
		// It changed and left memory after it was asked for: read it again.
		for _, w := range waiting {
			s.want(key, w)
		}
		return
	}
	if found != nil && found.Open {
		s.enterLane(t, s.admitLoaded(t, found, in.Asked))
	}
	for _, w := range waiting {
		s.goOn(t, w, key, found)
	}
}

// enterLane puts the queued rows of a run that was read by its id where their windows reach them.
func (s *Shard) enterLane(t *tenant, r *run) {
	if r == nil {
		return
	}
	for _, w := range r.rows {
		if w.State == queued && w.assignment == nil && !w.inLane && (w.Single || w.TaskNo > 0) {
			s.enqueue(t, w)
		}
	}
}

func (s *Shard) goOn(t *tenant, input Input, key RunKey, found *LoadedRun) {
	if s.runs[key] != nil {
		switch in := input.(type) {
		case *awaitLater:
			if !in.await.dropped {
				s.awaitOne(t, in.await, in.id)
			}
		case *heldLater:
			s.heldAgain(t, in)
		default:
			s.applyReady(t, input)
		}
		return
	}
	switch in := input.(type) {
	case *Trigger:
		s.triggerLoaded(t, in, key, found)
	case *CancelRun:
		s.cancelFinished(t, in, found)
	case *ReplayRun:
		if found == nil {
			s.effect(&Reply{in.To, notFound()})
			return
		}
		s.replayLoaded(t, in, found)
	case *Report:
		if found == nil {
			s.effect(&VerdictReply{in.To, Superseded})
			return
		}
		s.reportFinished(in, found.Rows)
	case *awaitLater:
		if found == nil || found.Rows[0].ParentRun != in.await.assignment.row.ID {
			s.refuseAwait(in.await)
			return
		}
		s.awaited(in.await)
	case *heldLater:
		s.heldAgain(t, in)
	}
}

// cancelFinished answers the cancel of a run that is not open: there is nothing left to do, as long as the caller may know of it.
func (s *Shard) cancelFinished(t *tenant, in *CancelRun, found *LoadedRun) {
	var no *Refusal
	if in.Parent != nil {
		_, no = s.parentOf(in.Parent, t)
	}
	if no == nil && (found == nil || in.Parent != nil && found.Rows[0].ParentRun != in.Parent.Run) {
		no = notFound()
	}
	s.effect(&Reply{in.To, no})
}

// triggerLoaded goes on with a trigger whose id was looked up.
func (s *Shard) triggerLoaded(t *tenant, in *Trigger, key RunKey, found *LoadedRun) {
	if found != nil {
		s.effect(knownRun(in.To, &found.Rows[0], in.Hash, in.Parent != nil))
		return
	}
	var parent *assignment
	if in.Parent != nil {
		a, no := s.parentOf(in.Parent, t)
		if no != nil {
			s.effect(&TriggerReply{To: in.To, ID: key.ID, Refusal: no})
			return
		}
		parent = a
	}
	s.create(t, in, key.ID, parent)
}

// heldAgain tries once more to take a held assignment over, now that its run has been read.
func (s *Shard) heldAgain(t *tenant, in *heldLater) {
	ses := t.session(in.worker)
	if ses == nil || ses != in.session {
		return
	}
	ses.used-- // kept for it while its run was read
	t.match = true
	if s.assignments[in.Assignment] == nil && s.runs[RunKey{t.id, in.Run}] == nil {
		// A finished run: the worker's own report, if it holds a result, is answered from its row.
		s.effect(&Stop{ses.name(), in.Assignment, reasonSuperseded})
		return
	}
	s.bringBack(t, ses, in.Held)
}
