package scheduler

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/lease"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// own starts to serve a shard under its new epoch.
func (o *owner) own(t takenShard) {
	o.clock.sync(t.lease.EngineTime)
	if old := o.shards[t.lease.Shard]; old != nil {
		o.drop(old, notOwner(old.id))
	}
	cfg := o.cfg.Engine
	cfg.NoHold = t.lease.Clean
	s := &shard{id: t.lease.Shard, epoch: t.lease.Epoch, core: o.newCore(cfg)}
	sub, err := o.cfg.Bus.Serve(lease.Subject(s.id, s.epoch), o.serve(s))
	if err != nil {
		o.log.Error("scheduler: shard cannot be served", "shard", s.id, "error", err)
		o.retake = append(o.retake, s.id)
		return
	}
	s.sub = sub
	o.shards[s.id] = s
	o.retake = slices.DeleteFunc(o.retake, func(id int32) bool { return id == s.id })
	for _, tenantID := range t.tenants {
		out := s.core.LoadTenant(o.clock.now(), tenantID)
		s.nextWake = out.NextWake
		o.pending.add(s, out)
	}
	wanted, err := proto.Marshal(&busv1.SessionsWanted{Shard: s.id, Epoch: s.epoch})
	if err == nil {
		err = o.cfg.Bus.Publish(SubjectSessionsWanted, wanted)
	}
	if err != nil {
		o.log.Warn("scheduler: sessions not called for", "shard", s.id, "error", err)
	}
}

// keep takes the news of a renewal in: the clock, and shards that are no longer ours.
func (o *owner) keep(kept []lease.Lease) {
	epochs := make(map[int32]int64, len(kept))
	for _, l := range kept {
		epochs[l.Shard] = l.Epoch
		o.clock.sync(l.EngineTime)
	}
	for _, s := range o.sorted() {
		if epochs[s.id] != s.epoch {
			o.log.Warn("scheduler: shard has a new owner", "shard", s.id, "epoch", s.epoch)
			o.drop(s, notOwner(s.id))
		}
	}
}

// drop forgets a shard, and the keeper takes it again under a new epoch.
func (o *owner) drop(s *shard, why error) {
	if s.dropped {
		return
	}
	o.forget(s, why)
	o.retake = append(o.retake, s.id)
}

// forget lets a shard go: its callers are told, and its engine is no more.
func (o *owner) forget(s *shard, why error) {
	s.dropped = true
	if s.leaving {
		o.leaving--
	}
	delete(o.shards, s.id)
	o.pending = o.pending.without(func(other *shard) bool { return other == s })
	o.background(s.sub.Stop)
	for id, c := range o.calls {
		if c.shard == s {
			delete(o.calls, id)
			c.done <- why
		}
	}
}

// handOver begins to give shards to others: they take nothing in any more, and what they have sent is recorded with their last commit.
func (o *owner) handOver(shards []int32) {
	for _, id := range shards {
		s := o.shards[id]
		if s == nil || s.leaving {
			continue
		}
		s.leaving, s.settled = true, s.core.Settled()
		o.leaving++
		o.pending.add(s, s.core.HandOver(o.clock.now()))
	}
}

// finishHandOver gives the leases back of shards whose last commit is done.
func (o *owner) finishHandOver(ctx context.Context) {
	if o.leaving == 0 {
		return
	}
	over := make(map[bool][]lease.Lease) // by whether everything is known of them
	for _, s := range o.sorted() {
		if s.leaving && !o.pending.has(s) && (o.inFlight == nil || !o.inFlight.has(s)) {
			o.forget(s, notOwner(s.id))
			over[s.settled] = append(over[s.settled], lease.Lease{Shard: s.id, Epoch: s.epoch})
		}
	}
	for _, clean := range []bool{true, false} {
		leases := over[clean]
		if len(leases) == 0 {
			continue
		}
		o.background(func() { o.release(context.WithoutCancel(ctx), leases, clean) })
	}
}

// release gives leases back, all of the process's without a list, and tells the other schedulers. What fails here runs out by itself. The keeper may have
// taken a shard again by the time that its release arrives: the lease's epoch tells which one is meant.
func (o *owner) release(ctx context.Context, leases []lease.Lease, clean bool) {
	const most = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	shards := make([]int32, len(leases))
	for i, l := range leases {
		shards[i] = l.Shard
	}
	if err := o.giveBack(ctx, leases, clean); err != nil {
		o.log.Warn("scheduler: leases not given back, they run out by themselves", "shards", shards, "error", err)
		return
	}
	if err := o.cfg.Bus.Publish(SubjectShardsFree, nil); err != nil {
		o.log.Debug("scheduler: others were not told of free shards", "error", err)
	}
	o.log.Info("scheduler: gave shards back", "shards", shards, "clean", clean)
}

// shutdown writes what is pending and what is out, so that nothing decided is lost, and gives the shards to others.
func (o *owner) shutdown(ctx context.Context) {
	const most = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var mine []int32
	for _, s := range o.sorted() {
		mine = append(mine, s.id)
	}
	o.handOver(mine)
	for _, e := range o.intake.waiting {
		e.call.done <- notOwner(e.shard.id)
	}
	o.intake = intake{}
	if o.inFlight != nil {
		o.afterCommit(ctx, <-o.committed)
	}
	clean := true
	for len(o.pending.parts) > 0 {
		b := o.pending
		o.pending = &batch{}
		if err := o.write(ctx, b); err != nil {
			o.log.Warn("scheduler: last commit failed, the shards are taken over from what is stored", "error", err)
			clean = false
			break
		}
		o.letOut(ctx, b)
	}
	handed := make(map[bool][]lease.Lease)
	for _, s := range o.sorted() {
		handed[clean && s.settled] = append(handed[clean && s.settled], lease.Lease{Shard: s.id, Epoch: s.epoch})
		o.forget(s, notOwner(s.id))
	}
	for _, known := range []bool{true, false} {
		if leases := handed[known]; len(leases) > 0 {
			o.release(ctx, leases, known)
		}
	}
	if len(handed[true])+len(handed[false]) < len(mine) || len(o.retake) > 0 {
		o.release(ctx, nil, false) // what was dropped on the way
	}
}
