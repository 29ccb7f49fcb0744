package tenon

import (
	"context"
	"log/slog"
)

// Context is what a task's code gets: a context that ends when the task has to stop, and what is known about the attempt.
// context.Cause tells why it ended: [ErrCancelled], [ErrTimedOut], [ErrSuperseded], [ErrOutOfTouch] or [ErrWorkerStopped].
type Context interface {
	context.Context
	// Logger logs lines that are stored with the run, in batches; a line is at most 64 KiB. They also go to the client's logger.
	Logger() *slog.Logger
	// RunID is the public id of the run, for example "run_01jd...".
	RunID() string
	// WorkflowName is the name of the run's workflow.
	WorkflowName() string
	// TaskName is the name of the task within its workflow.
	TaskName() string
	// Attempt counts the task's tries from 1. An attempt lost with its worker does not count.
	Attempt() int
	// Generation counts the run's replays from 1.
	Generation() int
	// Traceparent is the W3C trace context of the trigger; empty when it had none.
	Traceparent() string

	task() *task
}

type taskKey struct{}

type taskContext struct {
	context.Context
	t *task
}

// FromContext gives the task's Context back from any context derived from it, with the derived one's deadline and values.
func FromContext(ctx context.Context) (Context, bool) {
	t, ok := ctx.Value(taskKey{}).(*task)
	if !ok {
		return nil, false
	}
	return taskContext{ctx, t}, true
}

func (c taskContext) Logger() *slog.Logger { return c.t.logger() }
func (c taskContext) RunID() string        { return c.t.assignment.GetRunId() }
func (c taskContext) WorkflowName() string { return c.t.assignment.GetWorkflow() }
func (c taskContext) TaskName() string     { return c.t.assignment.GetTask() }
func (c taskContext) Attempt() int         { return int(c.t.assignment.GetAttempt()) }
func (c taskContext) Generation() int      { return int(c.t.assignment.GetGeneration()) }
func (c taskContext) Traceparent() string  { return c.t.assignment.GetTraceparent() }
func (c taskContext) task() *task          { return c.t }
