package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	tenon "github.com/tenon-run/tenon/sdk/go"
	"github.com/tenon-run/tenon/test/history"
	"github.com/tenon-run/tenon/test/load"
)

const (
	batch = 20 // runs a call
	// Lanes each keep one batch going: a few all the time, many while a fault wants work in its victim's hands. Some more are kept for afterwards:
	// they wait for nothing that was under way at the strike.
	calmLanes, surgeLanes, freshLanes = 3, 18, 20
	// Tasks last that long, in milliseconds.
	leastMS, mostMS = 50, 500
)

// traffic keeps triggering until it is stopped, whatever happens to the server.
type traffic struct {
	recorder *history.Recorder
	cancel   context.CancelFunc
	lanes    sync.WaitGroup

	mu      sync.Mutex
	active  int
	changed chan struct{} // closed and made anew with active
	errs    []error
}

func startTraffic(ctx context.Context, api *tenon.Client, file string) (*traffic, error) {
	recorder, err := history.OpenRecorder(file)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &traffic{recorder: recorder, cancel: cancel, active: calmLanes, changed: make(chan struct{})}
	client := &load.Client{API: api, Recorder: recorder, Batch: batch, LeastMS: leastMS, MostMS: mostMS, Patient: true}
	for number := range freshLanes {
		t.lanes.Go(func() {
			for t.mayRun(ctx, number) {
				if err := client.Once(ctx); err != nil && ctx.Err() == nil {
					t.fail(err)
				}
			}
		})
	}
	return t, nil
}

// mayRun waits until a lane has its turn, and is false when there is none any more.
func (t *traffic) mayRun(ctx context.Context, number int) bool {
	for {
		t.mu.Lock()
		active, changed := t.active, t.changed
		t.mu.Unlock()
		switch {
		case ctx.Err() != nil || active == 0:
			return false
		case number < active:
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// use sets how many lanes run; none ends them all.
func (t *traffic) use(lanes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active = lanes
	close(t.changed)
	t.changed = make(chan struct{})
}

// fail notes what a client was told that it must not be told: everything that passes is sent again, by the SDK or by the load's client.
func (t *traffic) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, fmt.Errorf("%s: a client was told: %w", time.Now().Format(time.TimeOnly), err))
}

// failures gives what fail has noted, once.
func (t *traffic) failures() []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	errs := t.errs
	t.errs = nil
	return errs
}

// drain lets every lane finish its batch.
func (t *traffic) drain(ctx context.Context) error {
	t.use(0)
	done := make(chan struct{})
	go func() {
		t.lanes.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d acknowledged runs have no result: %w", len(t.recorder.Open()), context.Cause(ctx))
	}
}

func (t *traffic) stop() error {
	t.cancel()
	t.lanes.Wait()
	return errors.Join(append(t.failures(), t.recorder.Close())...)
}
