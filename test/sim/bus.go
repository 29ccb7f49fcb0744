package sim

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/lease"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// link is one direction between two ends; messages on it keep their order unless the world reorders.
type link struct{ from, to string }

// travel lets a message travel.
func (w *world) travel(from, to string, target *process, what string, do func()) {
	d := w.between(50, 400)
	if w.once(Delay, 12) {
		d = w.between(millisecond, 3*second)
	}
	at := w.now + d
	if key := (link{from, to}); !w.once(Reorder, 4) {
		at = max(at, w.links[key])
		w.links[key] = at
	}
	w.after(at-w.now, target, what, do)
}

// port is a scheduler's end of the bus.
type port struct{ s *scheduling }

type noSubscription struct{}

func (noSubscription) Stop() {}

// Serve is answered by the Drive itself, which knows what it serves.
func (p port) Serve(string, bus.Handler) (bus.Subscription, error) { return noSubscription{}, nil }

// Subscribe hears nothing: the world tells the keeper by itself.
func (p port) Subscribe(string, func(bus.Msg)) (bus.Subscription, error) {
	return noSubscription{}, nil
}

// Request is never made by an owner.
func (p port) Request(context.Context, string, []byte) ([]byte, error) { return nil, errNobody }

// Publish sends what an owner lets out.
func (p port) Publish(subject string, data []byte) error {
	w, s := p.s.w, p.s
	if s.cut {
		return nil
	}
	var order busv1.DispatcherOrder
	switch subject {
	case subjectWanted:
		if w.broken == NoCensus {
			return nil
		}
		var wanted busv1.SessionsWanted
		if err := proto.Unmarshal(data, &wanted); err != nil {
			return err
		}
		for _, d := range w.dispatchers {
			w.publish(s.name, d.name, &d.process, "sessions wanted", func() { d.sessionsWanted(wanted.GetShard(), wanted.GetEpoch()) })
		}
		w.publish(s.name, "client", nil, "sessions wanted", func() { w.client.directory.moved(wanted.GetShard(), wanted.GetEpoch()) })
	case subjectFree:
		for _, other := range w.schedulers {
			w.publish(s.name, other.name, &other.process, "shards free", func() { other.round(false) })
		}
	default:
		for _, d := range w.dispatchers {
			if subject != "tenon.dispatcher."+d.instance() || d.dead {
				continue
			}
			if err := proto.Unmarshal(data, &order); err != nil {
				return err
			}
			w.check.ordered(&order)
			w.publish(s.name, d.name, &d.process, "order", func() { d.order(&order) })
		}
	}
	return nil
}

const (
	subjectWanted = "tenon.sessions.wanted"
	subjectFree   = "tenon.shards.free"
)

func (w *world) publish(from, to string, target *process, what string, do func()) {
	if w.once(Lose, 10) || w.isCut(target) {
		w.notef("the bus loses %s from %s to %s", what, from, to)
		return
	}
	w.travel(from, to, target, what, do)
}

// isCut tells whether a process is a dispatcher that has lost the bus.
func (w *world) isCut(p *process) bool {
	return slices.ContainsFunc(w.dispatchers, func(d *dispatcher) bool { return d.cut && &d.process == p })
}

// directory is lease.Directory: what a process believes of the owners.
type directory struct {
	tenants map[int64]int32
	epochs  map[int32]int64
	tries   []*try
}

func newDirectory() *directory {
	return &directory{tenants: make(map[int64]int32), epochs: make(map[int32]int64)}
}

// shard is where a tenant is, as far as is known here.
func (d *directory) shard(w *world, tenant int64) int32 {
	shard, known := d.tenants[tenant]
	if !known {
		shard = w.shardOf(tenant)
		d.tenants[tenant] = shard
	}
	return shard
}

func (d *directory) moved(shard int32, epoch int64) {
	d.epochs[shard] = max(d.epochs[shard], epoch)
	open := d.tries
	d.tries = nil
	for _, t := range open {
		if t.shard == shard && t.epoch < epoch {
			t.end(nil, errMoved)
		} else if !t.over {
			d.tries = append(d.tries, t)
		}
	}
}

var errMoved = fault.Unavailable(lease.ReasonOwnerMoved, "the shard has a new owner")

// call is one request of a dispatcher or a client to the owner of a tenant, tried as lease.Caller does.
type call struct {
	w       *world
	from    *process // nil: a client
	name    string
	dir     *directory
	tenant  int64
	req     *busv1.ShardRequest
	until   int64
	pause   int64
	done    func(reply *busv1.ShardReply, epoch int64, err error)
	stopped func() bool // the caller no longer wants an answer
	away    *bool       // the caller has lost the bus; nil: it never does
	once    bool        // to the present owner alone
}

// cut tells whether what the caller sends now is lost.
func (c *call) cut() bool { return c.away != nil && *c.away }

// try is one sending of it.
type try struct {
	*call
	shard int32
	epoch int64
	over  bool
	life  int // of the sender
}

const (
	oneTry      = 5 * second
	callTimeout = 20 * second
	forEver     = 1 << 60
)

func (c *call) start() {
	c.pause = 5 * millisecond
	c.req.TenantId = c.tenant
	c.send()
}

func (c *call) send() {
	if c.stopped != nil && c.stopped() {
		return
	}
	w := c.w
	t := &try{call: c, shard: c.dir.shard(w, c.tenant)}
	epoch, known := c.dir.epochs[t.shard]
	if !known {
		epoch = w.store.leases[t.shard].epoch
		c.dir.epochs[t.shard] = epoch
	}
	t.epoch = epoch
	if c.from != nil {
		t.life = c.from.life
	}
	c.dir.tries = append(c.dir.tries, t)
	data, err := proto.Marshal(c.req)
	if err != nil {
		panic(err)
	}
	patience := min(oneTry, c.until-w.now)
	if c.req.GetAwait() != nil {
		patience = c.until - w.now
	}
	if patience < forEver/2 {
		w.after(patience, c.from, "", func() { t.end(nil, fault.New(fault.CodeDeadlineExceeded, "BUS_TIMEOUT", "no answer in time")) })
	}
	fresh := slices.ContainsFunc(c.req.GetTrigger().GetRuns(), (*busv1.TriggerRun).GetFresh)
	times := 1
	if !fresh && c.req.GetAwait() == nil && w.once(Double, 10) { // a first sending is first, and the newest of two awaits gets the answer
		times = 2
	}
	for range times {
		if w.once(Lose, 12) || c.cut() {
			continue
		}
		w.travel(c.name, "owner", nil, "request", func() {
			if fresh && t.over {
				return // it would not be the first any more
			}
			t.arrive(data)
		})
	}
}

// arrive finds who serves the shard under that epoch.
func (t *try) arrive(data []byte) {
	w := t.w
	for _, s := range w.schedulers {
		if s.dead || s.cut || !s.serves(t.shard, t.epoch) {
			continue
		}
		w.after(0, &s.process, "", func() {
			served := s.drive.Request(t.shard, t.epoch, data, func(reply []byte, err error) {
				if s.cut || t.cut() || w.once(Lose, 12) {
					return
				}
				w.travel(s.name, t.name, t.from, "answer", func() { t.end(reply, err) })
			})
			if !served {
				t.end(nil, fault.Unavailable(lease.ReasonNotOwner, "nobody serves it any more"))
			}
			s.settle()
		})
		return
	}
	w.after(100, t.from, "", func() { t.end(nil, fault.Unavailable(bus.ReasonNoResponder, "nobody serves it")) })
}

// end takes a try's answer, or tries again.
func (t *try) end(data []byte, err error) {
	if t.over || t.from != nil && t.life != t.from.life { // who called has died; what stands in its place knows nothing of it
		return
	}
	t.over = true
	c, w := t.call, t.w
	for i, other := range c.dir.tries {
		if other == t {
			c.dir.tries = append(c.dir.tries[:i:i], c.dir.tries[i+1:]...)
			break
		}
	}
	if err == nil {
		reply := new(busv1.ShardReply)
		if err := proto.Unmarshal(data, reply); err != nil {
			panic(err)
		}
		c.done(reply, t.epoch, nil)
		return
	}
	if c.dir.epochs[t.shard] <= t.epoch {
		delete(c.dir.epochs, t.shard)
	}
	if fault.HasReason(err, lease.ReasonNotOwner) {
		delete(c.dir.tenants, c.tenant)
	}
	if c.req.GetReplay() != nil && !fault.HasReason(err, bus.ReasonNoResponder) && !fault.HasReason(err, lease.ReasonNotOwner) {
		c.done(nil, 0, err)
		return
	}
	if c.once {
		c.done(nil, 0, err)
		return
	}
	for _, run := range c.req.GetTrigger().GetRuns() {
		run.Fresh = false
	}
	if code := fault.Of(err).Code; w.now >= c.until || code != fault.CodeUnavailable && code != fault.CodeDeadlineExceeded {
		c.done(nil, 0, err)
		return
	}
	wait := c.pause
	if err == errMoved { //nolint:errorlint // the very value
		wait = 0
	} else {
		c.pause = min(2*c.pause, 200*millisecond)
	}
	w.after(wait, c.from, "", c.send)
}
