package engine

import "github.com/tenon-run/tenon/internal/flow"

// Output is what a step wants done. Effects and asks may leave only when the changes of this and every earlier step are durable.
type Output struct {
	Seq      int64
	Changes  []Change
	Effects  []Effect
	Asks     []Ask
	NextWake int64 // microseconds of engine time; 0: nothing is due
}

// Change is something to write. Each is one of the types below.
type Change interface{ isChange() }

// InsertRun adds a run's live rows.
type InsertRun struct{ Rows []Row }

// UpdateRow rewrites what may change of a live row.
type UpdateRow struct{ Row Row }

// FinishRun moves a run to history with these last values; rows are by task number.
type FinishRun struct{ Rows []Row }

// AddAttempt records an attempt that ended without ending its task, or a late result that changed nothing.
type AddAttempt struct {
	RunKey
	Class      flow.Class
	TaskNo     int16
	Generation int32
	Attempt    int32
	Outcome    string
	Assignment flow.ID
	Worker     flow.ID
	StartedAt  int64
	EndedAt    int64
	Error      *TaskError
}

// PutSession records an opened session.
type PutSession struct {
	Tenant     int64
	Worker     flow.ID
	Session    int64
	Dispatcher string
	OpenedAt   int64
}

// EndSession records a session's end.
type EndSession struct {
	Tenant   int64
	Worker   flow.ID
	Session  int64
	ClosedAt int64
}

func (*InsertRun) isChange()  {}
func (*UpdateRow) isChange()  {}
func (*FinishRun) isChange()  {}
func (*AddAttempt) isChange() {}
func (*PutSession) isChange() {}
func (*EndSession) isChange() {}

// Effect is something to tell the outside. Each is one of the types below.
type Effect interface{ isEffect() }

// Refusal is a clear no: Code is a Connect code's text, Reason is stable.
type Refusal struct {
	Code, Reason, Message, Field string
}

// TriggerReply answers Trigger.
type TriggerReply struct {
	To      Ref
	ID      flow.ID
	Created bool
	Refusal *Refusal
}

// Reply answers CancelRun, ReplayRun, AwaitRuns, OpenSession, LoseSession, DrainWorker, PauseWorker and CheckParent.
type Reply struct {
	To      Ref
	Refusal *Refusal
}

// SessionsReply answers CheckSessions with those that are lost, ended or unknown, in the order of the question.
type SessionsReply struct {
	To      Ref
	Missing []SessionKey
}

// Verdict is the answer to a report.
type Verdict int

// The verdicts, as tenon.workers.v1.ReportVerdict numbers them.
const (
	Accepted   Verdict = 1
	Superseded Verdict = 2
)

// VerdictReply answers Report.
type VerdictReply struct {
	To      Ref
	Verdict Verdict
}

// PeekReply answers Peek with copies of the rows in memory, task states included.
type PeekReply struct {
	To   Ref
	Runs [][]Row
}

// SessionName says where an order goes.
type SessionName struct {
	Dispatcher string
	Tenant     int64
	Worker     flow.ID
	Session    int64
	Opening    int64 // the request that opened it
}

// Assign sends a task to a worker.
type Assign struct {
	SessionName
	Assignment flow.ID
	Run        flow.ID
	TaskNo     int32
	Generation int32
	Attempt    int32
	Plan       *flow.Plan
	Input      Payload
	Parents    []ParentOutput
	Timeout    int64 // microseconds
	Trace      string
	Class      flow.Class
}

// ParentOutput is what a completed parent gave.
type ParentOutput struct {
	Task   string
	Output Payload
}

// Stop tells a worker to stop an assignment. Reason is a number of tenon.workers.v1.CancelReason.
type Stop struct {
	SessionName
	Assignment flow.ID
	Reason     int32
}

// Withdraw asks for an assignment back that nobody has acknowledged.
type Withdraw struct {
	SessionName
	Assignment flow.ID
}

// Close ends an older session.
type Close struct{ SessionName }

// Notice says that a run has changed.
type Notice struct {
	RunKey
	Workflow int64
	Revision int64
	Final    bool
}

// WorkersNotice says that a tenant's workers have changed in more than their slots in use, which change with runs.
type WorkersNotice struct{ Tenant int64 }

func (*TriggerReply) isEffect()  {}
func (*Reply) isEffect()         {}
func (*SessionsReply) isEffect() {}
func (*VerdictReply) isEffect()  {}
func (*PeekReply) isEffect()     {}
func (*Assign) isEffect()        {}
func (*Stop) isEffect()          {}
func (*Withdraw) isEffect()      {}
func (*Close) isEffect()         {}
func (*Notice) isEffect()        {}
func (*WorkersNotice) isEffect() {}

// Numbers of tenon.workers.v1.CancelReason.
const (
	reasonCancelled  = 1
	reasonTimedOut   = 2
	reasonSuperseded = 3
)

// Ask is something that the core needs to see. It is read after the step that asks is durable.
type Ask interface{ isAsk() }

// AskTenant wants what is in flight, the lanes' first pages and the near timers of a tenant.
type AskTenant struct{ Tenant, Asked int64 }

// AskRun wants one run, open or finished.
type AskRun struct {
	RunKey
	Asked int64
}

// AskLane wants the next page of a lane: queued rows with rank >= From.
type AskLane struct {
	Tenant int64
	Lane   uint64
	From   int64
	Limit  int
	Asked  int64
}

// AskTimers wants the open runs with a timer due at or after From.
type AskTimers struct {
	Tenant int64
	From   int64
	Limit  int
	Asked  int64
}

func (*AskTenant) isAsk() {}
func (*AskRun) isAsk()    {}
func (*AskLane) isAsk()   {}
func (*AskTimers) isAsk() {}
