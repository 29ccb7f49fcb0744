package sim

import (
	"context"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Totals tells what happened in many worlds.
type Totals struct {
	Seeds, Runs, Takes, Fences, Unknown int
	Violations                          []Result // by seed
}

// Campaign plays seeds from first on, several at a time, with a whole engine.
func Campaign(ctx context.Context, first uint64, seeds int) Totals {
	var (
		next atomic.Int64
		mu   sync.Mutex
		out  = Totals{Seeds: seeds}
		all  sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(seeds) || ctx.Err() != nil {
					return
				}
				r := Run(ctx, NewScenario(first+uint64(i)), Whole, false) //nolint:gosec // not negative
				mu.Lock()
				out.Runs, out.Takes, out.Fences, out.Unknown = out.Runs+r.Runs, out.Takes+r.Takes, out.Fences+r.Fences, out.Unknown+r.Unknown
				if r.Violation != "" {
					out.Violations = append(out.Violations, r)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.SortFunc(out.Violations, func(a, b Result) int { return int(int64(a.Scenario.Seed) - int64(b.Scenario.Seed)) }) //nolint:gosec // an order
	return out
}

// Catch plays seeds with a broken engine until the checker catches it, and tells with which result; ok is false when it never did.
func Catch(ctx context.Context, broken Broken, seeds int) (Result, bool) {
	for i := range seeds {
		if r := Run(ctx, NewScenario(broken.Seed()+uint64(i)), broken, false); r.Violation != "" { //nolint:gosec // not negative
			return r, true
		}
	}
	return Result{}, false
}

// promise is the first word of a violation after its instant: what was broken.
func promise(violation string) string {
	_, text, _ := strings.Cut(violation, ": ")
	text, _, _ = strings.Cut(text, ":")
	return text
}

// Shrink looks for a smaller world that breaks the same promise, and plays it with a trace.
func Shrink(ctx context.Context, r Result, broken Broken) Result {
	want := promise(r.Violation)
	best := r.Scenario
	try := func(sc Scenario) bool {
		if again := Run(ctx, sc, broken, false); again.Violation != "" && promise(again.Violation) == want {
			best = sc
			return true
		}
		return false
	}
	for smaller := true; smaller; {
		smaller = false
		for i := range bits.Len32(uint32(AllFaults)) {
			if sc := best; sc.Faults&(1<<i) != 0 {
				sc.Faults &^= 1 << i
				smaller = try(sc) || smaller
			}
		}
		for _, field := range []func(*Scenario) *int{
			func(s *Scenario) *int { return &s.Runs }, func(s *Scenario) *int { return &s.Seconds }, func(s *Scenario) *int { return &s.Plans },
			func(s *Scenario) *int { return &s.Tenants }, func(s *Scenario) *int { return &s.Shards }, func(s *Scenario) *int { return &s.Schedulers },
			func(s *Scenario) *int { return &s.Dispatchers }, func(s *Scenario) *int { return &s.Workers }, func(s *Scenario) *int { return &s.Slots },
		} {
			for _, part := range []int{2, 3, 4} {
				sc := best
				if n := field(&sc); *n > 1 {
					*n -= max(1, *n/part)
					if try(sc) {
						smaller = true
						break
					}
				}
			}
		}
	}
	return Run(ctx, best, broken, true)
}

// CatchSeeds is in how many worlds a broken engine must be caught.
const CatchSeeds = 400
