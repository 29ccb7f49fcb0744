package scheduler

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
)

// Members knows the other processes that run schedulers. It is a hint: it decides who should own what, and the epochs decide who does.
type Members interface {
	// Others lists the instances of the other living schedulers.
	Others() []string
	// Changed returns a channel that is closed when that list changes.
	Changed() <-chan struct{}
	// Gone asks an instance whether it lives, and reports true only on evidence that nobody answers for it.
	Gone(ctx context.Context, instance string) bool
}

// SubjectShardsFree tells the schedulers that shards were given back.
const SubjectShardsFree = "tenon.shards.free"

const (
	// askEvery is how often the owners of other shards are asked whether they live.
	askEvery = 500 * time.Millisecond
	// goneAfter is how many such questions in a row nobody must answer before the owner's shards are taken, or a dispatcher's sessions count as lost. One
	// may fall into a reconnect.
	goneAfter = 3
	// unwantedAfter is how many renewals a shard may lie free before a scheduler takes it that is not its first choice.
	unwantedAfter = 2
	partitionsDue = time.Hour
)

// keeper keeps the process's share of the shards: it takes what is free or orphaned, renews the leases, and has given up what others should own.
type keeper struct {
	*owner

	self    string
	members Members
	table   []lease.Standing
	serving map[int32]bool // handed to the owner's loop
	free    map[int32]int  // renewals that a shard has been seen free
	silent  map[string]int // questions in a row that an owner left unanswered
	gone    map[string]bool
	hints   chan struct{}
	began   bool
}

func newKeeper(o *owner) *keeper {
	return &keeper{
		owner: o, self: uuid.UUID(o.cfg.Instance).String(), members: o.cfg.Members, serving: make(map[int32]bool), free: make(map[int32]int),
		silent: make(map[string]int), gone: make(map[string]bool), hints: make(chan struct{}, 1),
	}
}

// keepLeases works until the context ends. The owner's loop keeps running meanwhile and is told by channels.
func (o *owner) keepLeases(ctx context.Context) {
	k := newKeeper(o)
	hints, err := o.cfg.Bus.Subscribe(SubjectShardsFree, func(bus.Msg) {
		select {
		case k.hints <- struct{}{}:
		default:
		}
	})
	if err != nil {
		o.log.Warn("scheduler: shards that others give back are only found by renewals", "error", err)
	} else {
		defer hints.Stop()
	}
	renew := time.NewTimer(0)
	defer renew.Stop()
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	var partitionsAt time.Time
	for ctx.Err() == nil {
		var changed <-chan struct{}
		if k.members != nil {
			changed = k.members.Changed()
		}
		select {
		case <-ctx.Done():
			return
		case shards := <-o.again:
			k.takeAgain(ctx, shards)
			continue
		case <-ask.C:
			k.askDispatchers(ctx)
			if !k.askOwners(ctx) {
				continue
			}
		case <-changed:
		case <-k.hints:
		case <-renew.C:
			renew.Reset(o.cfg.RenewEvery)
			for shard := range k.free {
				k.free[shard]++
			}
		}
		if err := k.round(ctx); err != nil && ctx.Err() == nil {
			o.log.Warn("scheduler: leases not renewed", "error", err)
		}
		if time.Now().After(partitionsAt) {
			if err := o.keepPartitions(ctx); err != nil && ctx.Err() == nil {
				o.log.Warn("scheduler: partitions not kept", "error", err)
			} else {
				partitionsAt = time.Now().Add(partitionsDue)
			}
		}
	}
}

// round renews, tells the owner's loop, and brings the shards in line with the process's share.
func (k *keeper) round(ctx context.Context) error {
	own, all, err := k.renew(ctx)
	if err != nil {
		return err
	}
	k.table = all
	select {
	case k.leases <- own:
	case <-ctx.Done():
		return ctx.Err()
	}
	take, give := k.plan()
	if len(give) > 0 {
		select {
		case k.giveUp <- give:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, shard := range give {
			delete(k.serving, shard)
		}
	}
	if err := k.take(ctx, take); err != nil {
		return err
	}
	if !k.began {
		k.began = true
		close(k.ready)
	}
	return nil
}

// plan compares who owns what with who should.
func (k *keeper) plan() (take, give []int32) {
	live := []string{k.self}
	if k.members != nil {
		for _, other := range k.members.Others() {
			if !k.gone[other] {
				live = append(live, other)
			}
		}
	}
	shards := make([]int32, len(k.table))
	for i, s := range k.table {
		shards[i] = s.Shard
	}
	share := lease.Share(shards, live)
	for _, s := range k.table {
		should := share[s.Shard] == k.self
		orphaned := s.Free || k.gone[uuid.UUID(s.Owner).String()]
		switch {
		case s.Owner == k.cfg.Instance && !k.serving[s.Shard]:
			take = append(take, s.Shard) // the lease was had, and then something failed
		case s.Owner == k.cfg.Instance:
			delete(k.free, s.Shard)
			if !should {
				give = append(give, s.Shard)
			}
		case !orphaned:
			delete(k.free, s.Shard)
		case should, k.free[s.Shard] >= unwantedAfter:
			take = append(take, s.Shard)
		default:
			k.free[s.Shard] = max(k.free[s.Shard], 0) // noticed: renewals count from here on
		}
	}
	return take, give
}

// askOwners asks the other members, and whoever owns shards, whether they live, and reports whether one was found to be gone. The members are asked whatever
// the table says of them: it is as old as the last renewal, and one that is gone must not be counted for a share again only because it has none left.
func (k *keeper) askOwners(ctx context.Context) (found bool) {
	if k.members == nil {
		return false
	}
	asked := make(map[string]bool)
	for _, other := range k.members.Others() {
		asked[other] = true
	}
	for _, s := range k.table {
		if !s.Free && !s.Owner.IsZero() && s.Owner != k.cfg.Instance {
			asked[uuid.UUID(s.Owner).String()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if !k.members.Gone(ctx, name) {
			k.silent[name] = 0
			delete(k.gone, name)
			continue
		}
		if k.silent[name]++; k.silent[name] >= goneAfter && !k.gone[name] {
			k.log.Warn("scheduler: nobody answers for another scheduler, its shards are taken over", "owner", name)
			k.gone[name], found = true, true
		}
	}
	for name := range k.silent {
		if !asked[name] {
			delete(k.silent, name)
			delete(k.gone, name)
		}
	}
	return found
}

// takeAgain owns shards anew that were dropped after a commit of unknown outcome, until it succeeds or another process has them.
func (k *keeper) takeAgain(ctx context.Context, shards []int32) {
	const pause = 100 * time.Millisecond
	for ctx.Err() == nil {
		err := k.take(ctx, shards)
		if err == nil {
			return
		}
		k.log.Warn("scheduler: shards not taken again yet", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// take owns shards, with the tenants that have open runs, and hands them to the owner's loop.
func (k *keeper) take(ctx context.Context, shards []int32) error {
	var mine []lease.Lease
	var ids []int32
	for _, id := range shards {
		l, ok, err := k.takeShard(ctx, id, k.goneOwner(id))
		if err != nil {
			return err
		}
		delete(k.serving, id)
		if ok {
			mine, ids = append(mine, l), append(ids, id)
			delete(k.free, id)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	open, err := k.openTenants(ctx, ids)
	if err != nil {
		return err
	}
	for _, l := range mine {
		t := takenShard{lease: l}
		for _, row := range open {
			if row.Shard == l.Shard {
				t.tenants = append(t.tenants, row.TenantID)
			}
		}
		select {
		case k.taken <- t:
			k.serving[l.Shard] = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	k.log.Info("scheduler: owns shards", "taken", ids)
	return nil
}

// goneOwner is the owner of a shard, when it is known to be gone.
func (k *keeper) goneOwner(shard int32) flow.ID {
	i := slices.IndexFunc(k.table, func(s lease.Standing) bool { return s.Shard == shard })
	if i >= 0 && k.gone[uuid.UUID(k.table[i].Owner).String()] {
		return k.table[i].Owner
	}
	return flow.ID{}
}
