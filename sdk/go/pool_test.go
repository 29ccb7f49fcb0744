package tenon

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// However many functions wait for each other, all begin; afterwards only as many goroutines are kept as may idle.
func TestPoolBeginsEveryFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 500
		p := newPool(10)
		gate := make(chan struct{})
		var begun atomic.Int64
		for round := range 3 {
			for range n {
				p.run(func() {
					begun.Add(1)
					<-gate
				})
			}
			synctest.Wait()
			if got, want := begun.Load(), int64((round+1)*n); got != want {
				t.Fatalf("%d functions have begun, want %d", got, want)
			}
			for range n {
				gate <- struct{}{}
			}
			synctest.Wait()
			p.mu.Lock()
			if p.idle != 10 || p.coming != 0 || len(p.waiting) != 0 {
				t.Errorf("%d idle, %d coming, %d waiting; want 10 idle only", p.idle, p.coming, len(p.waiting))
			}
			p.mu.Unlock()
		}
		p.close(true)
	})
}

// Short functions that come in a crowd share goroutines, and one that ends its goroutine takes nobody along.
func TestPoolSharesGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(10)
		var done sync.WaitGroup
		var ran atomic.Int64
		for i := range 1000 {
			done.Add(1)
			p.run(func() {
				defer done.Done()
				ran.Add(1)
				if i%10 == 0 {
					runtime.Goexit()
				}
			})
		}
		done.Wait()
		synctest.Wait()
		if ran.Load() != 1000 {
			t.Errorf("%d functions ran, want 1000", ran.Load())
		}
		p.close(true)
	})
}
