package load_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tenon-run/tenon/bench/internal/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClosedMakesEachCallOnceAndKeepsTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, most = 100, 7
		var seen sync.Map
		var now, highest atomic.Int64
		err := load.Closed(t.Context(), n, most, func(_ context.Context, i int) error {
			if _, twice := seen.LoadOrStore(i, true); twice {
				t.Errorf("call %d was made twice", i)
			}
			for at := now.Add(1); ; {
				old := highest.Load()
				if at <= old || highest.CompareAndSwap(old, at) {
					break
				}
			}
			time.Sleep(time.Second) // the bubble's clock
			now.Add(-1)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if _, ok := seen.Load(i); !ok {
				t.Errorf("call %d was not made", i)
			}
		}
		if highest.Load() != most {
			t.Errorf("%d calls at a time, want %d", highest.Load(), most)
		}
	})
}

func TestOpenKeepsTheRateWhateverTheCallsTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var samples load.Samples
		err := load.Open(t.Context(), 50, 100, func(_ context.Context, i int, due time.Time) error {
			at, want := time.Since(begin), time.Duration(i)*10*time.Millisecond
			if at != want || due.Sub(begin) != want {
				t.Errorf("call %d began after %s and was due after %s, want %s", i, at, due.Sub(begin), want)
			}
			time.Sleep(time.Minute)
			samples.Add(time.Minute)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if samples.Len() != 50 || len(samples.Take()) != 50 || samples.Len() != 0 {
			t.Error("samples are lost or kept")
		}
	})
}

func TestTheFirstErrorEndsTheLoad(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	fail := func(_ context.Context, i int) error {
		if i == 3 {
			return broken
		}
		return nil
	}
	if err := load.Closed(t.Context(), 1000, 2, fail); !errors.Is(err, broken) {
		t.Errorf("closed loop: %v", err)
	}
	late := func(ctx context.Context, i int, _ time.Time) error { return fail(ctx, i) }
	if err := load.Open(t.Context(), 1000, 1e6, late); !errors.Is(err, broken) {
		t.Errorf("open loop: %v", err)
	}
}
