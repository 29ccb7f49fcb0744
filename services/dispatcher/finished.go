package dispatcher

import (
	"sync"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

const (
	// rememberFor is how long late log lines of an ended assignment are accepted.
	rememberFor = 10 * time.Minute
	// rememberMost is how many ended assignments are remembered for that; beyond it the oldest go first.
	rememberMost = 100_000
)

// finished remembers ended assignments for a while, so that the last lines of a task's log still find their place.
type finished struct {
	mu      sync.Mutex
	entries map[finishedKey]*assignment
	order   []finishedEntry // a queue: oldest first, from head on
	head    int
}

type finishedKey struct {
	tenant     int64
	worker, id flow.ID
}

type finishedEntry struct {
	key finishedKey
	at  time.Time
}

func newFinished() *finished { return &finished{entries: make(map[finishedKey]*assignment)} }

func (f *finished) add(w *worker, a *assignment, now time.Time) {
	if !a.proven {
		return // Only the worker says that it had this one.
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := finishedKey{w.tenant, w.id, a.id}
	if f.entries[key] == nil {
		f.order = append(f.order, finishedEntry{key, now})
	}
	f.entries[key] = a
	f.trim(now)
}

func (f *finished) get(w *worker, id flow.ID) *assignment {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries[finishedKey{w.tenant, w.id, id}]
}

// expire drops what is too old.
func (f *finished) expire(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trim(now)
}

func (f *finished) trim(now time.Time) {
	for f.head < len(f.order) && (len(f.order)-f.head > rememberMost || now.Sub(f.order[f.head].at) > rememberFor) {
		delete(f.entries, f.order[f.head].key)
		f.head++
	}
	if f.head > len(f.order)/2 {
		f.order = append([]finishedEntry(nil), f.order[f.head:]...)
		f.head = 0
	}
}
