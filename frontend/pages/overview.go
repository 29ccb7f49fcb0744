package pages

import (
	"time"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// OverviewView is what happens in a tenant at the instant Now.
type OverviewView struct {
	Stats *runsv1.GetRunStatsResponse
	// Open are the newest runs that have not ended, Failed the newest that failed or timed out.
	Open, Failed []*runsv1.Run
	// Queues are those in which tasks wait, the longest wait first.
	Queues []*runsv1.Queue
	// Fresh says that nothing has run here yet.
	Fresh bool
	First FirstSteps
	// Try is how far a fresh tenant has come.
	Try FirstRun
	Now time.Time
}

func (v OverviewView) failed() int64 {
	return v.Stats.GetEnded().GetFailed() + v.Stats.GetEnded().GetTimedOut()
}

// served says who takes a queue's work.
func served(q *runsv1.Queue) Status {
	switch {
	case q.GetWorkers() == 0:
		return Status{"Nobody serves it", "bad"}
	case q.GetFreeSlots() == 0:
		return Status{"All slots are in use", "busy"}
	default:
		return Status{count(q.GetWorkers()) + " " + unit(q.GetWorkers(), "worker"), "ok"}
	}
}
