package scheduler

import (
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// lingerNotices is how long a tenant's notices are heard after the last watcher has gone: the next one often comes soon, and a subscription costs a
// round trip to NATS.
const lingerNotices = time.Minute

// notices hears what the owners say of runs, once for each tenant with watchers, and wakes those that watch them.
type notices struct {
	bus bus.Bus

	mu      sync.Mutex
	tenants map[int64]*heard
}

// heard is one tenant's subscription.
type heard struct {
	once  sync.Once
	err   error
	sub   bus.Subscription
	users int
	idle  time.Time

	mu       sync.Mutex
	watchers map[flow.ID][]*watcher
	recent   recent
}

// watcher wakes when one of its runs has changed. Notices are hints: whoever waits reads, and reads again now and then.
type watcher struct {
	notices  *notices
	tenant   int64
	ids      []flow.ID
	wake     chan struct{} // has room for one token
	endsOnly bool          // other changes do not wake it
	fresh    bool          // its run was made by the call that watches

	mu    sync.Mutex
	ended []flow.ID // runs that were said to be final
}

// watch hears of runs from its return on: of every change, or of their ends alone.
func (n *notices) watch(tenant int64, ids []flow.ID, endsOnly bool) (*watcher, error) {
	h, err := n.listen(tenant)
	if err != nil {
		return nil, err
	}
	w := &watcher{notices: n, tenant: tenant, ids: ids, wake: make(chan struct{}, 1), endsOnly: endsOnly}
	h.mu.Lock()
	for _, id := range ids {
		h.watchers[id] = append(h.watchers[id], w)
	}
	h.mu.Unlock()
	return w, nil
}

// listen joins a tenant's subscription; the caller leaves it.
func (n *notices) listen(tenant int64) (*heard, error) {
	h := n.join(tenant)
	h.once.Do(func() {
		h.sub, h.err = n.bus.Subscribe(subjectNotices+strconv.FormatInt(tenant, 10), h.hear)
	})
	if h.err != nil {
		n.leave(tenant, h)
		return nil, h.err
	}
	return h, nil
}

// join finds or makes a tenant's subscription, and ends those that nobody has used for a while.
func (n *notices) join(tenant int64) *heard {
	n.mu.Lock()
	h := n.tenants[tenant]
	var stale []*heard
	if h == nil {
		now := time.Now()
		for id, other := range n.tenants {
			if other.users == 0 && now.Sub(other.idle) > lingerNotices {
				stale = append(stale, other)
				delete(n.tenants, id)
			}
		}
		h = &heard{watchers: make(map[flow.ID][]*watcher)}
		n.tenants[tenant] = h
	}
	h.users++
	n.mu.Unlock()
	for _, other := range stale {
		other.sub.Stop()
	}
	return h
}

func (n *notices) leave(tenant int64, h *heard) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.users--
	h.idle = time.Now()
	if h.err != nil && n.tenants[tenant] == h {
		delete(n.tenants, tenant) // the next watcher tries anew
	}
}

// stop ends the watcher.
func (w *watcher) stop() {
	w.notices.mu.Lock()
	h := w.notices.tenants[w.tenant]
	w.notices.mu.Unlock()
	h.mu.Lock()
	for _, id := range w.ids {
		rest := h.watchers[id][:0]
		for _, other := range h.watchers[id] {
			if other != w {
				rest = append(rest, other)
			}
		}
		if len(rest) == 0 {
			delete(h.watchers, id)
		} else {
			h.watchers[id] = rest
		}
	}
	h.mu.Unlock()
	w.notices.leave(w.tenant, h)
}

// hear passes one message of the owner on.
func (h *heard) hear(m bus.Msg) {
	said := new(busv1.RunNotices)
	if proto.Unmarshal(m.Data, said) != nil {
		return // a hint at most is lost
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent.hear(said)
	if len(h.watchers) == 0 {
		return
	}
	for _, n := range said.GetRuns() {
		id, err := flow.IDFromBytes(n.GetRunId())
		if err != nil {
			continue
		}
		for _, w := range h.watchers[id] {
			w.tell(id, n.GetFinal())
		}
	}
}

func (w *watcher) tell(id flow.ID, final bool) {
	if !final && w.endsOnly {
		return
	}
	if final {
		w.mu.Lock()
		w.ended = append(w.ended, id)
		w.mu.Unlock()
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// takeEnded are the runs that were said to be final since it was last asked.
func (w *watcher) takeEnded() []flow.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.ended
	w.ended = nil
	return out
}
