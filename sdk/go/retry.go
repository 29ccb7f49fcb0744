package tenon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// backoff is how long to wait between attempts of a call: drawn evenly from half to the whole of first * 2^n, at most most.
type backoff struct {
	first, most time.Duration
}

func (b backoff) after(failures int) time.Duration {
	d := b.most
	if failures < 20 {
		d = min(b.most, b.first<<failures)
	}
	if d < 2 {
		return d
	}
	return d/2 + rand.N(d/2)
}

// pause waits for d; it says false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retry repeats op while it fails in a way that may pass, until ctx ends. It gives op's last error, and what made it try again before that.
func retry(ctx context.Context, b backoff, op func() error) error {
	var before error
	for failures := 0; ; failures++ {
		err := op()
		switch {
		case err == nil:
			return nil
		case ctx.Err() == nil && transient(err) && pause(ctx, b.after(failures)):
			before = err
		case before != nil && ctx.Err() != nil:
			return fmt.Errorf("%w (the call before failed: %w)", err, before)
		default:
			return err
		}
	}
}

// gatherer sends items in batches that form by themselves: while as many calls as may be are under way, the next batch gathers. An idle gatherer has no
// goroutine.
type gatherer[T any] struct {
	maxCalls int // under way at a time
	maxItems int // of a batch
	maxSize  int // of a batch; an item above it goes alone
	size     func(T) int
	send     func([]T)

	mu      sync.Mutex
	pending []T
	calls   int // under way
	closed  bool
	senders sync.WaitGroup
}

// add hands items over; it says false when the gatherer is closed.
func (g *gatherer[T]) add(items ...T) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.pending = append(g.pending, items...)
	if g.calls < g.maxCalls && len(g.pending) > 0 {
		g.calls++
		g.senders.Go(g.run)
	}
	return true
}

func (g *gatherer[T]) run() {
	for {
		// Whoever was just woken, by the last batch's answers for example, and adds another item at once, belongs into this batch: without this a call
		// leaves with the first of them alone.
		runtime.Gosched()
		g.mu.Lock()
		batch := g.cut()
		if len(batch) == 0 {
			g.calls--
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		g.send(batch)
	}
}

// cut takes the next batch off the pending items: at least one item, then as many as the limits allow.
func (g *gatherer[T]) cut() []T {
	n, size := 0, 0
	for n < len(g.pending) && n < g.maxItems {
		size += g.size(g.pending[n])
		if n > 0 && size > g.maxSize {
			break
		}
		n++
	}
	batch := g.pending[:n:n]
	g.pending = g.pending[n:]
	if len(g.pending) == 0 {
		g.pending = nil
	}
	return batch
}

// close takes no more items and waits until those it has were handed to send.
func (g *gatherer[T]) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.senders.Wait()
}
