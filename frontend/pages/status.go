package pages

import (
	"strings"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// Status is a state as a viewer reads it. Tone chooses the colour, which never stands alone: ok, bad, warn, busy or idle.
type Status struct{ Label, Tone string }

var runStatuses = []struct {
	status runsv1.RunStatus
	value  string
	Status
}{
	{runsv1.RunStatus_RUN_STATUS_QUEUED, "queued", Status{"Queued", "idle"}},
	{runsv1.RunStatus_RUN_STATUS_RUNNING, "running", Status{"Running", "busy"}},
	{runsv1.RunStatus_RUN_STATUS_COMPLETED, "completed", Status{"Completed", "ok"}},
	{runsv1.RunStatus_RUN_STATUS_FAILED, "failed", Status{"Failed", "bad"}},
	{runsv1.RunStatus_RUN_STATUS_CANCELLED, "cancelled", Status{"Cancelled", "warn"}},
	{runsv1.RunStatus_RUN_STATUS_TIMED_OUT, "timed_out", Status{"Timed out", "bad"}},
}

// ParseRunStatus reads a state as addresses name it ("timed_out").
func ParseRunStatus(value string) (runsv1.RunStatus, bool) {
	for _, known := range runStatuses {
		if known.value == value {
			return known.status, true
		}
	}
	return 0, false
}

func runStatus(s runsv1.RunStatus) Status {
	for _, known := range runStatuses {
		if known.status == s {
			return known.Status
		}
	}
	return Status{"Unknown", "idle"}
}

func taskStatus(s runsv1.TaskStatus) Status {
	tone := "idle"
	switch s {
	case runsv1.TaskStatus_TASK_STATUS_COMPLETED:
		tone = "ok"
	case runsv1.TaskStatus_TASK_STATUS_FAILED, runsv1.TaskStatus_TASK_STATUS_TIMED_OUT:
		tone = "bad"
	case runsv1.TaskStatus_TASK_STATUS_CANCELLED, runsv1.TaskStatus_TASK_STATUS_BACKING_OFF, runsv1.TaskStatus_TASK_STATUS_STOPPING:
		tone = "warn"
	case runsv1.TaskStatus_TASK_STATUS_ASSIGNED, runsv1.TaskStatus_TASK_STATUS_RUNNING, runsv1.TaskStatus_TASK_STATUS_WAITING:
		tone = "busy"
	default:
	}
	name, known := strings.CutPrefix(s.String(), "TASK_STATUS_")
	if !known || s == runsv1.TaskStatus_TASK_STATUS_UNSPECIFIED {
		return Status{"Unknown", tone}
	}
	return Status{name[:1] + strings.ToLower(strings.ReplaceAll(name[1:], "_", " ")), tone}
}

func outcomeStatus(o runsv1.AttemptOutcome) Status {
	switch o {
	case runsv1.AttemptOutcome_ATTEMPT_OUTCOME_COMPLETED:
		return Status{"Completed", "ok"}
	case runsv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED:
		return Status{"Failed", "bad"}
	case runsv1.AttemptOutcome_ATTEMPT_OUTCOME_TIMED_OUT:
		return Status{"Timed out", "bad"}
	case runsv1.AttemptOutcome_ATTEMPT_OUTCOME_CANCELLED:
		return Status{"Cancelled", "warn"}
	case runsv1.AttemptOutcome_ATTEMPT_OUTCOME_LOST:
		return Status{"Lost with its worker", "warn"}
	default:
		return Status{"Under way", "busy"}
	}
}

// glyph is a state as a sign of its own shape, on 12 by 12, so that no one needs the colour to tell it.
func glyph(s runsv1.TaskStatus) string {
	switch s {
	case runsv1.TaskStatus_TASK_STATUS_COMPLETED:
		return "M2 6.5 5 9.5 10 3"
	case runsv1.TaskStatus_TASK_STATUS_FAILED:
		return "M2.5 2.5l7 7M9.5 2.5l-7 7"
	case runsv1.TaskStatus_TASK_STATUS_TIMED_OUT:
		return "M6 1.5a4.5 4.5 0 1 0 .01 0zM6 3.5V6l2 1.5"
	case runsv1.TaskStatus_TASK_STATUS_CANCELLED, runsv1.TaskStatus_TASK_STATUS_STOPPING:
		return "M2.5 2.5h7v7h-7z"
	case runsv1.TaskStatus_TASK_STATUS_RUNNING, runsv1.TaskStatus_TASK_STATUS_ASSIGNED:
		return "M3.5 2l6 4-6 4z"
	case runsv1.TaskStatus_TASK_STATUS_BACKING_OFF:
		return "M10 6a4 4 0 1 1-1.5-3.2M9 .8V3H6.8"
	case runsv1.TaskStatus_TASK_STATUS_WAITING:
		return "M4 2v8M8 2v8"
	case runsv1.TaskStatus_TASK_STATUS_SKIPPED:
		return "M2 6h8"
	default:
		return "M6 2a4 4 0 1 0 .01 0z"
	}
}

func workerStatus(w *workersv1.Worker) Status {
	switch w.GetStatus() {
	case workersv1.WorkerStatus_WORKER_STATUS_CONNECTED:
		return Status{"Connected", "ok"}
	case workersv1.WorkerStatus_WORKER_STATUS_PAUSED:
		return Status{"Paused", "warn"}
	case workersv1.WorkerStatus_WORKER_STATUS_DRAINING:
		return Status{"Draining", "warn"}
	case workersv1.WorkerStatus_WORKER_STATUS_LOST:
		return Status{"Out of touch", "bad"}
	default:
		return Status{"Gone", "idle"}
	}
}
