package scheduler

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// dispatchers are those that have opened sessions with this owner. A dispatcher that dies tells nobody; so the keeper asks, as it asks other schedulers.
type dispatchers struct {
	mu     sync.Mutex
	silent map[string]int // questions in a row that one left unanswered
}

// opened notes who opens sessions among the inputs.
func (d *dispatchers) opened(inputs []engine.Input) {
	for _, in := range inputs {
		if open, ok := in.(*engine.OpenSession); ok {
			d.mu.Lock()
			if _, known := d.silent[open.Dispatcher]; !known {
				d.silent[open.Dispatcher] = 0
			}
			d.mu.Unlock()
		}
	}
}

func (d *dispatchers) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.silent))
}

// heard takes an answer in, or its absence, and reports whether there have been enough of those to count the dispatcher as gone. It is forgotten then, until
// it opens a session again.
func (d *dispatchers) heard(name string, silent bool) (gone bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !silent {
		d.silent[name] = 0
		return false
	}
	if d.silent[name]++; d.silent[name] < goneAfter {
		return false
	}
	delete(d.silent, name)
	return true
}

// askDispatchers asks the dispatchers whether they live, and lets the owner's loop know of one that does not.
func (k *keeper) askDispatchers(ctx context.Context) {
	if k.members == nil {
		return
	}
	for _, name := range k.dispatchers.names() {
		if !k.dispatchers.heard(name, k.members.Gone(ctx, name)) {
			continue
		}
		k.log.Warn("scheduler: nobody answers for a dispatcher, its sessions count as lost", "dispatcher", name)
		select {
		case k.goneDispatchers <- name:
		case <-ctx.Done():
			return
		}
	}
}

// loseDispatcher tells every shard.
func (o *owner) loseDispatcher(name string) {
	for _, s := range o.sorted() {
		if !s.leaving {
			o.step(s, []engine.Input{&engine.LoseDispatcher{Dispatcher: name}})
		}
	}
}
