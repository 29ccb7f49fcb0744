package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// certainty says whether an action that is possible comes to pass in the end.
type certainty bool

const (
	// sure actions happen if they stay possible: a message that arrives, a timer, code that ends.
	sure certainty = true
	// chance actions may never happen: faults, and what people choose.
	chance certainty = false
)

// action names a step; the numbers tell which one of its kind it is, as far as the name has places for them.
type action struct {
	name string
	args [3]uint8
}

// act names an action. Its name is only made into text when a trace is printed.
func act(name string, args ...uint8) action {
	a := action{name: name}
	copy(a.args[:], args)
	return a
}

func (a action) String() string {
	args := make([]any, strings.Count(a.name, "%d"))
	for i := range args {
		args[i] = a.args[i]
	}
	return fmt.Sprintf(a.name, args...)
}

// protocol is a model: its states, what leads from one to the next, and what must hold.
type protocol[S comparable] struct {
	starts []S
	// steps offers every action that is possible in a state, with the state after it.
	steps func(s S, offer func(a action, c certainty, next S))
	// wrong says which invariant a state breaks; empty: none.
	wrong func(s S) string
	// settled tells that a state is a good end. From every reachable state one must be reachable by sure actions alone: then every fair run gets there,
	// whatever went wrong before. Nil: not asked.
	settled func(s S) bool
	// show describes a state for a trace. Nil: only actions are printed.
	show func(s S) string
}

// result is what an exploration found.
type result struct {
	states, steps int
	depth         int
	violation     string   // empty: none
	trace         []string // the shortest way to the violation
	cut           bool     // there are more states than the limit
}

func (r result) String() string {
	return fmt.Sprintf("%d states, %d steps, depth %d", r.states, r.steps, r.depth)
}

// exploration holds the states found so far, in the order of their distance from a start.
type exploration[S comparable] struct {
	protocol[S]

	states []S
	from   []int32 // which state a state was first reached from; -1: a start
	depth  []int32
	// The states by their hash, chained where they share it: a map of large keys would hold each state twice.
	seed  maphash.Seed
	known map[uint64]int32
	next  []int32
	// The sure steps, for the way back from the good ends.
	sureFrom, sureTo []int32
	steps            int
}

// explore visits every state breadth first, at most limit of them, and stops at the first that breaks an invariant.
func explore[S comparable](p protocol[S], limit int) result {
	x := &exploration[S]{protocol: p, seed: maphash.MakeSeed(), known: make(map[uint64]int32)}
	for _, s := range p.starts {
		x.visit(s, -1)
	}
	for at := 0; at < len(x.states); at++ {
		if why := x.wrong(x.states[at]); why != "" {
			return x.fail(at, why)
		}
		if len(x.states) > limit {
			r := x.result()
			r.cut = true
			return r
		}
		x.expand(at)
	}
	if x.settled != nil {
		if at := x.stuck(); at >= 0 {
			return x.fail(at, "from here no good end is reached any more, whatever arrives or falls due")
		}
	}
	return x.result()
}

func (x *exploration[S]) expand(at int) {
	x.protocol.steps(x.states[at], func(_ action, c certainty, next S) {
		x.steps++
		to := x.visit(next, int32(at))
		if c == sure && x.settled != nil && int(to) != at {
			x.sureFrom = append(x.sureFrom, int32(at))
			x.sureTo = append(x.sureTo, to)
		}
	})
}

func (x *exploration[S]) visit(s S, from int32) int32 {
	hash := maphash.Comparable(x.seed, s)
	first, ok := x.known[hash]
	if !ok {
		first = -1
	}
	for at := first; at >= 0; at = x.next[at] {
		if x.states[at] == s {
			return at
		}
	}
	at := int32(len(x.states))
	x.known[hash] = at
	x.next = append(x.next, first)
	x.states = append(x.states, s)
	x.from = append(x.from, from)
	depth := int32(0)
	if from >= 0 {
		depth = x.depth[from] + 1
	}
	x.depth = append(x.depth, depth)
	return at
}

// stuck finds the nearest state from which sure actions lead to no good end; -1: there is none.
func (x *exploration[S]) stuck() int {
	// The steps into each state, as ranges of one list.
	begin := make([]int32, len(x.states)+1)
	for _, to := range x.sureTo {
		begin[to+1]++
	}
	for i := range x.states {
		begin[i+1] += begin[i]
	}
	into := make([]int32, len(x.sureTo))
	next := append([]int32(nil), begin...)
	for i, to := range x.sureTo {
		into[next[to]] = x.sureFrom[i]
		next[to]++
	}
	saved := make([]bool, len(x.states))
	var queue []int32
	for i, s := range x.states {
		if x.settled(s) {
			saved[i] = true
			queue = append(queue, int32(i))
		}
	}
	for len(queue) > 0 {
		at := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, before := range into[begin[at]:begin[at+1]] {
			if !saved[before] {
				saved[before] = true
				queue = append(queue, before)
			}
		}
	}
	for i, ok := range saved {
		if !ok {
			return i
		}
	}
	return -1
}

func (x *exploration[S]) result() result {
	return result{states: len(x.states), steps: x.steps, depth: int(x.depth[len(x.depth)-1])}
}

// fail tells how a state was reached. The actions are found by taking each step once more.
func (x *exploration[S]) fail(at int, why string) result {
	r := x.result()
	r.violation = why
	var way []int32
	for i := int32(at); i >= 0; i = x.from[i] {
		way = append(way, i)
	}
	for i, at := range slices.Backward(way) {
		line := ""
		if i < len(way)-1 {
			x.protocol.steps(x.states[way[i+1]], func(a action, _ certainty, next S) {
				if line == "" && next == x.states[at] {
					line = a.String()
				}
			})
		}
		if x.show != nil {
			line = strings.TrimSpace(line + "\n      " + x.show(x.states[at]))
		}
		if line != "" {
			r.trace = append(r.trace, line)
		}
	}
	return r
}

// report is a violation with its trace, for a test's message.
func (r result) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)", r.violation, r)
	for i, line := range r.trace {
		fmt.Fprintf(&b, "\n%4d  %s", i+1, line)
	}
	return b.String()
}
