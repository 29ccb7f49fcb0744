package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/tenon-run/tenon/internal/flow"
)

func refuse(code, reason, message string) *Refusal {
	return &Refusal{Code: code, Reason: reason, Message: message}
}

// parentOf finds the running task that a worker names, by its live assignment.
func (s *Shard) parentOf(p *ParentLink, t *tenant) (*assignment, *Refusal) {
	a := s.assignments[p.Assignment]
	if a == nil || a.row.Tenant != t.id || a.row.RunID() != p.Run || a.row.task().Name != p.Task {
		return nil, refuse("failed_precondition", "PARENT_NOT_RUNNING", "the task named as parent is not running under this assignment: it was cancelled, lost or has ended")
	}
	if a.stopping() {
		return nil, refuse("failed_precondition", "PARENT_STOPPING", "the task named as parent has been told to stop")
	}
	return a, nil
}

// ChildID is the id of a task's child: the same parent, task, generation and key give the same run, so that a retry finds its children and a replay makes new ones.
func ChildID(parent flow.ID, taskNo, generation int32, key string) flow.ID {
	h := sha256.New()
	h.Write(parent[:])
	var n [8]byte
	binary.BigEndian.PutUint32(n[:4], uint32(taskNo))     //nolint:gosec // at most 300
	binary.BigEndian.PutUint32(n[4:], uint32(generation)) //nolint:gosec // from 1
	h.Write(n[:])
	h.Write([]byte(key))
	var entropy [10]byte
	copy(entropy[:], h.Sum(nil))
	return flow.MakeID(parent.Time().UnixMilli(), entropy)
}

func (s *Shard) trigger(t *tenant, in *Trigger) {
	id, fresh := in.ID, in.Fresh
	var parent *assignment
	if in.Parent != nil {
		a, no := s.parentOf(in.Parent, t)
		if no != nil {
			s.effect(&TriggerReply{To: in.To, ID: id, Refusal: no})
			return
		}
		parent = a
		id = ChildID(a.row.RunID(), a.row.number(), a.row.Generation, in.Parent.Key)
		fresh = fresh && a.row.sent == 1 // an earlier assignment of the task may have made it
	}
	key := RunKey{t.id, id}
	if r := s.runs[key]; r != nil {
		s.effect(knownRun(in.To, &r.rows[0].Row, in.Hash, parent != nil))
		return
	}
	if s.waitsFor(key, in) {
		return
	}
	if !fresh {
		s.want(key, in)
		return
	}
	s.create(t, in, id, parent)
}

// knownRun answers a trigger whose id exists: the run itself for the same contents, or for a child, whose key alone decides.
func knownRun(to Ref, have *Row, hash []byte, child bool) *TriggerReply {
	if child || bytes.Equal(have.RequestHash, hash) {
		return &TriggerReply{To: to, ID: have.RunID()}
	}
	return &TriggerReply{To: to, ID: have.RunID(), Refusal: &Refusal{
		Code: "already_exists", Reason: "RUN_EXISTS", Field: "run.run_id",
		Message: "a run with this id exists with other contents: use a new id for a new run",
	}}
}

// create admits a run.
func (s *Shard) create(t *tenant, in *Trigger, id flow.ID, parent *assignment) {
	w := in.Plan.Workflow
	head := Row{
		RunKey: RunKey{t.id, id}, Single: in.Plan.Single(), Class: w.Class, WorkflowID: in.Plan.WorkflowID, Version: int32(in.Plan.Version), //nolint:gosec // capped at 10,000
		State: queued, Generation: 1, Attempt: 1, Priority: in.Priority, CreatedAt: s.now, QueuedAt: s.now,
		RequestHash: in.Hash, Traceparent: in.Traceparent, Input: in.Input, Labels: in.Labels,
	}
	if w.RunTimeout > 0 {
		head.DeadlineAt = s.now + w.RunTimeout.Microseconds()
	}
	if parent != nil {
		head.ParentRun, head.ParentTask, head.ParentGeneration, head.ChildKey = parent.row.RunID(), int16(parent.row.number()), parent.row.Generation, in.Parent.Key //nolint:gosec // at most 300
		top := parent.row.run.rows[0]
		top.ChildRuns++
		s.touch(top)
	}
	r := &run{key: head.RunKey, plan: in.Plan}
	r.rows = append(r.rows, &row{Row: head, run: r, fresh: true})
	if !head.Single {
		for i := range w.Tasks {
			task := head
			task.TaskNo, task.DeadlineAt, task.RequestHash, task.Traceparent, task.Input, task.State = int16(i+1), 0, nil, "", Payload{}, flow.Blocked //nolint:gosec // at most 300
			task.ParentRun, task.ParentTask, task.ParentGeneration, task.ChildKey, task.QueuedAt, task.Labels = flow.ID{}, 0, 0, "", 0, nil
			r.rows = append(r.rows, &row{Row: task, run: r, fresh: true})
		}
	}
	s.runs[r.key] = r
	s.start(t, r)
	s.effect(&TriggerReply{To: in.To, ID: id, Created: true})
}

// start queues the tasks of a new run, or of a new generation, that wait for no parent.
func (s *Shard) start(t *tenant, r *run) {
	if !r.plan.Single() {
		s.setDue(r.rows[0], 0)
	}
	for _, w := range r.tasks() {
		if w.State == flow.Blocked && s.parentsDone(w) || w.Single && w.State == queued {
			s.ready(t, w)
		}
	}
	s.touchRun(r)
	s.markTenant(t)
}

func (s *Shard) parentsDone(w *row) bool {
	for _, p := range w.run.plan.Parents[w.index()] {
		if w.run.taskAt(p).State != flow.Completed {
			return false
		}
	}
	return true
}

// ready admits a task to its lane.
func (s *Shard) ready(t *tenant, w *row) {
	s.move(w, queued)
	w.QueuedAt = s.now
	w.Rank = t.laneOf(w).nextRank(s.now, w.Priority, s.cfg.Ageing)
	s.setDue(w, 0)
	s.enqueue(t, w)
	s.touch(w)
}

func (s *Shard) cancelRun(t *tenant, in *CancelRun) {
	key := RunKey{t.id, in.ID}
	r := s.runs[key]
	if r == nil {
		s.want(key, in)
		return
	}
	if in.Parent != nil {
		a, no := s.parentOf(in.Parent, t)
		if no == nil && r.rows[0].ParentRun != a.row.RunID() {
			no = notFound()
		}
		if no != nil {
			s.effect(&Reply{in.To, no})
			return
		}
	}
	s.endRun(t, r, StopCancelled)
	s.effect(&Reply{To: in.To})
}

func notFound() *Refusal {
	return refuse("not_found", "RUN_NOT_FOUND", "there is no such run: check its id; finished runs are kept for their workflow's retention")
}

// endRun ends what waits and tells what runs to stop.
func (s *Shard) endRun(t *tenant, r *run, why StopReason) {
	final := flow.Cancelled
	if why == StopRunTimeout {
		final = flow.TimedOut
	}
	top := r.rows[0]
	if !top.Single && top.DeadlineAt > 0 {
		top.DeadlineAt, top.DueAt = 0, 0
		s.touch(top)
	}
	for _, w := range r.tasks() {
		switch {
		case w.State.Final():
		case w.assignment != nil:
			s.stop(w.assignment, why)
		default:
			t.leaveLane(w)
			s.move(w, final)
			w.Error = endError(w, why)
			w.EndedAt = s.now
			w.DueAt = 0
			s.touch(w)
		}
	}
	s.settle(r)
	s.markTenant(t)
}

// replayRun starts a new generation of a run that has ended.
func (s *Shard) replayRun(t *tenant, in *ReplayRun) {
	key := RunKey{t.id, in.ID}
	if s.runs[key] != nil {
		s.effect(&Reply{in.To, refuse("failed_precondition", "RUN_NOT_FINAL", "the run has not ended: cancel it or wait for its end before replaying it")})
		return
	}
	s.want(key, in)
}

// replayLoaded goes on with the run that was read.
func (s *Shard) replayLoaded(t *tenant, in *ReplayRun, loaded *LoadedRun) {
	chosen, no := replayed(loaded.Plan, in.Tasks)
	if no != nil {
		s.effect(&Reply{in.To, no})
		return
	}
	r := resident(loaded)
	s.runs[r.key] = r
	for _, w := range r.rows {
		w.fresh = true
		w.sent = 0
		w.Generation++
	}
	top := r.rows[0]
	top.ChildRuns = 0
	for i, w := range r.tasks() {
		if chosen[i] {
			s.resetTask(w)
		}
	}
	if !top.Single {
		top.State, top.StartedAt, top.EndedAt, top.Error, top.QueuedAt = queued, 0, 0, nil, s.now
	}
	if d := r.plan.Workflow.RunTimeout; d > 0 {
		top.DeadlineAt = s.now + d.Microseconds()
	}
	s.start(t, r)
	for i, w := range r.tasks() {
		if !chosen[i] && w.State != flow.Completed {
			s.unblock(t, w) // what follows it has nothing to start from
		}
	}
	s.settle(r)
	s.effect(&Reply{To: in.To})
}

// resetTask puts the old attempt aside and the task back to its beginning.
func (s *Shard) resetTask(w *row) {
	if !w.AssignmentID.IsZero() {
		s.addAttempt(w, w.AssignmentID, w.WorkerID, string(w.State), w.Generation-1, w.StartedAt, w.EndedAt, w.Error)
	}
	to := flow.Blocked
	if w.Single {
		to = queued
	}
	s.move(w, to)
	w.Attempt, w.Lost, w.StartedAt, w.EndedAt, w.DueAt, w.QueuedAt = 1, 0, 0, 0, 0, 0
	w.AssignmentID, w.WorkerID, w.Session = flow.ID{}, flow.ID{}, 0
	w.Output, w.Error, w.StopReason = Payload{}, nil, NotStopping
}

// replayed marks the named tasks and all their descendants; with no names, all tasks.
func replayed(plan *flow.Plan, names []string) ([]bool, *Refusal) {
	chosen := make([]bool, len(plan.Parents))
	var open []int
	for i := range chosen {
		if len(names) == 0 {
			open = append(open, i)
		}
	}
	for _, name := range names {
		i, ok := plan.Task(name)
		if !ok {
			return nil, &Refusal{Code: "invalid_argument", Reason: "UNKNOWN_TASK", Field: "tasks", Message: "the run's workflow version has no task " + name}
		}
		open = append(open, i)
	}
	for len(open) > 0 {
		i := open[len(open)-1]
		open = open[:len(open)-1]
		if !chosen[i] {
			chosen[i] = true
			open = append(open, plan.Children[i]...)
		}
	}
	return chosen, nil
}

func (s *Shard) addAttempt(w *row, assignment, worker flow.ID, outcome string, generation int32, started, ended int64, err *TaskError) {
	s.change(&AddAttempt{
		RunKey: w.RunKey, Class: w.Class, TaskNo: int16(w.number()), Generation: generation, Attempt: w.Attempt, Outcome: outcome, //nolint:gosec // at most 300
		Assignment: assignment, Worker: worker, StartedAt: started, EndedAt: ended, Error: err,
	})
}
