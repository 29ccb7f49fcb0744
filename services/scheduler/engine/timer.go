package engine

import (
	"math"
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
)

// timerKind tells what a timer is about. A timer is never taken back: when it fires, it is checked against what it was set for.
type timerKind int

const (
	rowDue      timerKind = iota + 1 // schedule timeout, retry, or run timeout of a row
	attemptDue                       // execution timeout
	ackDue                           // an assignment should have been acknowledged
	recordDue                        // an assignment has lasted and is written
	graceDue                         // a lost session's grace has passed
	orphanDue                        // a recorded assignment that nobody brought back
	holdDue                          // a loaded tenant may assign
	timerRefill                      // the timer window runs out
	stopDue                          // a worker that was told to stop has not said that it did
)

type timer struct {
	at         int64
	order      int64
	kind       timerKind
	run        RunKey
	taskNo     int16
	tenant     int64
	assignment flow.ID
	worker     flow.ID
	session    int64
}

// timers is a heap, the first due in front. It is not container/heap's, which makes an allocation of each timer.
type timers []timer

func (h timers) before(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}

func (h *timers) push(t timer) {
	list := append(*h, t)
	*h = list
	for i := len(list) - 1; i > 0; {
		above := (i - 1) / 2
		if !list.before(i, above) {
			return
		}
		list[i], list[above] = list[above], list[i]
		i = above
	}
}

func (h *timers) pop() timer {
	list := *h
	first, last := list[0], len(list)-1
	list[0] = list[last]
	list[last] = timer{}
	*h = list[:last]
	h.down(0)
	return first
}

func (h *timers) down(i int) {
	for list := *h; ; {
		least := i
		for below := 2*i + 1; below <= 2*i+2 && below < len(list); below++ {
			if list.before(below, least) {
				least = below
			}
		}
		if least == i {
			return
		}
		list[i], list[least] = list[least], list[i]
		i = least
	}
}

// order makes a heap of a list in any order.
func (h *timers) order() {
	for i := len(*h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (s *Shard) setTimer(t timer) {
	s.order++
	t.order = s.order
	s.timers.push(t)
}

const allTimers = math.MaxInt64

// Timers due within timersAhead are asked for, those due within timersKept stay; the difference keeps runs from going in and out.
const (
	timersAhead = 5_000_000
	timersKept  = 2 * timersAhead
)

// setDue works out a row's next timer from its state and arms it.
func (s *Shard) setDue(w *row, retryAt int64) {
	due := int64(0)
	switch w.State { //nolint:exhaustive // other states wait for no instant
	case flow.Queued:
		if w.TaskNo > 0 || w.Single {
			if d := w.task().ScheduleTimeout; d > 0 {
				due = w.QueuedAt + d.Microseconds()
			}
		}
	case flow.BackingOff:
		due = retryAt
	default:
	}
	ending := w.State.Final() || w.State == flow.Stopping && w.StopReason != StopTimeout
	if w.DeadlineAt > 0 && !ending && (due == 0 || w.DeadlineAt < due) {
		due = w.DeadlineAt
	}
	w.DueAt = due
	s.arm(w)
}

func (s *Shard) arm(w *row) {
	if w.DueAt > 0 {
		s.setTimer(timer{at: w.DueAt, kind: rowDue, run: w.RunKey, taskNo: w.TaskNo})
	}
}

// fire handles everything due by now. What a timer causes may be due at once, so it goes on until nothing is.
func (s *Shard) fire() {
	for len(s.timers) > 0 && s.timers[0].at <= s.now {
		t := s.timers.pop()
		switch t.kind {
		case rowDue:
			s.rowDue(t)
		case attemptDue:
			if a := s.assignments[t.assignment]; a != nil && !a.stopping() && a.deadline == t.at {
				s.stop(a, StopTimeout)
			}
		case ackDue:
			if a := s.assignments[t.assignment]; a != nil && a.asking() && a.askAt == t.at && a.session != nil {
				s.effect(&Withdraw{a.session.name(), a.id})
				s.askLater(a)
			}
		case recordDue:
			if a := s.assignments[t.assignment]; a != nil && !a.recorded {
				s.touch(a.row)
			}
		case graceDue:
			s.graceOver(t)
		case orphanDue:
			if a := s.assignments[t.assignment]; a != nil && a.session == nil {
				s.lose(a)
			}
		case holdDue:
			if tn := s.tenants[t.tenant]; tn != nil {
				tn.match = true
				s.markTenant(tn)
			}
		case timerRefill:
			s.refillTimers(t)
		case stopDue:
			if a := s.assignments[t.assignment]; a != nil && a.stopping() && a.stopAt == t.at {
				s.tellStop(a) // the first order may have been lost on its way
			}
		}
	}
}

func (s *Shard) rowDue(t timer) {
	r := s.runs[t.run]
	if r == nil || int(t.taskNo) >= len(r.rows) {
		return
	}
	w := r.rows[t.taskNo]
	if w.DueAt != t.at || w.State.Final() {
		return
	}
	tn := s.tenants[t.run.Tenant]
	switch {
	case w.DeadlineAt > 0 && s.now >= w.DeadlineAt:
		s.endRun(tn, r, StopRunTimeout)
	case w.State == flow.BackingOff:
		w.Attempt++
		w.QueuedAt = s.now
		s.move(w, flow.Queued)
		s.setDue(w, 0)
		s.enqueue(tn, w)
		s.touch(w)
	case w.State == flow.Queued && w.assignment == nil:
		tn.leaveLane(w)
		w.Error = &TaskError{Kind: flow.KindTimeout, Message: "no worker took the task within its schedule timeout"}
		s.finishTask(tn, w, flow.TimedOut)
	}
	s.markTenant(tn)
}

// refillTimers asks for the timers after the window.
func (s *Shard) refillTimers(tm timer) {
	t := s.tenants[tm.tenant]
	if t == nil || t.refillAt != tm.at {
		return
	}
	t.refillAt = 0
	if t.timersLoading || t.timerEnd == allTimers {
		return
	}
	t.timersLoading, t.timersFrom, t.timersMissed = true, t.timerEnd, allTimers
	s.ask(&AskTimers{Tenant: t.id, From: t.timerEnd, Limit: s.cfg.Window << t.timersWider, Asked: s.seq})
}

// timersLoaded takes a page of timers in: their runs become resident, and with that their timers are armed.
func (s *Shard) timersLoaded(t *tenant, in *TimersLoaded) {
	for i := range in.Runs {
		s.admitLoaded(t, &in.Runs[i], in.Asked)
	}
	end, missed, from := int64(allTimers), int64(allTimers), int64(0)
	if t.timersLoading {
		missed, from = t.timersMissed, t.timersFrom
	}
	t.timersLoading = false
	if !in.Last {
		end = in.End
	}
	t.timerEnd = min(end, missed)
	if t.timerEnd == allTimers {
		t.timersWider = 0
		return
	}
	if t.timerEnd == end && end <= from {
		// More rows than a page holds are due at one instant: the next page is had when these have fired, and a wider one if their writes lag behind.
		if end <= s.now {
			t.timersWider = min(t.timersWider+1, 10)
		}
		s.wakeForTimers(t, t.timerEnd)
		return
	}
	t.timersWider = 0
	s.wakeForTimers(t, t.timerEnd-timersAhead)
}

// timerLeaves lowers the window's end to a timer that leaves memory.
func (s *Shard) timerLeaves(t *tenant, due int64) {
	if t.timersLoading {
		t.timersMissed = min(t.timersMissed, due)
		return
	}
	if due < t.timerEnd {
		t.timerEnd = due
		s.wakeForTimers(t, due-timersAhead)
	}
}

// wakeForTimers sets when the next page is asked for, some time before the window's end is due.
func (s *Shard) wakeForTimers(t *tenant, at int64) {
	at = max(s.now+1, at)
	if t.refillAt == 0 || at < t.refillAt {
		t.refillAt = at
		s.setTimer(timer{at: at, kind: timerRefill, tenant: t.id})
	}
}

// sweep drops the timers that would find nothing to do, once they are more than the others.
func (s *Shard) sweep() {
	if len(s.timers) <= s.sweepAt {
		return
	}
	s.timers = slices.DeleteFunc(s.timers, func(t timer) bool { return !s.live(t) })
	s.timers.order()
	s.sweepAt = 2*len(s.timers) + sweepSlack
}

func (s *Shard) live(t timer) bool {
	switch t.kind {
	case rowDue:
		r := s.runs[t.run]
		return r != nil && r.rows[t.taskNo].DueAt == t.at
	case attemptDue:
		a := s.assignments[t.assignment]
		return a != nil && a.deadline == t.at
	case ackDue:
		a := s.assignments[t.assignment]
		return a != nil && a.asking() && a.askAt == t.at
	case recordDue:
		a := s.assignments[t.assignment]
		return a != nil && !a.recorded
	case orphanDue:
		return s.assignments[t.assignment] != nil
	case timerRefill:
		return s.tenants[t.tenant].refillAt == t.at
	case stopDue:
		a := s.assignments[t.assignment]
		return a != nil && a.stopping() && a.stopAt == t.at
	default:
		return true
	}
}
