package model

import (
	"strings"
	"testing"
)

// counter counts up to 3, where it can go round; a fault takes it to a place of its own.
func counter(trap bool) protocol[int] {
	return protocol[int]{
		starts: []int{0},
		steps: func(n int, offer func(a action, c certainty, next int)) {
			switch {
			case n == 9 && trap: // nothing goes on from here
			case n == 9:
				offer(act("recover"), sure, 0)
			default:
				offer(act("count to %d", uint8((n+1)%4)), sure, (n+1)%4)
				if n == 1 {
					offer(act("fall"), chance, 9)
				}
			}
		},
		wrong:   func(int) string { return "" },
		settled: func(n int) bool { return n == 3 },
	}
}

func TestExploreVisitsEveryStateOnce(t *testing.T) {
	t.Parallel()
	if r := explore(counter(false), 100); r.violation != "" || r.states != 5 || r.steps != 6 || r.depth != 3 {
		t.Errorf("found %+v", r)
	}
}

func TestExploreFindsWhereNothingGoesOn(t *testing.T) {
	t.Parallel()
	r := explore(counter(true), 100)
	if want := "count to 1,fall"; r.violation == "" || strings.Join(r.trace, ",") != want {
		t.Errorf("found %q by %v, want the way %q", r.violation, r.trace, want)
	}
}

// A fault that would be the way out is none: it may never happen.
func TestExploreDoesNotCountOnChance(t *testing.T) {
	t.Parallel()
	p := counter(false)
	p.settled = func(n int) bool { return n == 9 }
	if r := explore(p, 100); r.violation == "" || len(r.trace) != 0 {
		t.Errorf("found %+v, want that the start leads nowhere", r)
	}
}

func TestExploreFindsTheShortestWay(t *testing.T) {
	t.Parallel()
	p := counter(false)
	p.wrong = func(n int) string {
		if n >= 2 {
			return "too high"
		}
		return ""
	}
	if r := explore(p, 100); r.violation != "too high" || len(r.trace) != 2 {
		t.Errorf("found %+v", r)
	}
}

func TestExploreSaysThatItIsCut(t *testing.T) {
	t.Parallel()
	if r := explore(counter(false), 2); !r.cut {
		t.Errorf("found %+v within 2 states", r)
	}
}
