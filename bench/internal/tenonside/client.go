package tenonside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/tenon-run/tenon/bench/internal/load"
	"github.com/tenon-run/tenon/bench/internal/proc"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// RoleClient is the role of the process that triggers.
const RoleClient = "tenon-client"

const (
	// bulkRuns and bulkCalls are how many runs a bulk call carries and how many such calls are under way.
	bulkRuns  = 1000
	bulkCalls = 8
)

// StartClient starts that process.
func StartClient(place Place) (*Client, error) {
	p, err := place.start("client", RoleClient)
	return &Client{p}, err
}

// Client is the client's process.
type Client struct{ *proc.Process }

// Order is what the client is asked to do. Fields that a call does not need are left out.
type Order struct {
	Workflow string  `json:"workflow"`
	Runs     int     `json:"runs"`
	First    int64   `json:"first"` // number of the first run; the others count on
	InFlight int     `json:"in_flight,omitempty"`
	Rate     float64 `json:"rate,omitempty"` // calls a second
	Children int     `json:"children,omitempty"`
	Timed    bool    `json:"timed,omitempty"` // have the worker measure each start
}

// Done is what the client has done.
type Done struct {
	Begin time.Time `json:"begin"` // just before the first call
	// Took is how long all of it took.
	Took time.Duration `json:"took"`
	// Samples are from when a call was due to its result, where results were awaited.
	Samples []time.Duration `json:"samples,omitempty"`
	// Limited is how many calls were sent again because the server's rate limit asked for it.
	Limited int64 `json:"limited"`
}

// Bulk triggers runs in bulk calls.
func (c *Client) Bulk(ctx context.Context, o Order) (done Done, err error) {
	return done, c.Ask(ctx, "bulk", o, &done)
}

// Single triggers runs with a call each: InFlight at a time or, when that is 0, Rate a second.
func (c *Client) Single(ctx context.Context, o Order) (done Done, err error) {
	return done, c.Ask(ctx, "single", o, &done)
}

// Gathered is Single by the SDK's own Trigger, which gathers what is triggered at the same time.
func (c *Client) Gathered(ctx context.Context, o Order) (done Done, err error) {
	return done, c.Ask(ctx, "gathered", o, &done)
}

// Results is Single for calls that wait for the result, which is checked.
func (c *Client) Results(ctx context.Context, o Order) (done Done, err error) {
	return done, c.Ask(ctx, "results", o, &done)
}

// ClientHandlers returns what the client's process answers to.
func ClientHandlers() (handlers map[string]proc.Handler, stop func(), err error) {
	client, err := tenon.NewClient(tenon.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return nil, nil, err
	}
	t := &triggerer{client: client}
	streams := newStreams(client)
	return map[string]proc.Handler{
		"bulk": proc.Handle(t.measured(t.bulk)), "single": proc.Handle(t.measured(t.single)), "gathered": proc.Handle(t.measured(t.gathered)),
		"results": proc.Handle(t.measured(t.results)), "stream": proc.Handle(streams.begin), "halt": proc.Handle(streams.halt),
	}, func() { _ = client.Close() }, nil // always nil
}

// triggerer makes the calls with the generated client of the SDK, except where the SDK's own Trigger is measured, which gathers calls made at the same
// time into one.
type triggerer struct {
	client  *tenon.Client
	samples load.Samples
	limited atomic.Int64
}

func (t *triggerer) measured(do func(context.Context, Order) error) func(context.Context, Order) (Done, error) {
	return func(ctx context.Context, o Order) (Done, error) {
		t.samples.Take()
		t.limited.Store(0)
		begin := time.Now()
		err := do(ctx, o)
		return Done{Begin: begin, Took: time.Since(begin), Samples: t.samples.Take(), Limited: t.limited.Load()}, err
	}
}

func (t *triggerer) bulk(ctx context.Context, o Order) error {
	calls := (o.Runs + bulkRuns - 1) / bulkRuns
	return load.Closed(ctx, calls, bulkCalls, func(ctx context.Context, i int) error {
		req := &runsv1.TriggerBulkRequest{}
		for n := i * bulkRuns; n < min(o.Runs, (i+1)*bulkRuns); n++ {
			run, _, err := o.run(n, time.Now())
			if err != nil {
				return err
			}
			req.Runs = append(req.Runs, run)
		}
		res, err := again(ctx, t, func() (*runsv1.TriggerBulkResponse, error) { return t.client.Runs().TriggerBulk(ctx, req) })
		if err != nil {
			return err
		}
		if len(res.GetResults()) != len(req.GetRuns()) {
			return fmt.Errorf("%d answers for %d runs", len(res.GetResults()), len(req.GetRuns()))
		}
		for _, r := range res.GetResults() {
			// A run that is there already was made by this very call, sent again on its way to the owner.
			if r.GetError() != nil {
				return fmt.Errorf("run %s was not made: %s", r.GetRunId(), r.GetError().GetMessage())
			}
		}
		return nil
	})
}

func (t *triggerer) single(ctx context.Context, o Order) error {
	return o.load(ctx, func(ctx context.Context, i int, due time.Time) error {
		run, _, err := o.run(i, due)
		if err != nil {
			return err
		}
		_, err = again(ctx, t, func() (*runsv1.TriggerResponse, error) {
			return t.client.Runs().Trigger(ctx, &runsv1.TriggerRequest{Run: run})
		})
		return err
	})
}

func (t *triggerer) gathered(ctx context.Context, o Order) error {
	workflow := tenon.NewWorkflow[input, int64](o.Workflow)
	return o.load(ctx, func(ctx context.Context, i int, due time.Time) error {
		run, err := workflow.Trigger(ctx, t.client, o.input(i, due))
		if err == nil && run.ID() == "" {
			err = errors.New("the run has no id")
		}
		return err
	})
}

func (t *triggerer) results(ctx context.Context, o Order) error {
	return o.load(ctx, func(ctx context.Context, i int, due time.Time) error {
		run, in, err := o.run(i, due)
		if err != nil {
			return err
		}
		req := &runsv1.TriggerAndWaitRequest{Run: run}
		res, err := again(ctx, t, func() (*runsv1.TriggerAndWaitResponse, error) { return t.client.Runs().TriggerAndWait(ctx, req) })
		if err != nil {
			return err
		}
		t.samples.Add(time.Since(due))
		final := res.GetRun()
		want := strconv.FormatInt(o.result(in), 10)
		if final.GetStatus() != runsv1.RunStatus_RUN_STATUS_COMPLETED || final.GetOutputJson() != want {
			return fmt.Errorf("run %s is %s with the result %q, want %q", final.GetId(), final.GetStatus(), final.GetOutputJson(), want)
		}
		return nil
	})
}

// load makes the order's calls in its pattern, and tells each when it was due.
func (o Order) load(ctx context.Context, call func(context.Context, int, time.Time) error) error {
	if o.InFlight > 0 {
		return load.Closed(ctx, o.Runs, o.InFlight, func(ctx context.Context, i int) error { return call(ctx, i, time.Now()) })
	}
	return load.Open(ctx, o.Runs, o.Rate, call)
}

// run makes the i-th run, which was due at an instant.
func (o Order) run(i int, due time.Time) (*runsv1.NewRun, input, error) {
	in := o.input(i, due)
	id, err := tenon.NewRunID()
	if err != nil {
		return nil, in, err
	}
	text, err := json.Marshal(in)
	return &runsv1.NewRun{RunId: id, Workflow: o.Workflow, InputJson: string(text), FirstSend: true}, in, err
}

func (o Order) input(i int, due time.Time) input {
	in := input{Num: o.First + int64(i), Children: o.Children}
	if o.Timed {
		in.Sent = due.UnixNano()
	}
	return in
}

// result is what a run must give.
func (o Order) result(in input) int64 {
	switch o.Workflow {
	case Chain:
		return in.Num + chainSteps
	case Fanout:
		return fanoutResult(in)
	default:
		return in.Num
	}
}

// again sends a call until the server's rate limit lets it pass: the bench runs with the limits that every tenant has.
func again[Res any](ctx context.Context, t *triggerer, call func() (*Res, error)) (*Res, error) {
	for {
		res, err := call()
		wait, limited := retryAfter(err)
		if !limited {
			return res, err
		}
		t.limited.Add(1)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// retryAfter reads when a limited caller may come back.
func retryAfter(err error) (time.Duration, bool) {
	refused, ok := errors.AsType[*connect.Error](err)
	if !ok || refused.Code() != connect.CodeResourceExhausted {
		return 0, false
	}
	for _, detail := range refused.Details() {
		value, err := detail.Value()
		if info, ok := value.(*errdetails.RetryInfo); err == nil && ok {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}
