package tenonside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/bench/internal/load"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// StreamOrder asks for noop runs at a steady rate until Halt, whatever becomes of the server meanwhile: what is not acknowledged is sent again.
type StreamOrder struct {
	// Name tells streams that run side by side apart.
	Name string `json:"name"`
	// Rate is runs a second, which come in bulk calls of Batch.
	Rate  float64 `json:"rate"`
	Batch int     `json:"batch"`
	First int64   `json:"first"` // number of the first run
	Timed bool    `json:"timed,omitempty"`
	Pad   int     `json:"pad,omitempty"` // bytes added to each input
}

// Streamed is what a stream has done.
type Streamed struct {
	Runs   int64 `json:"runs"`   // acknowledged, each once
	Resent int64 `json:"resent"` // calls that were sent again
}

// Stream begins a stream.
func (c *Client) Stream(ctx context.Context, o StreamOrder) error {
	return c.Ask(ctx, "stream", o, nil)
}

// Halt ends a stream, and returns when all that it began is acknowledged.
func (c *Client) Halt(ctx context.Context, name string) (done Streamed, err error) {
	return done, c.Ask(ctx, "halt", name, &done)
}

// streams are those of a client's process.
type streams struct {
	client *tenon.Client

	mu   sync.Mutex
	open map[string]*stream
}

func newStreams(client *tenon.Client) *streams {
	return &streams{client: client, open: make(map[string]*stream)}
}

type stream struct {
	client *tenon.Client
	order  StreamOrder
	pad    string
	stop   context.CancelFunc
	ended  chan error
	runs   atomic.Int64
	resent atomic.Int64
}

func (s *streams) begin(ctx context.Context, o StreamOrder) (struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[o.Name] != nil {
		return struct{}{}, fmt.Errorf("a stream %q runs already", o.Name)
	}
	ticking, stop := context.WithCancel(ctx)
	one := &stream{client: s.client, order: o, pad: strings.Repeat("x", o.Pad), stop: stop, ended: make(chan error, 1)}
	s.open[o.Name] = one
	go func() {
		err := load.Open(ticking, math.MaxInt, o.Rate/float64(o.Batch), func(_ context.Context, i int, due time.Time) error {
			return one.call(ctx, i, due) // what has begun goes on after the last tick
		})
		if ticking.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
			err = nil
		}
		one.ended <- err
	}()
	return struct{}{}, nil
}

func (s *streams) halt(_ context.Context, name string) (Streamed, error) {
	s.mu.Lock()
	one := s.open[name]
	delete(s.open, name)
	s.mu.Unlock()
	if one == nil {
		return Streamed{}, fmt.Errorf("no stream %q runs", name)
	}
	one.stop()
	err := <-one.ended
	return Streamed{Runs: one.runs.Load(), Resent: one.resent.Load()}, err
}

// call triggers the runs of one tick, until each is acknowledged.
func (s *stream) call(ctx context.Context, i int, due time.Time) error {
	const pause, most, large = 20 * time.Millisecond, 2 * time.Minute, 1 << 16
	patience := 10 * time.Second
	if s.order.Pad > large { // its way is long on a busy machine, and sent again it is longer
		patience = time.Minute
	}
	runs := make([]*runsv1.NewRun, s.order.Batch)
	for n := range runs {
		in := input{Num: s.order.First + int64(i*s.order.Batch+n), Pad: s.pad}
		if s.order.Timed {
			in.Sent = due.UnixNano()
		}
		id, err := tenon.NewRunID()
		if err != nil {
			return err
		}
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		runs[n] = &runsv1.NewRun{RunId: id, Workflow: Noop, InputJson: string(text), FirstSend: true}
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var last error
	for {
		left, passed, err := s.send(ctx, runs, patience)
		if err != nil {
			return fmt.Errorf("%d runs are not acknowledged: %w", len(runs), errors.Join(err, last))
		}
		last = passed
		s.runs.Add(int64(len(runs) - len(left)))
		if len(left) == 0 {
			return nil
		}
		runs = left
		s.resent.Add(1)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d runs are not acknowledged: %w", len(runs), errors.Join(context.Cause(ctx), last))
		case <-time.After(pause):
		}
	}
}

// send sends a call, and returns the runs that have to be sent again, with why.
func (s *stream) send(ctx context.Context, runs []*runsv1.NewRun, patience time.Duration) (left []*runsv1.NewRun, passed, err error) {
	once, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := s.client.Runs().TriggerBulk(once, &runsv1.TriggerBulkRequest{Runs: runs})
	switch {
	case err == nil && len(res.GetResults()) != len(runs):
		return nil, nil, fmt.Errorf("%d answers for %d runs", len(res.GetResults()), len(runs))
	case err == nil:
		for i, r := range res.GetResults() {
			refused := r.GetError()
			switch {
			case refused == nil:
			case passing(refused.GetCode()):
				left, passed = append(left, runs[i]), errors.New(refused.GetMessage())
			default:
				return nil, nil, fmt.Errorf("run %s was not made: %s", r.GetRunId(), refused.GetMessage())
			}
		}
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case passing(connect.CodeOf(err).String()):
		left, passed = runs, err
	default:
		return nil, nil, err
	}
	for _, run := range left {
		run.FirstSend = false
	}
	return left, passed, nil
}

// passing tells whether a call with that outcome is worth sending again.
func passing(code string) bool {
	switch code {
	case connect.CodeUnavailable.String(), connect.CodeDeadlineExceeded.String(), connect.CodeResourceExhausted.String(), connect.CodeAborted.String(),
		connect.CodeCanceled.String():
		return true
	default:
		return false
	}
}
