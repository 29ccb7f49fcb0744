package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

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

	next atomic.Int64
}

// Once triggers a batch of runs that take 20 to 200 ms, waits until all have ended, and writes down what it was told.
func (c *Client) Once(ctx context.Context) error {
	ids, inputs := make([]string, c.Batch), make([]Input, c.Batch)
	request := &runsv1.TriggerBulkRequest{}
	for i := range ids {
		n := int(c.next.Add(1))
		const least, spread = 20, 181
		inputs[i] = Input{N: n, MS: least + n*37%spread}
		id, err := tenon.NewRunID()
		if err != nil {
			return err
		}
		ids[i] = id
		c.Recorder.Sent(id, want(n))
		text := fmt.Sprintf(`{"n":%d,"ms":%d}`, inputs[i].N, inputs[i].MS)
		request.Runs = append(request.Runs, &runsv1.NewRun{RunId: id, Workflow: "load", InputJson: text})
	}
	answer, err := c.API.Runs().TriggerBulk(ctx, request)
	if err != nil {
		return fmt.Errorf("trigger %d runs: %w", c.Batch, err)
	}
	handles := make([]*tenon.Run[string], 0, len(ids))
	def := workflow(func(history.Execution) error { return nil }, func() {})
	for i, result := range answer.GetResults() {
		if refused := result.GetError(); refused != nil {
			err = errors.Join(err, fmt.Errorf("run %s was refused: %s %s", ids[i], refused.GetReason(), refused.GetMessage()))
			continue
		}
		c.Recorder.Acknowledged(ids[i])
		handles = append(handles, def.Handle(c.API, ids[i]))
	}
	if err != nil {
		return err
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
