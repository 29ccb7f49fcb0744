package scheduler

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
)

const (
	// maxFlights is how many commits are under way at a time: while one waits for the disk, the next is carried out.
	maxFlights = 2
	// fewRows is how many changes the commits may hold that are under way beside each other. Of many, one commit after the other carries more at less
	// cost for each: single triggers lost a quarter of their rate to commits of half the size.
	fewRows = 16
)

// flight is a commit under way. Flights end in any order, and are let out in the order in which they began.
type flight struct {
	batch *batch
	done  bool
	err   error
}

// underWay tells whether a commit that is under way holds changes of a shard's step, or of one after it; 0 is no step.
func (o *owner) underWay(s *shard, step int64) bool {
	return step != 0 && slices.ContainsFunc(o.flights, func(f *flight) bool {
		return slices.ContainsFunc(f.batch.parts, func(p *part) bool { return p.shard == s && p.seq >= step })
	})
}

// hasFlight tells whether a commit with changes or effects of a shard is under way.
func (o *owner) hasFlight(s *shard) bool {
	return slices.ContainsFunc(o.flights, func(f *flight) bool { return f.batch.has(s) })
}

// mayStart tells whether the pending batch may leave beside those under way: it is small as they are, none of them has failed, and it builds on none.
func (o *owner) mayStart() bool {
	if o.pause != nil || len(o.pending.parts) == 0 {
		return false
	}
	if len(o.flights) == 0 {
		return true
	}
	rows := o.pending.rows
	for _, f := range o.flights {
		rows += f.batch.rows
	}
	return len(o.flights) < maxFlights && o.pending.rows > 0 && rows <= fewRows && !o.pending.waits && !o.pending.alone &&
		!slices.ContainsFunc(o.flights, func(f *flight) bool { return f.batch.alone || f.err != nil })
}

// startCommit hands the pending batch over while it may: what gathers meanwhile is the next batch.
func (o *owner) startCommit(ctx context.Context) {
	o.admit()
	for o.mayStart() {
		b := o.pending
		o.pending = &batch{}
		b.slot = o.freeSlot()
		f := &flight{batch: b, done: b.rows == 0}
		o.flights = append(o.flights, f)
		if f.done {
			o.land(ctx)
		} else {
			o.begin(ctx, b)
		}
		o.admit()
	}
}

// freeSlot is the least that no commit under way has.
func (o *owner) freeSlot() (slot int16) {
	for slices.ContainsFunc(o.flights, func(f *flight) bool { return f.batch.slot == slot }) {
		slot++
	}
	return slot
}

// afterCommit notes how a commit has ended.
func (o *owner) afterCommit(ctx context.Context, done committed) {
	i := slices.IndexFunc(o.flights, func(f *flight) bool { return f.batch == done.batch })
	o.flights[i].done, o.flights[i].err = true, done.err
	o.land(ctx)
}

// land lets out what is stored, in order. After a failure it waits until nothing is under way, and then sees to all that is left.
func (o *owner) land(ctx context.Context) {
	for len(o.flights) > 0 && o.flights[0].done && o.flights[0].err == nil {
		b := o.flights[0].batch
		o.flights = slices.Delete(o.flights, 0, 1)
		o.refusals = 0
		o.letOut(ctx, b)
	}
	if len(o.flights) > 0 && !slices.ContainsFunc(o.flights, func(f *flight) bool { return !f.done }) {
		left := o.flights
		o.flights = nil
		o.afterFailure(ctx, left)
	}
}

// afterFailure acts on the four kinds of outcome. The first of the flights has failed; what another has stored is let out once the first is stored too.
func (o *owner) afterFailure(ctx context.Context, flights []*flight) {
	again, single := &batch{}, false
	var refused error
	for _, f := range flights {
		b := f.batch.without(func(s *shard) bool { return s.dropped })
		var count *rowCountError
		kind := pg.Outcome(f.err)
		switch {
		case f.err == nil:
			again.merge(b, true)
		case errors.As(f.err, &count):
			o.log.Error("scheduler: rows and memory differ, shards are loaded anew", "error", f.err)
			o.dropAll(b)
		case kind == pg.KindTransient:
			refused = f.err
			again.merge(b, false)
		case kind == pg.KindFence:
			o.fenced(b, f.err)
			again.merge(b.without(func(s *shard) bool { return s.dropped }), false)
		case kind == pg.KindData && len(b.parts) > 1:
			o.log.Warn("scheduler: Postgres refused a value, shards commit one by one", "error", pg.Clean(f.err))
			single = true
			again.merge(b, false)
		default:
			o.log.Error("scheduler: commit of unknown or bad outcome, shards are owned anew", "error", pg.Clean(f.err), "outcome", kind.String())
			o.dropAll(b)
		}
	}
	again = again.without(func(s *shard) bool { return s.dropped })
	if single {
		o.refusals = 0
		o.oneByOne(ctx, again)
		return
	}
	if refused != nil {
		o.waitToResubmit(refused)
	} else {
		o.refusals = 0
	}
	again.merge(o.pending, false)
	o.pending = again
}

func (o *owner) dropAll(b *batch) {
	for _, p := range b.parts {
		o.drop(p.shard, fault.Unavailable("COMMIT_UNKNOWN", "the change may or may not have been stored: send the same call again"))
	}
}

// waitToResubmit makes the next commit wait for a pause that grows: a Postgres that is away, or has no room, is away for a while. Of many such commits
// in a row only the first, the second, the fourth and so on are logged.
func (o *owner) waitToResubmit(why error) {
	const first, most, doublings = 2 * time.Millisecond, 250 * time.Millisecond, 7
	if o.refusals++; o.refusals&(o.refusals-1) == 0 {
		o.log.Warn("scheduler: commit is sent again", "error", pg.Clean(why), "times", o.refusals)
	}
	o.pause = o.after(min(most, first<<min(o.refusals-1, doublings)))
}

// fenced drops the shards that a fence names.
func (o *owner) fenced(b *batch, why error) {
	for _, p := range b.parts {
		if slices.Contains(fencedShards(why), p.shard.id) {
			o.log.Warn("scheduler: late commit refused, the shard has a new owner", "shard", p.shard.id, "epoch", p.shard.epoch)
			o.drop(p.shard, notOwner(p.shard.id))
		}
	}
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
