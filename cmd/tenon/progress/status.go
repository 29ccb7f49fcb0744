package progress

import (
	"strings"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// RunStatus names a run's state as people write it: "timed_out".
func RunStatus(s runsv1.RunStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATUS_"))
}

// TaskStatus names a task's state as people write it.
func TaskStatus(s runsv1.TaskStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "TASK_STATUS_"))
}

// RunColour is what a run's state is painted with: calm while all is well.
func RunColour(s runsv1.RunStatus) show.Colour {
	switch s {
	case runsv1.RunStatus_RUN_STATUS_COMPLETED:
		return show.Green
	case runsv1.RunStatus_RUN_STATUS_FAILED, runsv1.RunStatus_RUN_STATUS_TIMED_OUT:
		return show.Red
	case runsv1.RunStatus_RUN_STATUS_CANCELLED:
		return show.Yellow
	case runsv1.RunStatus_RUN_STATUS_RUNNING:
		return show.Blue
	default:
		return show.Plain
	}
}

// TaskColour is what a task's state is painted with.
func TaskColour(s runsv1.TaskStatus) show.Colour {
	switch s {
	case runsv1.TaskStatus_TASK_STATUS_COMPLETED:
		return show.Green
	case runsv1.TaskStatus_TASK_STATUS_FAILED, runsv1.TaskStatus_TASK_STATUS_TIMED_OUT:
		return show.Red
	case runsv1.TaskStatus_TASK_STATUS_CANCELLED, runsv1.TaskStatus_TASK_STATUS_BACKING_OFF, runsv1.TaskStatus_TASK_STATUS_STOPPING:
		return show.Yellow
	case runsv1.TaskStatus_TASK_STATUS_RUNNING, runsv1.TaskStatus_TASK_STATUS_ASSIGNED:
		return show.Blue
	case runsv1.TaskStatus_TASK_STATUS_BLOCKED, runsv1.TaskStatus_TASK_STATUS_SKIPPED:
		return show.Dim
	default:
		return show.Plain
	}
}

// mark is the sign before a task, told apart without colours too.
func mark(s runsv1.TaskStatus) string {
	switch s {
	case runsv1.TaskStatus_TASK_STATUS_COMPLETED:
		return "✓"
	case runsv1.TaskStatus_TASK_STATUS_FAILED:
		return "✗"
	case runsv1.TaskStatus_TASK_STATUS_TIMED_OUT:
		return "!"
	case runsv1.TaskStatus_TASK_STATUS_CANCELLED:
		return "⊘"
	case runsv1.TaskStatus_TASK_STATUS_SKIPPED:
		return "–"
	case runsv1.TaskStatus_TASK_STATUS_RUNNING, runsv1.TaskStatus_TASK_STATUS_ASSIGNED:
		return "●"
	case runsv1.TaskStatus_TASK_STATUS_BACKING_OFF:
		return "↻"
	case runsv1.TaskStatus_TASK_STATUS_STOPPING:
		return "◌"
	case runsv1.TaskStatus_TASK_STATUS_QUEUED, runsv1.TaskStatus_TASK_STATUS_WAITING:
		return "○"
	default:
		return "·"
	}
}

// Ended says whether a task's state is final.
func Ended(s runsv1.TaskStatus) bool {
	switch s {
	case runsv1.TaskStatus_TASK_STATUS_COMPLETED, runsv1.TaskStatus_TASK_STATUS_FAILED, runsv1.TaskStatus_TASK_STATUS_CANCELLED,
		runsv1.TaskStatus_TASK_STATUS_TIMED_OUT, runsv1.TaskStatus_TASK_STATUS_SKIPPED:
		return true
	default:
		return false
	}
}

// Final says whether a run's state is final.
func Final(s runsv1.RunStatus) bool {
	switch s {
	case runsv1.RunStatus_RUN_STATUS_COMPLETED, runsv1.RunStatus_RUN_STATUS_FAILED, runsv1.RunStatus_RUN_STATUS_CANCELLED,
		runsv1.RunStatus_RUN_STATUS_TIMED_OUT:
		return true
	default:
		return false
	}
}
