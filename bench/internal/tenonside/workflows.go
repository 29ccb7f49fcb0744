// Package tenonside is Tenon in the bench: the workflows, the process that works them with the SDK, and the process that triggers them. Only the
// bench's scenarios and its program import it.
package tenonside

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/tenon-run/tenon/bench/internal/load"

	tenon "github.com/tenon-run/tenon/sdk/go"
)

// The workflows' names.
const (
	Noop   = "noop"
	Chain  = "chain3"
	Fanout = "fanout"
	// Stubborn fails, and is tried again after a day.
	Stubborn = "stubborn"
)

// input is what every workflow is given.
type input struct {
	// Num comes back in the result, so that results can be told right from wrong.
	Num int64 `json:"num"`
	// Sent is when the client's call was due, in nanoseconds since 1970; 0 where nobody measures the start. Both processes read one clock.
	Sent int64 `json:"sent,omitempty"`
	// Children is how many a fan-out starts.
	Children int `json:"children,omitempty"`
	// Pad makes the input as large as somebody wants it.
	Pad string `json:"pad,omitempty"`
}

const day = 24 * time.Hour

// chainSteps is what the chain adds to its number, one in each task.
const chainSteps = 3

// fanoutResult is the sum of the children's results.
func fanoutResult(in input) int64 {
	n := int64(in.Children)
	return n*in.Num + n*(n-1)/2
}

// workflows makes the definitions. started is told of each start of a task's code.
func workflows(started func(input)) []tenon.Definition {
	noop := tenon.NewTask(Noop, func(_ tenon.Context, in input) (int64, error) {
		started(in)
		return in.Num, nil
	})
	chain := tenon.NewWorkflow[input, int64](Chain)
	first := tenon.AddTask(chain, "first", func(_ tenon.Context, in input) (int64, error) {
		started(in)
		return in.Num + 1, nil
	})
	next := func(parent *tenon.Task[int64]) func(tenon.Context, input) (int64, error) {
		return func(ctx tenon.Context, _ input) (int64, error) {
			n, err := tenon.ParentOutput(ctx, parent)
			return n + 1, err
		}
	}
	second := tenon.AddTask(chain, "second", next(first), tenon.WithParents(first))
	tenon.AddTask(chain, "third", next(second), tenon.WithParents(second))
	fanout := tenon.NewTask(Fanout, func(ctx tenon.Context, in input) (int64, error) {
		children := make([]tenon.Child[input], in.Children)
		for i := range children {
			children[i] = tenon.Child[input]{Key: strconv.Itoa(i), Input: input{Num: in.Num + int64(i)}}
		}
		outs, err := tenon.Children(ctx, noop, children)
		if err != nil {
			return 0, fmt.Errorf("children: %w", err)
		}
		var sum int64
		for _, out := range outs {
			sum += out
		}
		return sum, nil
	})
	stubborn := tenon.NewTask(Stubborn, func(tenon.Context, input) (int64, error) {
		return 0, tenon.RetryAfter(errors.New("not today"), day)
	}, tenon.WithRetries(1), tenon.WithBackoff(day, 1, day))
	return []tenon.Definition{noop, chain, fanout, stubborn}
}

// starts counts what has started and notes how long it took, for those who ask.
type starts struct {
	samples load.Samples
	count   counter
	gap     gaps
}

func (s *starts) note(in input) {
	if in.Sent != 0 {
		s.samples.Add(time.Since(time.Unix(0, in.Sent)))
	}
	s.count.add()
	s.gap.note(time.Now())
}

// Gap is a stretch of time without a start.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Length of the gap.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// gaps finds the longest stretch between two starts.
type gaps struct {
	mu      sync.Mutex
	last    time.Time
	longest Gap
}

func (g *gaps) note(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.extend(now)
	g.last = now
}

func (g *gaps) extend(now time.Time) {
	if gap := (Gap{g.last, now}); !g.last.IsZero() && gap.Length() > g.longest.Length() {
		g.longest = gap
	}
}

// take gives the longest gap, one that still lasts included, and begins anew with it.
func (g *gaps) take(now time.Time) Gap {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.extend(now)
	out := g.longest
	g.longest = Gap{}
	return out
}
