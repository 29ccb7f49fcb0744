package flow

import (
	"math"
	"slices"
	"time"
)

// Limits of a workflow's declaration.
const (
	MaxTasks         = 300                  // tasks in a workflow
	MaxNameLen       = 100                  // bytes of a name
	MaxDescription   = 1000                 // characters of a description
	MaxSchemaBytes   = 64 << 10             // bytes of an input schema
	MaxRetries       = 1000                 // retries of a task
	MaxBackoff       = 30 * 24 * time.Hour  // longest backoff
	MaxInitial       = 24 * time.Hour       // longest initial backoff
	MaxFactor        = 100                  // largest backoff factor
	MaxTimeout       = 365 * 24 * time.Hour // longest timeout of any kind
	MinTimeout       = time.Millisecond     // shortest timeout of any kind
	MaxLostLimit     = 100                  // largest max_lost
	MaxErrorKinds    = 50                   // error kinds in retry_on or never_retry
	MaxPriority      = 9                    // most urgent priority
	DefaultPriority  = 4                    // where neither trigger nor workflow says otherwise
	DefaultMaxLost   = 3                    // lost attempts tolerated
	DefaultExecution = 5 * time.Minute      // execution timeout
	DefaultInitial   = time.Second          // initial backoff
	DefaultFactor    = 2.0                  // backoff factor
	DefaultMaxWait   = 5 * time.Minute      // longest backoff where the policy says nothing
)

// Error kinds that the engine itself gives; all others come from the task's code.
const (
	KindError      = "error"       // the default of a failure without a kind
	KindTimeout    = "timeout"     // an execution timeout
	KindWorkerLost = "worker_lost" // lost attempts beyond max_lost
	KindCancelled  = "cancelled"   // a cancelled run
	KindRefused    = "refused"     // a result that could not be stored
)

// Class is how long finished runs are kept.
type Class int16

// The retention classes. The numbers are stored.
const (
	Short    Class = 1 // 2 days
	Standard Class = 2 // 30 days
	Long     Class = 3 // 365 days
)

// Keep is how long a finished run of the class is kept.
func (c Class) Keep() time.Duration {
	switch c {
	case Short:
		return 2 * 24 * time.Hour
	case Long:
		return 365 * 24 * time.Hour
	default:
		return 30 * 24 * time.Hour
	}
}

// Workflow is a checked declaration with every default filled in. A nil or zero timeout means none.
type Workflow struct {
	Name        string
	Description string
	Tasks       []Task
	RunTimeout  time.Duration
	InputSchema string // JSON Schema text; empty accepts any JSON
	Priority    int
	Class       Class
}

// Task is one task of a workflow. Its number in a run is its place in Workflow.Tasks plus one; number 0 is the run.
type Task struct {
	Name             string
	Parents          []string
	Queue            string
	Retry            Retry
	ScheduleTimeout  time.Duration // from ready to assigned; 0: none
	ExecutionTimeout time.Duration // of one attempt, from the worker's start
	MaxLost          int           // lost attempts tolerated before the task fails
}

// Retry is a task's retry policy.
type Retry struct {
	Max        int           // retries after the first attempt
	Initial    time.Duration // backoff before the first retry, before jitter
	Factor     float64       // growth of each further backoff
	MaxBackoff time.Duration
	RetryOn    []string // only these kinds; empty: all
	Never      []string // never these kinds; wins over RetryOn
}

// Allows tells whether an error of the kind may be retried by the policy, retries left or not.
func (r Retry) Allows(kind string) bool {
	if slices.Contains(r.Never, kind) {
		return false
	}
	return len(r.RetryOn) == 0 || slices.Contains(r.RetryOn, kind)
}

// Backoff is the wait before retry n (from 1): full jitter, so anything from 0 to the cap, at the place that random (0 <= random < 1) picks.
func (r Retry) Backoff(n int, random float64) time.Duration {
	if r.Initial <= 0 {
		return 0 // also where the growth is infinite
	}
	limit := float64(r.Initial) * math.Pow(r.Factor, float64(n-1))
	if limit > float64(r.MaxBackoff) || math.IsInf(limit, 0) || math.IsNaN(limit) {
		limit = float64(r.MaxBackoff)
	}
	return time.Duration(limit * random)
}

// ActionName is how a worker names what it serves: "workflow/task".
func ActionName(workflow, task string) string { return workflow + "/" + task }
