package engine

import "github.com/tenon-run/tenon/internal/flow"

// Payload is a JSON value that the core carries but never reads: inline bytes, or a reference to the payload table.
type Payload struct {
	Inline []byte
	Ref    flow.ID
}

// None tells whether there is no value at all.
func (p Payload) None() bool { return p.Inline == nil && p.Ref.IsZero() }

// TaskError is what a failed attempt reported.
type TaskError struct {
	Kind, Message, Stack string
}

// StopReason tells why a stopping attempt was told to stop.
type StopReason int16

// The reasons. The numbers are stored.
const (
	NotStopping    StopReason = 0
	StopCancelled  StopReason = 1 // the run was cancelled
	StopRunTimeout StopReason = 2 // the run ran into its timeout
	StopTimeout    StopReason = 3 // the attempt ran into its execution timeout
)

// RunKey names a run.
type RunKey struct {
	Tenant int64
	ID     flow.ID
}

// Row is one row of the live table: a run with a single task, a DAG's run (TaskNo 0), or a DAG's task (TaskNo from 1). Times are microseconds of engine time.
type Row struct {
	RunKey
	TaskNo           int16
	Single           bool
	Class            flow.Class
	WorkflowID       int64
	Version          int32
	State            flow.State
	Generation       int32
	Attempt          int32
	Lost             int32
	Priority         int16
	Lane             uint64
	Rank             int64
	DueAt            int64
	DeadlineAt       int64
	CreatedAt        int64
	QueuedAt         int64
	StartedAt        int64
	EndedAt          int64
	AssignmentID     flow.ID
	WorkerID         flow.ID
	Session          int64
	StopReason       StopReason
	RequestHash      []byte
	ParentRun        flow.ID
	ParentTask       int16
	ParentGeneration int32
	ChildKey         string
	ChildRuns        int32
	Traceparent      string
	Input            Payload
	Output           Payload
	Error            *TaskError
	Labels           []byte // of a run, in its own row; the core carries them and never reads them
	Revision         int64
}

// row is a Row in memory with what never reaches the table.
type row struct {
	Row
	run        *run
	assignment *assignment // the one sent and not known to have ended
	inLane     bool        // stands in its lane's window, or is kept aside while the lane loads
	unheard    int         // assignments in this owner's time that went with their worker before a word of them was heard
	sent       int         // assignments made for it in this generation; unknownSent where an earlier owner may have made some
	fresh      bool        // not inserted yet
	over       flow.ID     // the last assignment that its worker itself has said to be over
	dirty      bool        // changed in this step
}

// unknownSent stands for assignments that this owner cannot rule out.
const unknownSent = 2

// run is a resident run.
type run struct {
	key     RunKey
	plan    *flow.Plan
	rows    []*row // by task number; a single-task run has only row 0
	waiters []*await
	lastSeq int64 // step that last changed it
	dirty   bool
	queued  bool // stands in the list of eviction candidates
}

// tasks are the rows that are tasks.
func (r *run) tasks() []*row {
	if r.plan.Single() {
		return r.rows
	}
	return r.rows[1:]
}

// index is the row's place in the plan.
func (w *row) index() int {
	if w.Single {
		return 0
	}
	return int(w.TaskNo) - 1
}

func (w *row) task() *flow.Task { return &w.run.plan.Workflow.Tasks[w.index()] }

// taskAt finds the row of a plan's task.
func (r *run) taskAt(index int) *row {
	if r.plan.Single() {
		return r.rows[0]
	}
	return r.rows[index+1]
}

// byNo finds the task row that a worker names; nil when there is none.
func (r *run) byNo(no int32) *row {
	switch {
	case r.plan.Single() && no == 1, r.plan.Single() && no == 0:
		return r.rows[0]
	case !r.plan.Single() && no >= 1 && int(no) < len(r.rows):
		return r.rows[no]
	default:
		return nil
	}
}

// number is how the wire names the task: its place in the declaration, from 1.
func (w *row) number() int32 { return int32(w.index()) + 1 } //nolint:gosec // at most 300

// revision is the run's own: the sum over its rows, so that it grows with every change and needs no write of its own.
func (r *run) revision() int64 {
	var sum int64
	for _, w := range r.rows {
		sum += w.Revision
	}
	return sum
}

// RunID is the run's id.
func (w *Row) RunID() flow.ID { return w.ID }
