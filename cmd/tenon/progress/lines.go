package progress

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Lines tells how a run goes in a line for each change, for who has no terminal.
type Lines struct {
	Zone *time.Location

	run   runsv1.RunStatus
	tasks map[string]told
}

// told is what has been said of a task.
type told struct {
	status              runsv1.TaskStatus
	generation, attempt int32
}

// Next gives the lines for what has changed since the run was seen before.
func (l *Lines) Next(run *runsv1.Run, now time.Time) []string {
	if l.tasks == nil {
		l.tasks = make(map[string]told)
	}
	var out []string
	for _, b := range Tree(run.GetTasks()) {
		task := b.Task
		is := told{task.GetStatus(), run.GetGeneration(), task.GetAttempt()}
		was, known := l.tasks[task.GetName()]
		l.tasks[task.GetName()] = is
		// What waits from the beginning is no news, nor is an attempt that is counted once its start is.
		if is == was || (!known && is.status == runsv1.TaskStatus_TASK_STATUS_BLOCKED) || (is.status == was.status && is.status != runsv1.TaskStatus_TASK_STATUS_RUNNING) {
			continue
		}
		// An assignment that lasts is told by its start.
		if is.status == runsv1.TaskStatus_TASK_STATUS_ASSIGNED {
			continue
		}
		out = append(out, strings.TrimRight(fmt.Sprintf("%s  %s  %s%s%s", l.clock(changed(task), now), task.GetName(), TaskStatus(is.status), l.took(task, now),
			remark(Branch{Task: task}, now)), " "))
	}
	if run.GetStatus() != l.run {
		l.run = run.GetStatus()
		line := fmt.Sprintf("%s  run %s", l.clock(runChanged(run), now), RunStatus(run.GetStatus()))
		if run.GetEndTime() != nil {
			line += "  " + show.Between(run.GetCreateTime(), run.GetEndTime(), now)
		}
		if l.run == runsv1.RunStatus_RUN_STATUS_QUEUED || l.run == runsv1.RunStatus_RUN_STATUS_RUNNING {
			return append([]string{line}, out...)
		}
		return append(out, line)
	}
	return out
}

func (l *Lines) took(task *runsv1.Task, now time.Time) string {
	if task.GetStartTime() == nil || task.GetEndTime() == nil {
		return ""
	}
	return "  " + show.Between(task.GetStartTime(), task.GetEndTime(), now)
}

func (l *Lines) clock(at *timestamppb.Timestamp, now time.Time) string {
	if at != nil {
		now = at.AsTime()
	}
	return now.In(l.Zone).Format("15:04:05.000")
}

// changed is when a task came into its state, where that is recorded.
func changed(task *runsv1.Task) *timestamppb.Timestamp {
	switch s := task.GetStatus(); {
	case Ended(s):
		return task.GetEndTime()
	case s == runsv1.TaskStatus_TASK_STATUS_RUNNING:
		return task.GetStartTime()
	case s == runsv1.TaskStatus_TASK_STATUS_QUEUED:
		return task.GetQueueTime()
	default:
		return nil
	}
}

func runChanged(run *runsv1.Run) *timestamppb.Timestamp {
	switch s := run.GetStatus(); {
	case Final(s):
		return run.GetEndTime()
	case s == runsv1.RunStatus_RUN_STATUS_RUNNING:
		return run.GetStartTime()
	default:
		return run.GetCreateTime()
	}
}
