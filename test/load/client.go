package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
	"github.com/tenon-run/tenon/test/history"
)

// Client keeps triggering runs in batches. Its methods may be called from any goroutine.
type Client struct {
	API      *tenon.Client
	Recorder *history.Recorder
	// Batch is how many runs are triggered in one call.
	Batch int
	// LeastMS and MostMS bound how long tasks take, in milliseconds. Default 20 to 200.
	LeastMS, MostMS int
	// Patient sends a call that met an absent or restarting server again, with the same ids, until the context ends. Default: it fails.
	Patient bool

	next atomic.Int64
}

// Once triggers a batch of runs, waits until all have ended, and writes down what it was told.
func (c *Client) Once(ctx context.Context) error {
	request, err := c.batch()
	if err != nil {
		return err
	}
	if err := c.trigger(ctx, request); err != nil {
		return err
	}
	handles := make([]*tenon.Run[string], c.Batch)
	def := workflow(func(history.Execution) error { return nil }, func() {})
	for i, run := range request.GetRuns() {
		handles[i] = def.Handle(c.API, run.GetRunId())
	}
	outputs, err := tenon.Await(ctx, handles...)
	if err != nil {
		return fmt.Errorf("await %d runs: %w", len(handles), err)
	}
	for i, output := range outputs {
		c.Recorder.Result(handles[i].ID(), `"`+output+`"`)
	}
	return nil
}

// batch makes the next runs and notes them as sent.
func (c *Client) batch() (*runsv1.TriggerBulkRequest, error) {
	const leastByDefault, mostByDefault, stride = 20, 200, 37
	least, most := c.LeastMS, c.MostMS
	if most == 0 {
		least, most = leastByDefault, mostByDefault
	}
	request := &runsv1.TriggerBulkRequest{}
	for range c.Batch {
		n := int(c.next.Add(1))
		id, err := tenon.NewRunID()
		if err != nil {
			return nil, err
		}
		text := fmt.Sprintf(`{"n":%d,"ms":%d}`, n, least+n*stride%(most-least+1))
		c.Recorder.Sent(id, text, want(n))
		request.Runs = append(request.Runs, &runsv1.NewRun{RunId: id, Workflow: "load", InputJson: text, FirstSend: true})
	}
	return request, nil
}

// trigger sends the runs until all are acknowledged.
func (c *Client) trigger(ctx context.Context, request *runsv1.TriggerBulkRequest) error {
	left := request.GetRuns()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		var err error
		left, err = c.send(ctx, left)
		if len(left) == 0 {
			return err
		}
		if !c.Patient || !passes(err) {
			return fmt.Errorf("trigger %d runs: %w", len(left), err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("trigger %d runs: %w, the last call failed: %w", len(left), context.Cause(ctx), err)
		}
		for _, run := range left {
			run.FirstSend = false // it may have arrived all the same
		}
	}
}

const firstPause, longestPause = 10 * time.Millisecond, 250 * time.Millisecond

// send sends the runs once and gives back those that are not acknowledged, with the first reason.
func (c *Client) send(ctx context.Context, runs []*runsv1.NewRun) (left []*runsv1.NewRun, err error) {
	const patience = 15 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := c.API.Runs().TriggerBulk(ctx, &runsv1.TriggerBulkRequest{Runs: runs})
	if err != nil {
		return runs, err
	}
	var told []string
	for i, result := range answer.GetResults() {
		refused := result.GetError()
		if refused == nil {
			told = append(told, runs[i].GetRunId())
			continue
		}
		left = append(left, runs[i])
		if err == nil || passes(err) { // one that does not pass is told first
			err = &refusedError{runs[i].GetRunId(), refused}
		}
	}
	return left, errors.Join(c.Recorder.Acknowledged(told...), err)
}

// refusedError is a run that the server did not take.
type refusedError struct {
	run    string
	answer *runsv1.ItemError
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("run %s was refused: %s %s %s", e.run, e.answer.GetCode(), e.answer.GetReason(), e.answer.GetMessage())
}

// passes tells whether a call may succeed when it is sent again: something was away, or the connection broke in the middle.
func passes(err error) bool {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused.answer.GetCode() == connect.CodeUnavailable.String()
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeAborted, connect.CodeDeadlineExceeded:
		return true
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeCanceled:
		broken, ok := errors.AsType[*connect.Error](err)
		return ok && !connect.IsWireError(broken)
	default:
		return false
	}
}
