// Package load makes calls in a pattern: a closed loop of so many at a time, or one at every tick whatever becomes of the earlier ones. Tenon's
// client, the peer and the floor use the same code, so that they get the same load.
package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Closed makes n calls, numbered from 0, at most inFlight at a time, and ends with the first error.
func Closed(ctx context.Context, n, inFlight int, call func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var callers sync.WaitGroup
	for range min(n, inFlight) {
		callers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := call(ctx, i); err != nil {
					cancel(fmt.Errorf("call %d: %w", i, err))
					return
				}
			}
		})
	}
	callers.Wait()
	return context.Cause(ctx)
}

// Open begins n calls, numbered from 0, one at each tick of perSecond a second, and waits for all of them. A late tick is made up for at once,
// so that a pause of the machine does not lower the rate. Each call is told when it was due: a latency is counted from there and not from when
// the call got its turn, or a pause of the machine would hide in the calls that it kept from beginning (coordinated omission). It begins no further
// calls after an error.
func Open(ctx context.Context, n int, perSecond float64, call func(ctx context.Context, i int, due time.Time) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var calls sync.WaitGroup
	every := time.Duration(float64(time.Second) / perSecond)
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		due := begin.Add(time.Duration(i) * every)
		if sleepUntil(ctx, timer, due) != nil {
			break
		}
		calls.Go(func() {
			if err := call(ctx, i, due); err != nil {
				cancel(fmt.Errorf("call %d: %w", i, err))
			}
		})
	}
	calls.Wait()
	return context.Cause(ctx)
}

// sleepUntil returns at an instant, or with an error when ctx ends. Go's timers may be a millisecond late, which is as long as what is measured: the last
// two are slept by the kernel.
func sleepUntil(ctx context.Context, timer *time.Timer, due time.Time) error {
	const coarse = 2 * time.Millisecond
	for _, early := range []time.Duration{coarse, 0} {
		if left := time.Until(due) - early; left > 0 {
			timer.Reset(left)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if left := time.Until(due); left > 0 && early > 0 {
			nap(left)
		}
	}
	return ctx.Err()
}

// Samples gathers durations from any number of goroutines.
type Samples struct {
	mu   sync.Mutex
	list []time.Duration
}

// Add notes one duration.
func (s *Samples) Add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, d)
}

// Take returns what was gathered and begins anew.
func (s *Samples) Take() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.list
	s.list = nil
	return out
}

// Len is how many were gathered.
func (s *Samples) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}
