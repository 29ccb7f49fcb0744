package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// World stands in for Postgres, time and goroutines around a Drive. It is the simulation's; see test/sim.
type World interface {
	// Clock is the process's own clock, which may be wrong.
	Clock() time.Time
	// Core makes the engine of a shard that has just been taken.
	Core(cfg engine.Config) Core
	// Begin takes a commit on its way. Its outcome is told by Drive.Committed.
	Begin(c *Commit)
	// Write commits at once.
	Write(c *Commit) error
	// Look reads for an engine, and calls answer later, as an event of the Drive's process.
	Look(shard int32, ask engine.Ask, answer func(engine.Input))
	// Renew, Take and Release are those of lease.Store.
	Renew() (own []lease.Lease, all []lease.Standing, err error)
	Take(shard int32, gone flow.ID) (lease.Lease, bool, error)
	Release(leases []lease.Lease, clean bool) error
	// OpenTenants lists the tenants of a shard that have open runs.
	OpenTenants(shard int32) []int64
	// Background runs work later, as an event of the Drive's process.
	Background(work func())
}

// Core is a shard's engine as its owner sees it.
type Core = core

// Commit is a batch on its way to the store.
type Commit struct {
	Parts []CommitPart
	batch *batch
}

// CommitPart is one shard's share of a commit.
type CommitPart struct {
	Shard   int32
	Epoch   int64
	Changes []engine.Change
}

func newCommit(b *batch) *Commit {
	c := &Commit{batch: b}
	for _, p := range b.parts {
		c.Parts = append(c.Parts, CommitPart{p.shard.id, p.shard.epoch, p.changes})
	}
	return c
}

// Drive is an owner and its keeper without their goroutines: whoever holds it says what happens next, one event at a time, and the code that Run
// has behind its channels acts on it. It lets the simulation decide when, in what order and with what outcome things happen. Nothing else uses it, and it is
// not safe for concurrent use.
type Drive struct {
	ctx    context.Context
	owner  *owner
	keeper *keeper
	world  World
	asked  []asked
	pause  time.Duration // not handed to the world yet
}

// asked is a request that the owner has not answered.
type asked struct {
	envelope envelope
	reply    makeReply
	done     func([]byte, error)
}

// NewDrive makes an owner of nothing. Of cfg it needs Bus, Workflows, Log, Instance, Members and Engine.
func NewDrive(ctx context.Context, cfg Config, w World) *Drive {
	d := &Drive{ctx: ctx, world: w}
	d.owner = newOwner(cfg.WithDefaults(), make(chan struct{}))
	d.owner.outside, d.owner.clock.wall = driven{d}, w.Clock
	const most = 1024
	d.owner.leases, d.owner.taken, d.owner.giveUp = make(chan []lease.Lease, most), make(chan takenShard, most), make(chan []int32, most)
	d.owner.goneDispatchers = make(chan string, most)
	d.keeper = newKeeper(d.owner)
	return d
}

// Request hands a request over that came on the subject of a shard and epoch. It reports false when nobody serves that here.
func (d *Drive) Request(shard int32, epoch int64, data []byte, done func([]byte, error)) bool {
	s := d.owner.shards[shard]
	if s == nil || s.epoch != epoch {
		return false
	}
	e, reply, err := d.owner.receive(d.ctx, s, data)
	if err != nil {
		done(nil, err)
		return true
	}
	d.asked = append(d.asked, asked{e, reply, done})
	d.owner.hearRequest(e)
	d.turn()
	return true
}

// Committed tells a commit's outcome.
func (d *Drive) Committed(c *Commit, err error) {
	d.owner.afterCommit(d.ctx, committed{c.batch, err})
	d.turn()
}

// NextWake is how long from now on the process's clock Wake is due.
func (d *Drive) NextWake() (in time.Duration, ok bool) {
	next := d.owner.nextWake()
	return max(0, time.Duration(next-d.owner.clock.now().UnixMicro())*time.Microsecond), next > 0
}

// Wake runs the engines whose timers are due.
func (d *Drive) Wake() {
	d.owner.wakeShards()
	d.turn()
}

// NewPause is how long the owner has decided to wait before it commits again; it tells each decision once.
func (d *Drive) NewPause() (time.Duration, bool) {
	p := d.pause
	d.pause = 0
	return p, p > 0
}

// PauseOver ends such a wait.
func (d *Drive) PauseOver() {
	d.owner.pause = nil
	d.turn()
}

// Round renews the leases and compares who owns what with who should. What the keeper finds reaches the owner by Hear, before which no other
// round may begin. A regular one counts how long shards lie free.
func (d *Drive) Round(regular bool) error {
	if regular {
		for shard := range d.keeper.free {
			d.keeper.free[shard]++
		}
	}
	return d.keeper.round(d.ctx)
}

// AskOwners asks the other owners whether they live, and reports whether a round is due for it.
func (d *Drive) AskOwners() bool { return d.keeper.askOwners(d.ctx) }

// AskDispatchers asks the dispatchers whether they live. What comes of it reaches the owner by Hear.
func (d *Drive) AskDispatchers() { d.keeper.askDispatchers(d.ctx) }

// Dropped reports whether shards wait to be taken again.
func (d *Drive) Dropped() bool { return len(d.owner.retake) > 0 }

// TakeAgain takes them once. On an error it is to be called again after a while.
func (d *Drive) TakeAgain() error {
	shards := d.owner.retake
	d.owner.retake = nil
	err := d.keeper.take(d.ctx, shards)
	if err != nil {
		d.owner.retake = append(shards, d.owner.retake...)
	}
	return err
}

// Hear lets the owner know what the keeper has found, in the order in which a round finds it.
func (d *Drive) Hear() {
	for {
		select {
		case own := <-d.owner.leases:
			d.owner.keep(own)
			d.turn()
			continue
		default:
		}
		select {
		case shards := <-d.owner.giveUp:
			d.owner.handOver(shards)
			d.turn()
			continue
		default:
		}
		select {
		case name := <-d.owner.goneDispatchers:
			d.owner.loseDispatcher(name)
			d.turn()
			continue
		default:
		}
		select {
		case t := <-d.owner.taken:
			d.owner.own(t)
			d.turn()
			continue
		default:
		}
		return
	}
}

// Stop ends the owner in order, as the end of Run does. last tells the outcome of the commit that is under way.
func (d *Drive) Stop(last func(c *Commit) error) {
	if b := d.owner.inFlight; b != nil {
		d.owner.committed <- committed{b, last(newCommit(b))}
	}
	d.owner.shutdown(d.ctx)
	d.settle()
}

// LetOut releases effects that belong to no commit. The simulation's broken engines use it.
func (d *Drive) LetOut(shard int32, effects []engine.Effect) {
	if s := d.owner.shards[shard]; s != nil {
		d.owner.letOut(d.ctx, &batch{parts: []*part{{shard: s, effects: effects}}})
		d.settle()
	}
}

// Owned calls yield for every shard that is served, in order.
func (d *Drive) Owned(yield func(shard int32, epoch int64)) {
	for _, s := range d.owner.sorted() {
		yield(s.id, s.epoch)
	}
}

// turn ends each turn of the loop.
func (d *Drive) turn() {
	d.owner.startCommit(d.ctx)
	d.owner.finishHandOver(d.ctx)
	d.settle()
}

// settle passes answers on.
func (d *Drive) settle() {
	open := d.asked[:0]
	var done []func()
	for _, a := range d.asked {
		select {
		case err := <-a.envelope.call.done:
			data, err := a.envelope.answer(a.reply, err)
			done = append(done, func() { a.done(data, err) })
		default:
			open = append(open, a)
		}
	}
	d.asked = open
	for _, f := range done {
		f()
	}
}

// driven is the outside of a driven owner.
type driven struct{ *Drive }

func (d driven) write(_ context.Context, b *batch) error {
	if b.rows == 0 {
		return nil
	}
	return d.world.Write(newCommit(b))
}

func (d driven) begin(_ context.Context, b *batch) { d.world.Begin(newCommit(b)) }

func (d driven) look(_ context.Context, s *shard, ask engine.Ask) {
	d.world.Look(s.id, ask, func(in engine.Input) {
		d.owner.hear(answer{s, []engine.Input{in}})
		d.turn()
	})
}

func (d driven) renew(context.Context) ([]lease.Lease, []lease.Standing, error) {
	return d.world.Renew()
}

func (d driven) takeShard(_ context.Context, shard int32, gone flow.ID) (lease.Lease, bool, error) {
	return d.world.Take(shard, gone)
}

func (d driven) giveBack(_ context.Context, leases []lease.Lease, clean bool) error {
	return d.world.Release(leases, clean)
}

func (d driven) openTenants(_ context.Context, shards []int32) ([]schedulerq.TenantShard, error) {
	var out []schedulerq.TenantShard
	for _, shard := range shards {
		for _, tenant := range d.world.OpenTenants(shard) {
			out = append(out, schedulerq.TenantShard{TenantID: tenant, Shard: shard})
		}
	}
	return out, nil
}

func (d driven) keepPartitions(context.Context) error { return nil }

func (d driven) newCore(cfg engine.Config) core { return d.world.Core(cfg) }

func (d driven) after(wait time.Duration) <-chan time.Time {
	d.pause = wait
	return make(chan time.Time)
}

func (d driven) background(work func()) { d.world.Background(work) }

// RowsDiffer reports whether a commit failed because rows and memory differ, which a correct engine never sees.
func RowsDiffer(err error) bool {
	_, ok := errors.AsType[*rowCountError](err)
	return ok
}

// NewRowsDiffer is the outcome of a commit whose statement did not find the rows that memory says are there.
func NewRowsDiffer(statement string, got, want int64) error {
	return &rowCountError{statement, got, want}
}
