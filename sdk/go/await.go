package tenon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// await calls each once for every run, when it is final. Callers share streams: those that come while one is being opened wait over the next together. A
// task has a stream of its own, which says who waits without its slot.
func (c *Client) await(ctx context.Context, ids []string, each func(*runsv1.Run)) error {
	a := newAwaited(ctx, ids)
	if parent := parentOf(ctx); parent != nil {
		ctx, cancel := c.live(ctx)
		defer cancel()
		return a.wrap(c.awaitAll(ctx, parent, a.missing, nil, each))
	}
	if !c.awaits.add(a) {
		return ErrClosed
	}
	over := ctx
	select {
	case <-a.done:
		for _, final := range a.ended {
			each(final)
		}
		return a.wrap(a.err)
	case <-ctx.Done():
	case <-c.alive.Done():
		over = c.alive
	}
	// The stream that serves a may be at its fields still.
	return fmt.Errorf("await run %s: %w", ids[0], context.Cause(over))
}

// awaited is a caller that waits for runs to end.
type awaited struct {
	ctx     context.Context
	ids     []string
	missing map[string]bool // not final yet
	ended   []*runsv1.Run
	err     error
	done    chan struct{} // closed when nothing is missing, or with err
}

func newAwaited(ctx context.Context, ids []string) *awaited {
	a := &awaited{ctx: ctx, ids: ids, missing: make(map[string]bool, len(ids)), done: make(chan struct{})}
	for _, id := range ids {
		a.missing[id] = true
	}
	return a
}

func (a *awaited) wrap(err error) error {
	if err == nil {
		return nil
	}
	first := max(0, slices.IndexFunc(a.ids, func(id string) bool { return a.missing[id] }))
	return fmt.Errorf("await run %s: %w", a.ids[first], err)
}

func newAwaitGatherer(c *Client) *gatherer[*awaited] {
	return &gatherer[*awaited]{
		maxCalls: 1, maxItems: maxBatchItems, maxSize: maxBatchItems,
		size: func(a *awaited) int { return len(a.ids) },
		send: c.sendAwaits,
	}
}

// sendAwaits returns once the batch's stream is open, or did not open at the first try.
func (c *Client) sendAwaits(batch []*awaited) {
	opened := make(chan struct{})
	c.streams.Go(func() { c.serveAwaits(batch, sync.OnceFunc(func() { close(opened) })) })
	// A proxy that holds answers back until they end must not make one caller wait for another's run.
	timer := time.NewTimer(c.cfg.openPatience)
	defer timer.Stop()
	select {
	case <-opened:
	case <-timer.C:
	}
}

// serveAwaits awaits the runs of a batch until each of its callers has its own, or has gone.
func (c *Client) serveAwaits(batch []*awaited, opened func()) {
	defer opened()
	batch = slices.DeleteFunc(batch, func(a *awaited) bool { return a.ctx.Err() != nil })
	if len(batch) == 0 {
		return
	}
	callers := make(map[string][]*awaited) // by run
	missing := make(map[string]bool)
	for _, a := range batch {
		for id := range a.missing {
			callers[id] = append(callers[id], a)
			missing[id] = true
		}
	}
	w := newWaiters(c.alive, batch)
	defer w.cancel()
	err := c.awaitAll(w.ctx, nil, missing, opened, func(final *runsv1.Run) {
		for _, a := range callers[final.GetId()] {
			delete(a.missing, final.GetId())
			a.ended = append(a.ended, final)
			if len(a.missing) == 0 {
				w.finish(a, nil)
			}
		}
	})
	if err == nil || w.ctx.Err() != nil {
		return
	}
	left := slices.DeleteFunc(batch, func(a *awaited) bool { return len(a.missing) == 0 })
	code := connect.CodeOf(err)
	if len(left) > 1 && (code == connect.CodeNotFound || code == connect.CodeInvalidArgument) {
		// One run that is not there must not spoil those that happened to be awaited with it.
		w.stop()
		for _, half := range [][]*awaited{left[:len(left)/2], left[len(left)/2:]} {
			c.streams.Go(func() { c.serveAwaits(half, func() {}) })
		}
		return
	}
	for _, a := range left {
		w.finish(a, err)
	}
}

// waiters holds a context that ends with the client, and when each caller of a batch has its runs, or has gone.
type waiters struct {
	ctx    context.Context
	cancel context.CancelFunc
	left   atomic.Int64
	stops  map[*awaited]func() bool
}

func newWaiters(alive context.Context, batch []*awaited) *waiters {
	w := &waiters{stops: make(map[*awaited]func() bool, len(batch))}
	w.ctx, w.cancel = context.WithCancel(alive)
	w.left.Store(int64(len(batch)))
	for _, a := range batch {
		w.stops[a] = context.AfterFunc(a.ctx, w.leave)
	}
	return w
}

func (w *waiters) leave() {
	if w.left.Add(-1) == 0 {
		w.cancel()
	}
}

// finish answers a caller, unless it has gone.
func (w *waiters) finish(a *awaited, err error) {
	if !w.stops[a]() {
		return
	}
	a.err = err
	close(a.done)
	w.leave()
}

// stop lets the callers go, for another to serve them.
func (w *waiters) stop() {
	for _, stop := range w.stops {
		stop()
	}
}

// awaitAll calls each once for every missing run, when it is final, and takes it off missing. A broken stream is opened again. opened, unless it is nil, is
// called whenever a stream is open, or did not open.
func (c *Client) awaitAll(ctx context.Context, parent *runsv1.ParentAssignment, missing map[string]bool, opened func(), each func(*runsv1.Run)) error {
	for failures := 0; len(missing) > 0; {
		req := &runsv1.AwaitRunsRequest{Parent: parent}
		for id := range missing {
			if len(req.RunIds) < maxBatchItems {
				req.RunIds = append(req.RunIds, id)
			}
		}
		got, err := c.awaitOnce(ctx, req, missing, opened, each)
		if ctx.Err() != nil && len(missing) > 0 {
			return context.Cause(ctx)
		}
		if _, timed := ctx.Deadline(); timed && connect.CodeOf(err) == connect.CodeDeadlineExceeded {
			// The server keeps the same deadline, and its clock may be a little ahead.
			return context.DeadlineExceeded
		}
		if got {
			failures = 0
		}
		if err != nil && !transient(err) {
			return err
		}
		if !got && len(missing) > 0 {
			pause(ctx, c.cfg.backoff.after(failures))
			failures++
		}
	}
	return nil
}

// awaitOnce reads one stream to its end and says whether it brought a run.
func (c *Client) awaitOnce(
	ctx context.Context, req *runsv1.AwaitRunsRequest, missing map[string]bool, opened func(), each func(*runsv1.Run),
) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	// The server sends something at once, so that this returns.
	stream, err := c.runs.AwaitRuns(ctx, req)
	if opened != nil {
		opened()
	}
	if err != nil {
		cancel()
		return false, err
	}
	defer closeStream(cancel, stream)
	got := false
	for stream.Receive() {
		for _, final := range stream.Msg().GetRuns() {
			if missing[final.GetId()] {
				delete(missing, final.GetId())
				got = true
				each(final)
			}
		}
		if len(missing) == 0 {
			return got, nil
		}
	}
	return got, stream.Err()
}

// closeStream ends a stream that may still be open: without the cancel, Close would wait for the rest of it.
func closeStream[Msg any](cancel context.CancelFunc, stream *connect.ServerStreamForClient[Msg]) {
	cancel()
	// What Close reports is the cancel just made.
	_ = stream.Close()
}
