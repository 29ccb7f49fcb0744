package tenon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Run is a handle of one run, with the type of its output. It holds no connection.
type Run[Out any] struct {
	client   *Client
	workflow string
	id       string
	created  bool
}

// Trigger starts a run. It returns once the run is stored. Triggers of one client gather by themselves: while three requests are under way, what is
// triggered meanwhile leaves with the next one (10,000 runs and 16 MiB at most). Each caller gets its own run or error, and may give up by itself.
// A request that has to be sent again starts no second run. Within a task use [StartChild] or [RunChild] instead.
func (w *Workflow[In, Out]) Trigger(ctx context.Context, c *Client, in In, opts ...TriggerOption) (*Run[Out], error) {
	runs, err := w.TriggerMany(ctx, c, []In{in}, opts...)
	if bulk, ok := errors.AsType[*BulkError](err); ok {
		err = bulk.Items[0].Err
	}
	if err != nil {
		return nil, fmt.Errorf("trigger workflow %q: %w", w.Name(), err)
	}
	return runs[0], nil
}

// TriggerMany starts one run for each input, in as few calls as the server's limits allow (10,000 runs, 16 MiB). The handles are in the order of
// the inputs. When some are refused, the error is a [BulkError] that names them, and their handles are nil.
func (w *Workflow[In, Out]) TriggerMany(ctx context.Context, c *Client, inputs []In, opts ...TriggerOption) ([]*Run[Out], error) {
	news := make([]*runsv1.NewRun, len(inputs))
	for i, in := range inputs {
		run, err := newRun(w.Name(), in, opts)
		if err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
		news[i] = run
	}
	return triggerAll[Out](ctx, c, w.Name(), news)
}

func triggerAll[Out any](ctx context.Context, c *Client, workflow string, news []*runsv1.NewRun) ([]*Run[Out], error) {
	answers, err := c.trigger(ctx, news)
	if err != nil {
		return nil, err
	}
	runs := make([]*Run[Out], len(answers))
	var bulk BulkError
	for i, a := range answers {
		if a.err != nil {
			bulk.Items = append(bulk.Items, BulkItem{Index: i, Key: news[i].GetParent().GetChildKey(), Err: a.err})
			continue
		}
		runs[i] = &Run[Out]{client: c, workflow: workflow, id: a.id, created: a.created}
	}
	if len(bulk.Items) > 0 {
		return runs, &bulk
	}
	return runs, nil
}

// TriggerAndWait starts a run and gives its output when it is final. A run that ends otherwise than completed is a [RunError].
// The run goes on when ctx ends first.
func (w *Workflow[In, Out]) TriggerAndWait(ctx context.Context, c *Client, in In, opts ...TriggerOption) (Out, error) {
	var none Out
	run, err := newRun(w.Name(), in, opts)
	if err != nil {
		return none, fmt.Errorf("trigger workflow %q: %w", w.Name(), err)
	}
	if parentOf(ctx) == nil {
		if final := c.triggerAndWait(ctx, run); final != nil {
			return outputOf[Out](final)
		}
		run.FirstSend = false // it may have arrived all the same
	}
	runs, err := triggerAll[Out](ctx, c, w.Name(), []*runsv1.NewRun{run})
	if bulk, ok := errors.AsType[*BulkError](err); ok {
		err = bulk.Items[0].Err
	}
	if err != nil {
		return none, fmt.Errorf("trigger workflow %q: %w", w.Name(), err)
	}
	return runs[0].Result(ctx)
}

// unaryWait is how long a run may be awaited in one call without a sign of life from the server; proxies end longer ones. After it a stream waits.
const unaryWait = 15 * time.Second

// triggerAndWait starts a run and waits for its end in a single call, which is the shortest way for a short run. It gives nothing when that did not
// succeed, for whatever reason: the same run can be triggered again, and then awaited.
func (c *Client) triggerAndWait(ctx context.Context, run *runsv1.NewRun) *runsv1.Run {
	ctx, cancel := c.live(ctx)
	defer cancel()
	res, err := c.runs.TriggerAndWait(ctx, &runsv1.TriggerAndWaitRequest{Run: run, Timeout: durationpb.New(unaryWait)})
	if err != nil {
		return nil
	}
	return res.GetRun()
}

// Handle takes up a run of this workflow by its id.
func (w *Workflow[In, Out]) Handle(c *Client, id string) *Run[Out] {
	return &Run[Out]{client: c, workflow: w.Name(), id: id}
}

// ID is the run's public id, for example "run_01jd...".
func (r *Run[Out]) ID() string { return r.id }

// Created is false when the trigger found a run that existed already.
func (r *Run[Out]) Created() bool { return r.created }

// Result waits until the run is final and gives its output. A run that ends otherwise than completed is a [RunError].
// A broken connection is opened again, and callers that begin to wait at the same time share one stream. In a task, with the task's context, the task
// gives its slot back while it waits.
func (r *Run[Out]) Result(ctx context.Context) (Out, error) {
	outs, err := Await(ctx, r)
	if bulk, ok := errors.AsType[*BulkError](err); ok {
		err = bulk.Items[0].Err
	}
	if err != nil {
		var none Out
		return none, err
	}
	return outs[0], nil
}

// Get reads the run with its tasks, input, output and labels.
func (r *Run[Out]) Get(ctx context.Context) (*runsv1.Run, error) { return r.client.GetRun(ctx, r.id) }

// Cancel ends the run; see [Client.CancelRun].
func (r *Run[Out]) Cancel(ctx context.Context, reason string) (*runsv1.Run, error) {
	return r.client.CancelRun(ctx, r.id, reason)
}

// Replay runs the run's tasks again; see [Client.ReplayRun].
func (r *Run[Out]) Replay(ctx context.Context, tasks ...string) (*runsv1.Run, error) {
	return r.client.ReplayRun(ctx, r.id, tasks...)
}

// Await waits until all the runs are final, over one stream, and gives their outputs in order. When some ended otherwise than completed,
// the error is a [BulkError] of them, and the other outputs are there.
func Await[Out any](ctx context.Context, runs ...*Run[Out]) ([]Out, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	ids := make([]string, len(runs))
	at := make(map[string][]int, len(runs))
	for i, r := range runs {
		ids[i] = r.id
		at[r.id] = append(at[r.id], i)
	}
	outs, faults := make([]Out, len(runs)), make([]error, len(runs))
	err := runs[0].client.await(ctx, ids, func(final *runsv1.Run) {
		for _, i := range at[final.GetId()] {
			outs[i], faults[i] = outputOf[Out](final)
		}
	})
	if err != nil {
		return nil, err
	}
	var bulk BulkError
	for i, fault := range faults {
		if fault != nil {
			bulk.Items = append(bulk.Items, BulkItem{Index: i, Err: fault})
		}
	}
	if len(bulk.Items) > 0 {
		return outs, &bulk
	}
	return outs, nil
}

func outputOf[Out any](final *runsv1.Run) (Out, error) {
	var out Out
	if final.GetStatus() != runsv1.RunStatus_RUN_STATUS_COMPLETED {
		return out, runError(final)
	}
	text := final.GetOutputJson()
	if text == "" {
		text = "null"
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return out, fmt.Errorf("output of run %s does not fit %T: %w", final.GetId(), out, err)
	}
	return out, nil
}
