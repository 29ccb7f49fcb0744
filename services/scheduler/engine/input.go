package engine

import "github.com/tenon-run/tenon/internal/flow"

// Input is something that happened. Each is one of the types below.
type Input interface{ tenant() int64 }

// Ref names who waits for an answer: a call, and the item of it.
type Ref struct {
	Call  uint64
	Index int32
}

// ParentLink names the running task that starts, awaits or cancels a child.
type ParentLink struct {
	Run        flow.ID
	Task       string
	Assignment flow.ID
	Key        string
}

// Trigger asks for a run.
type Trigger struct {
	To          Ref
	Tenant      int64
	ID          flow.ID // for a child made from its key, and ignored
	Hash        []byte
	Fresh       bool // certainly not among the finished runs
	Plan        *flow.Plan
	Priority    int16
	Input       Payload
	Parent      *ParentLink
	Traceparent string
	Labels      []byte
}

// CancelRun asks for an early end.
type CancelRun struct {
	To     Ref
	Tenant int64
	ID     flow.ID
	Parent *ParentLink
}

// ReplayRun asks for a new generation of a final run.
type ReplayRun struct {
	To     Ref
	Tenant int64
	ID     flow.ID
	Tasks  []string // with their descendants; empty: all
}

// AwaitRuns parks a running task until the runs are final, without its slot.
type AwaitRuns struct {
	To     Ref
	Tenant int64
	IDs    []flow.ID
	Parent ParentLink
}

// Peek asks for what memory knows of runs.
type Peek struct {
	To     Ref
	Tenant int64
	IDs    []flow.ID
}

// Held is an assignment that a worker or its dispatcher brings along.
type Held struct {
	Assignment flow.ID
	Run        flow.ID
	TaskNo     int32
	Generation int32
	Attempt    int32
	Started    bool
	Running    int64 // microseconds since its start
}

// OpenSession attaches a worker's session.
type OpenSession struct {
	To         Ref
	Tenant     int64
	Worker     flow.ID
	Session    int64
	Dispatcher string
	Actions    []string
	Queues     []string // empty: all
	Slots      int
	Draining   bool
	Paused     bool // by people
	Held       []Held
	Opening    int64 // counts the requests to open the session
}

// LoseSession says that a session's stream broke, or that the worker said good-bye.
type LoseSession struct {
	To      Ref
	Tenant  int64
	Worker  flow.ID
	Session int64
	Gone    bool
}

// LoseDispatcher says that nobody answers for a dispatcher any more: the sessions that it held are lost. It concerns every tenant of the shard.
type LoseDispatcher struct {
	Dispatcher string
}

// SessionKey names a session of a tenant's worker.
type SessionKey struct {
	Worker  flow.ID
	Session int64
}

// CheckSessions asks which of a dispatcher's sessions are not open here.
type CheckSessions struct {
	To       Ref
	Tenant   int64
	Sessions []SessionKey
}

// DrainWorker stops further assignments to a session.
type DrainWorker struct {
	To      Ref
	Tenant  int64
	Worker  flow.ID
	Session int64
}

// CheckParent asks whether an assignment is live.
type CheckParent struct {
	To     Ref
	Tenant int64
	Parent ParentLink
}

// ReportKind is what a worker says of an assignment.
type ReportKind int

// The kinds of report.
const (
	Acknowledged ReportKind = iota + 1
	Started
	Succeeded
	FailedAttempt
	Stopped
	Withdrawn
)

// Report is one piece of news about one assignment.
type Report struct {
	To         Ref
	Tenant     int64
	Worker     flow.ID
	Session    int64
	Assignment flow.ID
	Run        flow.ID
	TaskNo     int32
	Generation int32
	Attempt    int32
	Kind       ReportKind
	Output     Payload
	Error      *TaskError
	NeverRetry bool
	RetryAfter int64 // microseconds; 0: by the policy
	Running    int64 // microseconds that the code has been running, or ran
}

// LoadedRun is a run as the store has it: open (live rows) or finished (history rows of its newest generation).
type LoadedRun struct {
	Plan *flow.Plan
	Rows []Row // by task number
	Open bool
}

// RunLoaded answers AskRun. A nil Run means that there is none. Asked, here and in the other answers, is the ask's own: it tells how old the answer may be.
type RunLoaded struct {
	Tenant int64
	ID     flow.ID
	Asked  int64
	Run    *LoadedRun
}

// LaneLoaded answers AskLane: the runs of the page's rows, whole.
type LaneLoaded struct {
	Tenant int64
	Lane   uint64
	Asked  int64
	Rows   []LaneEntry // by rank
	Runs   []LoadedRun
	Last   bool // nothing follows
}

// LaneEntry is one row of a page.
type LaneEntry struct {
	Run    flow.ID
	TaskNo int16
	Rank   int64
}

// TimersLoaded answers AskTimers: every open run with a timer due from the asked instant on, up to End.
type TimersLoaded struct {
	Tenant int64
	Asked  int64
	Runs   []LoadedRun
	End    int64 // every timer before it is among the runs; the due time of the page's last row
	Last   bool
}

// TenantLoaded answers AskTenant.
type TenantLoaded struct {
	Tenant  int64
	Asked   int64
	Running []LoadedRun // runs with a recorded assignment
	Lanes   []LaneLoaded
	Timers  TimersLoaded
	Any     bool // the tenant has open runs

	Elsewhere bool // it is in another shard: whoever asked for it here is refused by the shell
}

// Committed says that every step up to Seq is durable.
type Committed struct {
	Seq int64
}

func (i *Trigger) tenant() int64        { return i.Tenant }
func (i *CancelRun) tenant() int64      { return i.Tenant }
func (i *ReplayRun) tenant() int64      { return i.Tenant }
func (i *AwaitRuns) tenant() int64      { return i.Tenant }
func (i *Peek) tenant() int64           { return i.Tenant }
func (i *OpenSession) tenant() int64    { return i.Tenant }
func (i *LoseSession) tenant() int64    { return i.Tenant }
func (i *LoseDispatcher) tenant() int64 { return 0 }
func (i *CheckSessions) tenant() int64  { return i.Tenant }
func (i *DrainWorker) tenant() int64    { return i.Tenant }
func (i *CheckParent) tenant() int64    { return i.Tenant }
func (i *Report) tenant() int64         { return i.Tenant }
func (i *RunLoaded) tenant() int64      { return i.Tenant }
func (i *LaneLoaded) tenant() int64     { return i.Tenant }
func (i *TimersLoaded) tenant() int64   { return i.Tenant }
func (i *TenantLoaded) tenant() int64   { return i.Tenant }
func (i *Committed) tenant() int64      { return 0 }
