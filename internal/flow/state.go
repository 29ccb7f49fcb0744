package flow

import "slices"

// State is where a run or a task stands. The text is what the database holds.
type State string

// The states. A run uses Queued, Running and the final ones but Skipped; a task uses all.
const (
	Blocked    State = "blocked"     // waits for its parents
	Queued     State = "queued"      // ready, waits in its lane
	Assigned   State = "assigned"    // sent to a worker, not known to run
	Running    State = "running"     // the worker has started it
	BackingOff State = "backing_off" // an attempt failed; waits for the retry
	Stopping   State = "stopping"    // told to stop; holds its slot until the worker says it did
	Waiting    State = "waiting"     // awaits children or events without a slot
	Completed  State = "completed"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
	TimedOut   State = "timed_out"
	Skipped    State = "skipped"
)

// TaskStates lists every state of a task, in the order of a task's life.
func TaskStates() []State {
	return []State{Blocked, Queued, Assigned, Running, BackingOff, Stopping, Waiting, Completed, Failed, Cancelled, TimedOut, Skipped}
}

// RunStates lists every state of a run, in the order of a run's life.
func RunStates() []State {
	return []State{Queued, Running, Completed, Failed, Cancelled, TimedOut}
}

// Final tells whether nothing but a replay leaves the state.
func (s State) Final() bool {
	switch s {
	case Completed, Failed, Cancelled, TimedOut, Skipped:
		return true
	default:
		return false
	}
}

// InFlight tells whether a worker may be holding the task.
func (s State) InFlight() bool {
	return s == Assigned || s == Running || s == Stopping || s == Waiting
}

// Move is one allowed change of a task's state.
type Move struct {
	From, To State
	Why      string
}

// TaskMoves is the whole table of a task's life. The engine makes no other move, and docs/state-machine.md is written from it.
func TaskMoves() []Move {
	return []Move{
		{Blocked, Queued, "parents completed"},
		{Blocked, Skipped, "a parent did not complete"},
		{Blocked, Cancelled, "run cancelled"},
		{Blocked, TimedOut, "run timed out"},
		{Queued, Assigned, "sent to a worker"},
		{Queued, Running, "worker brought it back after a take-over"},
		{Queued, Completed, "result that came after a take-over"},
		{Queued, Failed, "failure that came after a take-over, or lost too often"},
		{Queued, BackingOff, "failure that came after a take-over, retries left"},
		{Queued, Cancelled, "run cancelled"},
		{Queued, TimedOut, "schedule or run timeout"},
		{Assigned, Queued, "withdrawn, or its worker is gone"},
		{Assigned, Running, "worker started it"},
		{Assigned, Completed, "result"},
		{Assigned, Failed, "failure, no retries left"},
		{Assigned, BackingOff, "failure, retries left"},
		{Assigned, Stopping, "cancel or timeout sent to the worker"},
		{Running, Completed, "result"},
		{Running, Failed, "failure, no retries left, or lost too often"},
		{Running, BackingOff, "failure, retries left"},
		{Running, Queued, "worker gone: the attempt is lost"},
		{Running, Stopping, "cancel or timeout sent to the worker"},
		{Running, Waiting, "awaits children, gives its slot back"},
		{Waiting, Running, "children final, slot taken again"},
		{Waiting, Queued, "worker gone: the attempt is lost"},
		{Waiting, Failed, "failure, no retries left, or lost too often"},
		{Waiting, Completed, "result"},
		{Waiting, BackingOff, "failure, retries left"},
		{Waiting, Stopping, "cancel or timeout sent to the worker"},
		{Stopping, Cancelled, "worker stopped after a cancel"},
		{Stopping, TimedOut, "worker stopped after a timeout, no retries left"},
		{Stopping, BackingOff, "worker stopped after an execution timeout, retries left"},
		{BackingOff, Queued, "retry is due"},
		{BackingOff, Cancelled, "run cancelled"},
		{BackingOff, TimedOut, "run timed out"},
		{Completed, Queued, "replay"},
		{Completed, Blocked, "replay of an ancestor"},
		{Failed, Queued, "replay"},
		{Failed, Blocked, "replay of an ancestor"},
		{Cancelled, Queued, "replay"},
		{Cancelled, Blocked, "replay of an ancestor"},
		{TimedOut, Queued, "replay"},
		{TimedOut, Blocked, "replay of an ancestor"},
		{Skipped, Queued, "replay"},
		{Skipped, Blocked, "replay of an ancestor"},
	}
}

// MayMove tells whether a task may go from one state to another.
func MayMove(from, to State) bool {
	return slices.ContainsFunc(taskMoves, func(m Move) bool { return m.From == from && m.To == to })
}

var taskMoves = TaskMoves() //nolint:gochecknoglobals // the table, read only

// RunOutcome is the final state of a run whose tasks ended so: failed beats timed_out beats cancelled beats completed; a skipped task is no failure.
func RunOutcome(tasks []State) State {
	out := Completed
	for _, s := range tasks {
		switch s {
		case Failed:
			return Failed
		case TimedOut:
			out = TimedOut
		case Cancelled:
			if out == Completed {
				out = Cancelled
			}
		default:
		}
	}
	return out
}
