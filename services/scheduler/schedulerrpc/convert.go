package schedulerrpc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/scheduler"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

func newRun(w *runsv1.NewRun, trace string) scheduler.NewRun {
	out := scheduler.NewRun{
		Workflow: w.GetWorkflow(), Version: int(w.GetWorkflowVersion()), Priority: -1, Input: []byte(w.GetInputJson()), FirstSend: w.GetFirstSend(),
		Traceparent: trace, Labels: w.GetLabels(),
	}
	if w.Priority != nil {
		out.Priority = int(w.GetPriority())
	}
	if text := w.GetRunId(); text != "" {
		if out.ID, out.Err = parseRun(text, "run.run_id"); out.Err != nil {
			return out
		}
	}
	out.Parent, out.Err = parentOf(w.GetParent(), "run.parent")
	return out
}

func parentOf(p *runsv1.ParentAssignment, field string) (*scheduler.Parent, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // no parent is a good answer
	}
	run, err := parseRun(p.GetRunId(), field+".run_id")
	if err != nil {
		return nil, err
	}
	id, err := flow.IDFromBytes(p.GetAssignmentId())
	if err != nil {
		return nil, fault.InvalidField(field+".assignment_id", "%s", err.Error())
	}
	return &scheduler.Parent{RunID: run, Task: p.GetTask(), Assignment: id, Key: p.GetChildKey()}, nil
}

// itemError is the answer to a refused item of a bulk call. Items are checked as if each were the run of a call of its own; place is where the item stands.
func itemError(err error, place string) *runsv1.ItemError {
	if err == nil {
		return nil
	}
	f := fault.Of(err)
	out := &runsv1.ItemError{Code: f.Code.String(), Reason: f.Reason, Message: f.Message}
	if len(f.Fields) > 0 {
		out.Message = f.Fields[0].Message
		out.Field = f.Fields[0].Path
		if below, ok := strings.CutPrefix(out.Field, "run."); ok {
			out.Field = place + "." + below
		}
	}
	return out
}

func stamp(us int64) *timestamppb.Timestamp {
	if us == 0 {
		return nil
	}
	return timestamppb.New(micro(us))
}

func runStatus(s flow.State) runsv1.RunStatus {
	switch s { //nolint:exhaustive // a run has these states alone
	case flow.Queued:
		return runsv1.RunStatus_RUN_STATUS_QUEUED
	case flow.Completed:
		return runsv1.RunStatus_RUN_STATUS_COMPLETED
	case flow.Failed:
		return runsv1.RunStatus_RUN_STATUS_FAILED
	case flow.Cancelled:
		return runsv1.RunStatus_RUN_STATUS_CANCELLED
	case flow.TimedOut:
		return runsv1.RunStatus_RUN_STATUS_TIMED_OUT
	default:
		return runsv1.RunStatus_RUN_STATUS_RUNNING
	}
}

func runState(s runsv1.RunStatus) flow.State {
	for _, state := range flow.RunStates() {
		if runStatus(state) == s {
			return state
		}
	}
	return ""
}

func taskStatus(s flow.State) runsv1.TaskStatus {
	for i, state := range flow.TaskStates() {
		if state == s {
			return runsv1.TaskStatus(i + 1) //nolint:gosec // the enum follows the table's order, and a test says so
		}
	}
	return runsv1.TaskStatus_TASK_STATUS_UNSPECIFIED
}

func wireError(e *engine.TaskError) *runsv1.TaskError {
	if e == nil {
		return nil
	}
	return &runsv1.TaskError{Kind: e.Kind, Message: e.Message, Stack: e.Stack}
}

// wireListed is a run in a list: no payloads, and of a DAG no tasks.
func wireListed(v *scheduler.RunView) *runsv1.Run {
	out := wireHead(v)
	if v.Top().Single {
		out.Tasks = []*runsv1.Task{wireTask(v, 0)}
	}
	return out
}

func wireHead(v *scheduler.RunView) *runsv1.Run {
	top := v.Top()
	out := &runsv1.Run{
		Id: runID(top.ID), Workflow: v.Plan.Workflow.Name, WorkflowVersion: top.Version, Status: runStatus(v.Status()), Generation: top.Generation,
		Priority: int32(top.Priority), ChildRuns: top.ChildRuns, CreateTime: stamp(top.CreatedAt), StartTime: stamp(top.StartedAt), EndTime: stamp(top.EndedAt),
		Revision: v.Revision(), Labels: v.Labels(),
	}
	if top.State.Final() {
		out.Error = wireError(top.Error)
	}
	if !top.ParentRun.IsZero() {
		out.Parent = &runsv1.ParentTask{RunId: runID(top.ParentRun), Task: v.ParentTask}
	}
	return out
}

func wireRun(v *scheduler.RunView, withInput bool) *runsv1.Run {
	out := wireHead(v)
	if withInput {
		out.InputJson = string(v.Top().Input.Inline)
	}
	for i := range v.Tasks() {
		out.Tasks = append(out.Tasks, wireTask(v, i))
	}
	if v.Top().State == flow.Completed {
		out.OutputJson = output(v)
	}
	return out
}

// output is the run's own: that of the only task without children, or of all such tasks by name.
func output(v *scheduler.RunView) string {
	tasks := v.Tasks()
	if len(v.Plan.Leaves) == 1 {
		return string(tasks[v.Plan.Leaves[0]].Output.Inline)
	}
	out := []byte{'{'}
	for i, leaf := range v.Plan.Leaves {
		if i > 0 {
			out = append(out, ',')
		}
		name, _ := json.Marshal(v.Plan.Workflow.Tasks[leaf].Name) // names are plain text
		out = append(append(out, name...), ':')
		if body := tasks[leaf].Output.Inline; body != nil {
			out = append(out, body...)
		} else {
			out = append(out, "null"...)
		}
	}
	return string(append(out, '}'))
}

func wireTask(v *scheduler.RunView, index int) *runsv1.Task {
	w, task := &v.Tasks()[index], &v.Plan.Workflow.Tasks[index]
	out := &runsv1.Task{
		Name: task.Name, Status: taskStatus(w.State), Attempt: w.Attempt, LostAttempts: w.Lost, Queue: task.Queue, Parents: task.Parents,
		OutputJson: string(w.Output.Inline), Error: wireError(w.Error), QueueTime: stamp(w.QueuedAt), StartTime: stamp(w.StartedAt), EndTime: stamp(w.EndedAt),
	}
	if !w.WorkerID.IsZero() {
		out.WorkerId = typeid.Format(typeid.Worker, w.WorkerID)
	}
	if w.State == flow.BackingOff {
		out.RetryTime = stamp(w.DueAt)
	}
	return out
}

func wireAttempt(a *scheduler.Attempt) *runsv1.Attempt {
	out := &runsv1.Attempt{Task: a.Task, Generation: a.Generation, Number: a.Number, Error: wireError(a.Error), StartTime: stamp(a.StartedAt), EndTime: stamp(a.EndedAt)}
	switch a.Outcome {
	case "completed":
		out.Outcome = runsv1.AttemptOutcome_ATTEMPT_OUTCOME_COMPLETED
	case "failed":
		out.Outcome = runsv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED
	case "cancelled":
		out.Outcome = runsv1.AttemptOutcome_ATTEMPT_OUTCOME_CANCELLED
	case "timed_out":
		out.Outcome = runsv1.AttemptOutcome_ATTEMPT_OUTCOME_TIMED_OUT
	case "lost":
		out.Outcome = runsv1.AttemptOutcome_ATTEMPT_OUTCOME_LOST
	}
	if !a.Worker.IsZero() {
		out.WorkerId = typeid.Format(typeid.Worker, a.Worker)
	}
	return out
}

func wireLine(l *scheduler.LogLine) *runsv1.LogLine {
	return &runsv1.LogLine{
		Task: l.Task, Generation: l.Generation, Attempt: l.Attempt, Time: stamp(l.At), Level: runsv1.LogLevel(l.Level), Message: l.Message, FieldsJson: string(l.Fields),
		Id: lineID(l),
	}
}

// lineID tells a line from all others of its run: an assignment counts its lines.
func lineID(l *scheduler.LogLine) string {
	return base64.RawURLEncoding.EncodeToString(l.Assignment[:]) + "-" + strconv.FormatInt(l.Sequence, 10)
}
