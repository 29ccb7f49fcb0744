package engine

import (
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
)

// sweepSlack is how many outdated entries a list may carry beyond twice its live ones.
const sweepSlack = 1024

// finishTask gives a task its final state and moves on what waited for it.
func (s *Shard) finishTask(t *tenant, w *row, to flow.State) {
	s.move(w, to)
	w.EndedAt = s.now
	w.DueAt = 0
	s.touch(w)
	if !w.Single {
		s.unblock(t, w)
	}
	s.settle(w.run)
	s.markTenant(t)
}

// unblock queues the children whose parents have all completed, and skips those that can no longer run, with all that follows them.
func (s *Shard) unblock(t *tenant, done *row) {
	open := []*row{done}
	for len(open) > 0 {
		w := open[0]
		open = open[1:]
		for _, c := range w.run.plan.Children[w.index()] {
			child := w.run.taskAt(c)
			if child.State != flow.Blocked {
				continue
			}
			switch {
			case w.State != flow.Completed:
				s.move(child, flow.Skipped)
				child.EndedAt = s.now
				s.touch(child)
				open = append(open, child)
			case s.parentsDone(child):
				s.ready(t, child)
			}
		}
	}
}

// settle ends the run when all its tasks have ended.
func (s *Shard) settle(r *run) {
	tasks := r.tasks()
	states := make([]flow.State, len(tasks))
	for i, w := range tasks {
		if !w.State.Final() {
			return
		}
		states[i] = w.State
	}
	top := r.rows[0]
	if !top.Single {
		top.State = flow.RunOutcome(states)
		top.EndedAt = s.now
		top.DueAt, top.DeadlineAt = 0, 0
		for _, w := range tasks {
			if w.State == top.State && w.Error != nil {
				top.Error = w.Error
				break
			}
		}
	}
	s.touch(top)
}

// candidate notes a run that may leave memory.
func (s *Shard) candidate(r *run) {
	if !r.queued {
		r.queued = true
		s.candidates = append(s.candidates, r)
	}
}

// evict lets runs go that nothing in memory needs, once there are too many and their last change is durable.
func (s *Shard) evict() {
	if len(s.candidates) > 2*len(s.runs)+sweepSlack {
		s.candidates = slices.DeleteFunc(s.candidates, func(r *run) bool { return s.runs[r.key] != r })
	}
	tries := len(s.candidates)
	for ; tries > 0 && len(s.runs) > s.cfg.MaxRuns; tries-- {
		r := s.candidates[0]
		s.candidates[0] = nil
		s.candidates = s.candidates[1:]
		r.queued = false
		if s.runs[r.key] != r || s.needed(r) {
			continue
		}
		if r.lastSeq > s.committed {
			s.candidate(r)
			return // later ones are hardly older
		}
		t := s.tenants[r.key.Tenant]
		for _, w := range r.rows {
			if w.DueAt > 0 {
				s.timerLeaves(t, w.DueAt)
			}
		}
		s.leave(r)
	}
}

// needed tells whether a run must stay: a worker has some of it, it stands in a window of a lane or of the timers, or somebody waits for it.
func (s *Shard) needed(r *run) bool {
	if r.dirty || len(r.waiters) > 0 {
		return true
	}
	for _, w := range r.rows {
		if w.assignment != nil || w.inLane || w.DueAt > 0 && w.DueAt <= s.now+timersKept {
			return true
		}
	}
	return false
}
