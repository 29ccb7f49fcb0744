package dispatcher

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// worker is one registered worker, as long as it is in touch. The fields before mu never change.
type worker struct {
	tenant  int64
	id      flow.ID
	actions []string
	queues  []string
	slots   int32

	steering  sync.Mutex       // taken before mu: what people want is read or written, and then taken over
	answering sync.Mutex       // taken before mu
	answers   bus.Subscription // tells other dispatchers that the session is here

	mu       sync.Mutex
	token    flow.ID // of the newest Listen, else of the registration
	number   int64   // of the newest session
	session  *session
	heard    time.Time // the last heartbeat or Listen
	draining bool      // said by the newest session
	wanted   int16     // by people; see the constants
	sent     map[flow.ID]*assignment
	touched  time.Time // the last call of any kind; long after it the worker is dropped from memory
}

// assignment is one that was sent to the worker, or that the worker has brought along, and that has not ended.
type assignment struct {
	id         flow.ID
	run        flow.ID
	taskNo     int32
	generation int32
	attempt    int32
	class      int16     // 0: not known yet
	brought    bool      // by the worker, from before this process: its references are not known here
	proven     bool      // ordered by an owner through this process, or found recorded in the database
	begun      time.Time // zero: the worker has not said that it started
	refs       []flow.ID
}

func (w *worker) publicID() string { return typeid.Format(typeid.Worker, w.id) }

// bring replaces the table by what the worker says it has. What it does not list is unknown to it, undelivered ones included.
// It returns what was taken out. w.mu is held.
func (w *worker) bring(held []*assignment) (dropped []*assignment) {
	listed := make(map[flow.ID]*assignment, len(held))
	for _, h := range held {
		known := w.sent[h.id]
		if known == nil {
			listed[h.id] = h
			continue
		}
		if known.begun.IsZero() {
			known.begun = h.begun
		}
		listed[h.id] = known
	}
	for id, a := range w.sent {
		if listed[id] == nil {
			dropped = append(dropped, a)
		}
	}
	w.sent = listed
	return dropped
}

// held lists the table for an owner, in a stable order. w.mu is held.
func (w *worker) held(now time.Time) []*busv1.HeldAssignment {
	list := make([]*busv1.HeldAssignment, 0, len(w.sent))
	for _, a := range w.sent {
		h := &busv1.HeldAssignment{
			AssignmentId: a.id[:], RunId: a.run[:], TaskNo: a.taskNo, Generation: a.generation, Attempt: a.attempt, Started: !a.begun.IsZero(),
		}
		if h.Started {
			h.Running = max(now.Sub(a.begun).Microseconds(), 0)
		}
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b *busv1.HeldAssignment) int { return bytes.Compare(a.AssignmentId, b.AssignmentId) })
	return list
}
