package tenon

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync/atomic"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

const (
	// maxBatchItems is the server's limit of items in a call.
	maxBatchItems = 10_000
	// maxBatchBytes stays well under the server's limit of a call, 32 MiB.
	maxBatchBytes = 16 << 20
	// maxTriggerCalls is how many calls with triggers are under way at a time: the server has something to take in while it stores what came before.
	maxTriggerCalls = 3
)

// TriggerOption is an option of a trigger.
type TriggerOption func(*runsv1.NewRun)

// WithRunID sets the run's id: a TypeID with prefix "run" over a UUIDv7 made within the last 24 hours. Default: the SDK makes one.
// The same id with the same contents answers with that run, with other contents it is an AlreadyExists error.
func WithRunID(id string) TriggerOption { return func(r *runsv1.NewRun) { r.RunId = id } }

// WithPriority sets the run's priority, 0 to 9, 9 most urgent. Default: the workflow's.
func WithPriority(p int) TriggerOption {
	return func(r *runsv1.NewRun) {
		priority := int32(min(p, 1<<30))
		r.Priority = &priority
	}
}

// WithVersion pins the workflow's version. Default: the newest.
func WithVersion(n int) TriggerOption {
	return func(r *runsv1.NewRun) { r.WorkflowVersion = int32(min(n, 1<<30)) }
}

// WithLabels gives the run labels, by which it can be found: at most 16, with a key of 1 to 63 letters, digits, ".", "_", "/" and "-" that begins with a
// letter or digit, and a value of at most 255 bytes without control characters. Others are an InvalidArgument error. Several of these options add up.
// Labels are no place for secrets: whoever may read runs sees them. A replay keeps them; a child run has only those that it is given. Default: none.
func WithLabels(labels map[string]string) TriggerOption {
	return func(r *runsv1.NewRun) {
		if r.Labels == nil {
			r.Labels = make(map[string]string, len(labels))
		}
		maps.Copy(r.Labels, labels)
	}
}

// NewRunID makes an id for [WithRunID], to be stored before the run is triggered.
func NewRunID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("tenon: make a run id: %w", err)
	}
	return typeid.Format(typeid.Run, id), nil
}

func newRun(workflow string, input any, opts []TriggerOption) (*runsv1.NewRun, error) {
	text, err := json.Marshal(input)
	if err != nil {
		return nil, fmt.Errorf("input of workflow %q can't be written as JSON: %w", workflow, err)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("input of workflow %q is not valid UTF-8", workflow)
	}
	run := &runsv1.NewRun{Workflow: workflow}
	for _, opt := range opts {
		opt(run)
	}
	// What can't be written would spoil the runs that happen to travel with it; whatever else is wrong the server says of each run by itself.
	if _, err := proto.Marshal(run); err != nil {
		return nil, fmt.Errorf("run of workflow %q can't be sent: %w", workflow, err)
	}
	run.InputJson = string(text)
	if run.GetRunId() == "" {
		run.RunId, err = NewRunID()
		run.FirstSend = true
	}
	return run, err
}

// pendingTrigger is a run on its way to the server. Its answer comes once on done.
type pendingTrigger struct {
	ctx     context.Context
	run     *runsv1.NewRun
	done    chan struct{}
	id      string
	created bool
	err     error
	trouble atomic.Pointer[string] // of the last call that failed and is sent again
}

// gone tells why the caller does not wait any longer, and what kept it waiting.
func (p *pendingTrigger) gone(ctx context.Context) error {
	if trouble := p.trouble.Load(); trouble != nil {
		return fmt.Errorf("%w (the last call failed: %s)", context.Cause(ctx), *trouble)
	}
	return context.Cause(ctx)
}

func (p *pendingTrigger) finish(id string, created bool, err error) {
	p.id, p.created, p.err = id, created, err
	close(p.done)
}

// trigger sends runs with whatever else is being triggered at the moment and waits for their answers, in order.
func (c *Client) trigger(ctx context.Context, runs []*runsv1.NewRun) ([]*pendingTrigger, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.callTimeout)
		defer cancel()
	}
	items := make([]*pendingTrigger, len(runs))
	for i, run := range runs {
		items[i] = &pendingTrigger{ctx: ctx, run: run, done: make(chan struct{})}
	}
	if !c.triggers.add(items...) {
		return nil, ErrClosed
	}
	for _, item := range items {
		select {
		case <-item.done:
		case <-ctx.Done():
			return nil, item.gone(ctx)
		case <-c.alive.Done():
			return nil, context.Cause(c.alive)
		}
	}
	return items, nil
}

func newTriggerGatherer(c *Client) *gatherer[*pendingTrigger] {
	return &gatherer[*pendingTrigger]{
		maxCalls: maxTriggerCalls, maxItems: maxBatchItems, maxSize: maxBatchBytes,
		size: func(p *pendingTrigger) int { return proto.Size(p.run) },
		send: func(batch []*pendingTrigger) { c.sendTriggers(batch) },
	}
}

// sendTriggers sends a batch until each item has an answer, or nobody waits for it any more.
func (c *Client) sendTriggers(batch []*pendingTrigger) {
	for failures := 0; c.alive.Err() == nil; failures++ {
		batch = dropGone(batch)
		if len(batch) == 0 {
			return
		}
		ctx, cancel := whileAnyWaits(c.alive, batch)
		answer, err := c.runs.TriggerBulk(ctx, bulkRequest(batch))
		if err == nil && len(answer.GetResults()) != len(batch) {
			err = connect.NewError(connect.CodeInternal, fmt.Errorf("the server answered %d of %d triggers", len(answer.GetResults()), len(batch)))
		}
		if err == nil {
			cancel()
			settle(batch, answer.GetResults())
			return
		}
		trouble := err.Error()
		for _, item := range batch {
			item.run.FirstSend = false // it may have arrived all the same
			if ctx.Err() == nil {
				item.trouble.Store(&trouble)
			}
		}
		again := ctx.Err() != nil || transient(err)
		if again {
			pause(ctx, c.cfg.backoff.after(failures))
		}
		cancel()
		if again {
			continue
		}
		for _, item := range batch {
			item.finish("", false, orCause(item.ctx, err))
		}
		return
	}
}

func bulkRequest(batch []*pendingTrigger) *runsv1.TriggerBulkRequest {
	req := &runsv1.TriggerBulkRequest{Runs: make([]*runsv1.NewRun, len(batch))}
	for i, item := range batch {
		req.Runs[i] = item.run
	}
	return req
}

func settle(batch []*pendingTrigger, results []*runsv1.TriggerResult) {
	for i, item := range batch {
		if refused := results[i].GetError(); refused != nil {
			item.finish("", false, refusedError(refused))
			continue
		}
		item.finish(results[i].GetRunId(), results[i].GetCreated(), nil)
	}
}

// dropGone answers the items whose callers have gone and gives the others.
func dropGone(batch []*pendingTrigger) []*pendingTrigger {
	kept := make([]*pendingTrigger, 0, len(batch))
	for _, item := range batch {
		if item.ctx.Err() != nil {
			item.finish("", false, context.Cause(item.ctx))
			continue
		}
		kept = append(kept, item)
	}
	return kept
}

// whileAnyWaits gives a context that ends with the client, and when all of the batch's callers have given up.
// Callers of one TriggerMany share a context, so the number of distinct ones is small.
func whileAnyWaits(alive context.Context, batch []*pendingTrigger) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(alive)
	seen := make(map[context.Context]bool)
	var left atomic.Int64
	left.Store(1) // held until all are counted
	var stops []func() bool
	for _, item := range batch {
		if seen[item.ctx] {
			continue
		}
		seen[item.ctx] = true
		left.Add(1)
		stops = append(stops, context.AfterFunc(item.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		}))
	}
	if left.Add(-1) == 0 {
		cancel()
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
