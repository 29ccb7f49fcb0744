package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// Subjects that the owner speaks on.
const (
	// SubjectSessionsWanted asks every dispatcher to attach a shard's sessions again.
	SubjectSessionsWanted = "tenon.sessions.wanted"
	subjectDispatcher     = "tenon.dispatcher."
	subjectNotices        = "tenon.notices."
)

const (
	mailboxSize  = 1024
	maxPerStep   = 2000  // inputs taken in before the commit gets its turn
	maxBatchRows = 20000 // changes gathered while a commit is under way, before the mailbox has to wait
	maxReads     = 6     // asks answered at a time
)

// shard is one owned shard: its engine and the epoch that its commits carry.
type shard struct {
	id       int32
	epoch    int64
	core     core
	sub      bus.Subscription
	nextWake int64
	leaving  bool // being handed over: takes nothing in any more
	settled  bool // everything was known of it when it began to leave
	dropped  bool
	notices  map[int64]int64 // messages of notices sent, by tenant
}

// envelope is a request on its way into the loop.
type envelope struct {
	shard  *shard
	inputs func(ref func(index int32) engine.Ref) []engine.Input
	call   *call
	ctx    context.Context // its caller's
	runs   int             // that it asks for anew
}

// call gathers the answers of one request's items.
type call struct {
	shard   *shard
	tenant  int64
	left    int
	replies []engine.Effect
	done    chan error
}

// owner runs the shards that this process owns. Its loop is the only goroutine that touches an engine.
type owner struct {
	outside

	cfg       Config
	log       *slog.Logger
	clock     clock
	mailbox   chan envelope
	loaded    chan answer
	leases    chan []lease.Lease
	taken     chan takenShard
	committed chan committed
	shards    map[int32]*shard
	calls     map[uint64]*call
	lastCall  uint64
	intake    intake
	pending   *batch
	inFlight  *batch
	work      sync.WaitGroup
	again     chan []int32
	retake    []int32 // dropped, to be taken again
	giveUp    chan []int32

	dispatchers     dispatchers
	goneDispatchers chan string

	leaving  int // shards that are being handed over
	ready    chan struct{}
	refusals int              // commits in a row that Postgres could not take for the moment
	pause    <-chan time.Time // until the next is tried; nil: none
}

type answer struct {
	shard *shard
	input []engine.Input
}

type takenShard struct {
	lease   lease.Lease
	tenants []int64
}

type committed struct {
	batch *batch
	err   error
}

func newOwner(cfg Config, ready chan struct{}) *owner {
	o := &owner{
		cfg: cfg, log: cfg.Log, clock: clock{wall: time.Now},
		mailbox: make(chan envelope, mailboxSize), loaded: make(chan answer, mailboxSize), leases: make(chan []lease.Lease), taken: make(chan takenShard),
		committed: make(chan committed, 1), shards: make(map[int32]*shard), calls: make(map[uint64]*call), pending: &batch{}, again: make(chan []int32),
		giveUp: make(chan []int32), dispatchers: dispatchers{silent: make(map[string]int)}, goneDispatchers: make(chan string), ready: ready,
	}
	o.outside = newPostgres(o)
	return o
}

// run owns shards until the context ends, then writes what is pending and gives the leases back.
func (o *owner) run(ctx context.Context) error {
	keeper, stopKeeper := context.WithCancel(ctx)
	defer o.work.Wait()
	defer stopKeeper()
	kept := make(chan struct{})
	o.work.Go(func() {
		defer close(kept)
		o.keepLeases(keeper)
	})
	for {
		wake := o.wakeTimer()
		mailbox := o.mailbox
		if o.pending.rows >= maxBatchRows {
			mailbox = nil // the commit has to catch up first
		}
		again := o.again
		if len(o.retake) == 0 {
			again = nil
		}
		select {
		case again <- o.retake:
			o.retake = nil
		case <-ctx.Done():
			stopKeeper()
			<-kept
			o.shutdown(context.WithoutCancel(ctx))
			return nil
		case e := <-mailbox:
			o.hearRequest(e)
			o.drainMailbox()
		case a := <-o.loaded:
			o.hear(a)
		case done := <-o.committed:
			o.afterCommit(keeper, done)
		case t := <-o.taken:
			o.own(t)
		case own := <-o.leases:
			o.keep(own)
		case shards := <-o.giveUp:
			o.handOver(shards)
		case name := <-o.goneDispatchers:
			o.loseDispatcher(name)
		case <-wake:
			o.wakeShards()
		case <-o.pause:
			o.pause = nil
		}
		o.startCommit(keeper)
		o.finishHandOver(keeper)
	}
}

// hear takes an answer to an ask in.
func (o *owner) hear(a answer) {
	if a.shard.dropped || a.shard.leaving {
		return
	}
	for _, in := range a.input {
		if loaded, ok := in.(*engine.TenantLoaded); ok && loaded.Elsewhere {
			o.refuse(loaded.Tenant, a.shard, notOwner(a.shard.id))
		}
	}
	o.step(a.shard, a.input)
}

// refuse answers the open calls of a tenant to a shard.
func (o *owner) refuse(tenant int64, s *shard, why error) {
	for id, c := range o.calls {
		if c.shard == s && c.tenant == tenant {
			delete(o.calls, id)
			c.done <- why
		}
	}
}

func (o *owner) wakeTimer() <-chan time.Time {
	next := o.nextWake()
	if next == 0 {
		return nil
	}
	return o.after(max(0, time.Duration(next-o.clock.now().UnixMicro())*time.Microsecond))
}

// nextWake is when the first engine wants to be woken; 0: never.
func (o *owner) nextWake() int64 {
	next := int64(0)
	for _, s := range o.shards {
		if s.nextWake > 0 && !s.leaving && (next == 0 || s.nextWake < next) {
			next = s.nextWake
		}
	}
	return next
}

func (o *owner) wakeShards() {
	now := o.clock.now().UnixMicro()
	for _, s := range o.sorted() {
		if s.nextWake > 0 && s.nextWake <= now && !s.leaving {
			o.step(s, nil)
		}
	}
}

func (o *owner) sorted() []*shard {
	out := make([]*shard, 0, len(o.shards))
	for _, s := range o.shards {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *shard) int { return int(a.id - b.id) })
	return out
}

// drainMailbox takes in what else has gathered, up to a bound, so that one commit carries it all.
func (o *owner) drainMailbox() {
	for range maxPerStep {
		if o.pending.rows >= maxBatchRows {
			return
		}
		select {
		case e := <-o.mailbox:
			o.hearRequest(e)
		default:
			return
		}
	}
}

// hearRequest takes a request in, now or with a later batch.
func (o *owner) hearRequest(e envelope) {
	if !o.keepBack(e) {
		o.takeIn(e)
	}
}

func (o *owner) takeIn(e envelope) {
	if e.shard.dropped || e.shard.leaving {
		e.call.done <- notOwner(e.shard.id)
		return
	}
	o.lastCall++
	id := o.lastCall
	inputs := e.inputs(func(index int32) engine.Ref { return engine.Ref{Call: id, Index: index} })
	e.call.left, e.call.replies = len(inputs), make([]engine.Effect, len(inputs))
	o.calls[id] = e.call
	o.dispatchers.opened(inputs)
	o.step(e.shard, inputs)
}

func notOwner(shard int32) error {
	return fault.Unavailable(lease.ReasonNotOwner, "shard %d has a new owner: ask again", shard)
}

// step runs the engine and adds what it wants to the pending batch. An engine that panics takes its shard down, and no other.
func (o *owner) step(s *shard, inputs []engine.Input) {
	defer func() {
		if r := recover(); r != nil {
			o.log.Error("scheduler: the engine of a shard failed and is loaded anew", "shard", s.id, "panic", fmt.Sprint(r))
			o.drop(s, fault.Internal(fmt.Errorf("engine: %v", r), "the scheduler met a fault of its own: try again"))
		}
	}()
	out := s.core.Step(o.clock.now(), inputs)
	s.nextWake = out.NextWake
	o.pending.add(s, out)
}

// startCommit hands the pending batch over when the connection is free: what gathers meanwhile is the next batch.
func (o *owner) startCommit(ctx context.Context) {
	o.admit()
	for o.inFlight == nil && o.pause == nil && len(o.pending.parts) > 0 {
		b := o.pending
		o.pending = &batch{}
		if b.rows == 0 {
			o.letOut(ctx, b)
		} else {
			o.inFlight = b
			o.begin(ctx, b)
		}
		o.admit()
	}
}

// afterCommit acts on the four kinds of outcome.
func (o *owner) afterCommit(ctx context.Context, done committed) {
	o.inFlight = nil
	var count *rowCountError
	kind := pg.Outcome(done.err)
	if kind != pg.KindTransient {
		o.refusals = 0
	}
	switch {
	case done.err == nil:
		o.letOut(ctx, done.batch)
		return
	case kind == pg.KindTransient:
		o.waitAndResubmit(done)
		return
	case kind == pg.KindFence:
		o.fenced(done)
		return
	case errors.As(done.err, &count):
		o.log.Error("scheduler: rows and memory differ, shards are loaded anew", "error", done.err)
	case kind == pg.KindData && len(done.batch.parts) > 1:
		o.log.Warn("scheduler: Postgres refused a value, shards commit one by one", "error", pg.Clean(done.err))
		o.oneByOne(ctx, done.batch)
		return
	default:
		o.log.Error("scheduler: commit of unknown or bad outcome, shards are owned anew", "error", pg.Clean(done.err), "outcome", kind.String())
	}
	for _, p := range done.batch.parts {
		o.drop(p.shard, fault.Unavailable("COMMIT_UNKNOWN", "the change may or may not have been stored: send the same call again"))
	}
}

// waitAndResubmit sends a commit again after a pause that grows: a Postgres that is away, or has no room, is away for a while. Of many such commits
// in a row only the first, the second, the fourth and so on are logged.
func (o *owner) waitAndResubmit(done committed) {
	const first, most, doublings = 2 * time.Millisecond, 250 * time.Millisecond, 7
	if o.refusals++; o.refusals&(o.refusals-1) == 0 {
		o.log.Warn("scheduler: commit is sent again", "error", pg.Clean(done.err), "times", o.refusals)
	}
	o.pause = o.after(min(most, first<<min(o.refusals-1, doublings)))
	o.resubmit(done.batch)
}

// resubmit puts a batch before what is pending.
func (o *owner) resubmit(b *batch) {
	for _, p := range o.pending.parts {
		if p.shard.dropped {
			continue
		}
		b.add(p.shard, engine.Output{Seq: p.seq, Changes: p.changes, Effects: p.effects, Asks: p.asks})
	}
	o.pending = b
}

// fenced drops the shards that the fence names; the others' changes are sent again.
func (o *owner) fenced(done committed) {
	for _, p := range done.batch.parts {
		if slices.Contains(fencedShards(done.err), p.shard.id) {
			o.log.Warn("scheduler: late commit refused, the shard has a new owner", "shard", p.shard.id, "epoch", p.shard.epoch)
			o.drop(p.shard, notOwner(p.shard.id))
		}
	}
	o.resubmit(done.batch.without(func(s *shard) bool { return s.dropped }))
}

// oneByOne finds the shard whose data Postgres refuses; only that one is loaded anew.
func (o *owner) oneByOne(ctx context.Context, b *batch) {
	for _, p := range b.parts {
		single := &batch{parts: []*part{p}, rows: len(p.changes)}
		if err := o.write(context.WithoutCancel(ctx), single); err != nil {
			o.log.Error("scheduler: shard's changes are refused, it is loaded anew", "shard", p.shard.id, "error", pg.Clean(err))
			o.drop(p.shard, fault.Internal(err, "the change could not be stored"))
			continue
		}
		o.letOut(ctx, single)
	}
}

// serve answers requests to a shard, each in a goroutine of its own.
func (o *owner) serve(s *shard) bus.Handler {
	return func(ctx context.Context, data []byte) ([]byte, error) {
		e, reply, err := o.receive(ctx, s, data)
		if err != nil {
			return nil, err
		}
		select {
		case o.mailbox <- e:
		case <-ctx.Done():
			return nil, fault.Unavailable("SHARD_BUSY", "shard %d did not take the request in time: send it again", s.id).WithCause(ctx.Err())
		}
		select {
		case err := <-e.call.done:
			return e.answer(reply, err)
		case <-ctx.Done():
			return nil, fault.Unavailable("SHARD_SLOW", "shard %d did not answer in time: send the same call again", s.id).WithCause(ctx.Err())
		}
	}
}

// receive makes an envelope of a request.
func (o *owner) receive(ctx context.Context, s *shard, data []byte) (envelope, makeReply, error) {
	req := new(busv1.ShardRequest)
	if err := proto.Unmarshal(data, req); err != nil {
		return envelope{}, nil, fault.Invalid("BAD_SHARD_REQUEST", "the request cannot be read")
	}
	inputs, reply, err := o.translate(ctx, req)
	c := &call{shard: s, tenant: req.GetTenantId(), done: make(chan error, 1)}
	return envelope{shard: s, inputs: inputs, call: c, ctx: ctx, runs: len(req.GetTrigger().GetRuns())}, reply, err
}

// answer is the reply to an envelope whose call is done.
func (e *envelope) answer(reply makeReply, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	out := reply(e.call.replies)
	if session := out.GetSession(); session != nil {
		session.Shard, session.Epoch = e.shard.id, e.shard.epoch
	}
	return proto.Marshal(out)
}
