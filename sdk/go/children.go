package tenon

import (
	"errors"
	"fmt"
	"slices"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Child is one child run of a fan-out.
type Child[In any] struct {
	// Key is unique among the task's children, at most 200 characters. A retry of the task finds the child that its last attempt started.
	Key   string
	Input In
}

// StartChild starts a child of the running task and does not wait for it. When an earlier attempt of the task has started a child with this key, it
// gives that one, and the input is not used again.
func StartChild[In, Out any](ctx Context, wf *Workflow[In, Out], key string, in In, opts ...TriggerOption) (*Run[Out], error) {
	runs, err := startChildren(ctx, wf, []Child[In]{{Key: key, Input: in}}, opts)
	if bulk, ok := errors.AsType[*BulkError](err); ok {
		err = bulk.Items[0].Err
	}
	if err != nil {
		return nil, fmt.Errorf("child %q of workflow %q: %w", key, wf.Name(), err)
	}
	return runs[0], nil
}

// RunChild starts a child of the running task and gives its output. While it waits the task gives its slot back, so that a worker
// with one slot can run a parent and its children. See [StartChild] for the key.
func RunChild[In, Out any](ctx Context, wf *Workflow[In, Out], key string, in In, opts ...TriggerOption) (Out, error) {
	run, err := StartChild(ctx, wf, key, in, opts...)
	if err != nil {
		var none Out
		return none, err
	}
	return run.Result(ctx)
}

// Children starts the children of a fan-out in bulk, waits for all of them over one stream, without the task's slot, and gives their outputs in order.
// When some can't be started or end otherwise than completed, the error is a [BulkError] that names them by key.
func Children[In, Out any](ctx Context, wf *Workflow[In, Out], children []Child[In], opts ...TriggerOption) ([]Out, error) {
	if len(children) == 0 {
		return nil, nil
	}
	runs, err := startChildren(ctx, wf, children, opts)
	if err != nil {
		return nil, fmt.Errorf("children of workflow %q: %w", wf.Name(), err)
	}
	outs, err := Await(ctx, runs...)
	if bulk, ok := errors.AsType[*BulkError](err); ok {
		for i := range bulk.Items {
			bulk.Items[i].Key = children[bulk.Items[i].Index].Key
		}
	}
	return outs, err
}

func startChildren[In, Out any](ctx Context, wf *Workflow[In, Out], children []Child[In], opts []TriggerOption) ([]*Run[Out], error) {
	t := ctx.task()
	news := make([]*runsv1.NewRun, len(children))
	keys := make(map[string]bool, len(children))
	for i, child := range children {
		if child.Key == "" || keys[child.Key] {
			return nil, NonRetryable(fmt.Errorf("child %d has the key %q: keys must be set and differ from each other", i, child.Key))
		}
		keys[child.Key] = true
		ofTask := func(r *runsv1.NewRun) { r.Parent = t.parentAssignment(child.Key) }
		run, err := newRun(wf.Name(), child.Input, append(slices.Clip(opts), ofTask))
		if err != nil {
			return nil, NonRetryable(fmt.Errorf("child %q: %w", child.Key, err))
		}
		news[i] = run
	}
	return triggerAll[Out](ctx, t.worker.client, wf.Name(), news)
}
