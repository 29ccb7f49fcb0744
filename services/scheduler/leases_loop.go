package scheduler

import (
	"context"
	"time"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/lease"
)

// clock is engine time: Postgres's clock as last measured, carried on by the monotonic clock, and never running backwards.
type clock struct {
	base  int64 // microseconds
	since time.Time
}

func (c *clock) now() time.Time {
	if c.since.IsZero() {
		return time.Now()
	}
	return time.UnixMicro(c.base + time.Since(c.since).Microseconds())
}

func (c *clock) sync(engineTime int64) {
	if c.since.IsZero() || engineTime > c.now().UnixMicro() {
		c.base, c.since = engineTime, time.Now()
	}
}

// keepLeases takes free shards, renews the leases of the owned ones, and makes partitions ahead of time.
func (o *owner) keepLeases(ctx context.Context) {
	const pause = 50 * time.Millisecond
	var partitionsAt time.Time
	for ctx.Err() == nil {
		if err := o.takeFree(ctx); err != nil && ctx.Err() == nil {
			o.log.Warn("scheduler: free shards not taken", "error", err)
		}
		if time.Now().After(partitionsAt) {
			if err := o.keepPartitions(ctx); err != nil && ctx.Err() == nil {
				o.log.Warn("scheduler: partitions not kept", "error", err)
			} else {
				partitionsAt = time.Now().Add(time.Hour)
			}
		}
		next := time.Now().Add(o.cfg.RenewEvery)
		for time.Now().Before(next) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(pause, time.Until(next))):
			case shards := <-o.again:
				o.takeAgain(ctx, shards)
			}
		}
		leases, err := o.store.Renew(ctx)
		if err != nil {
			if ctx.Err() == nil {
				o.log.Warn("scheduler: leases not renewed", "error", err)
			}
			continue
		}
		select {
		case o.leases <- leases:
		case <-ctx.Done():
		}
	}
}

func (o *owner) takeFree(ctx context.Context) error {
	free, err := o.store.Free(ctx)
	if err != nil {
		return err
	}
	return o.take(ctx, free)
}

// takeAgain owns shards anew that were dropped after a commit of unknown outcome, until it succeeds or another process has them.
func (o *owner) takeAgain(ctx context.Context, shards []int32) {
	const pause = 100 * time.Millisecond
	for ctx.Err() == nil {
		err := o.take(ctx, shards)
		if err == nil {
			return
		}
		o.log.Warn("scheduler: shards not taken again yet", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (o *owner) take(ctx context.Context, shards []int32) error {
	var mine []lease.Lease
	var ids []int32
	for _, id := range shards {
		l, ok, err := o.store.Take(ctx, id)
		if err != nil {
			return err
		}
		if ok {
			mine, ids = append(mine, l), append(ids, id)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	open, err := schedulerq.New(o.pool).TenantsWithOpenRuns(ctx, ids)
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
		case o.taken <- t:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// partitionWidths are how much time one partition of a class holds, as the first migration made them.
func partitionWidths() []struct {
	class       int16
	width, keep time.Duration
	ahead       time.Duration
} {
	const hour, day = time.Hour, 24 * time.Hour
	return []struct {
		class       int16
		width, keep time.Duration
		ahead       time.Duration
	}{
		{1, 6 * hour, 2 * day, day},
		{2, 3 * day, 30 * day, 10 * day},
		{3, 30 * day, 365 * day, 90 * day},
	}
}

func (o *owner) keepPartitions(ctx context.Context) error {
	q := schedulerq.New(o.pool)
	now := time.Now()
	for _, c := range partitionWidths() {
		err := q.EnsurePartitions(ctx, schedulerq.EnsurePartitionsParams{
			Class: c.class, FromMs: now.Add(-24 * time.Hour).UnixMilli(), ToMs: now.Add(c.ahead).UnixMilli(), WidthMs: c.width.Milliseconds(),
		})
		if err != nil {
			return err
		}
		dropped, err := q.DropPartitions(ctx, schedulerq.DropPartitionsParams{Class: c.class, BeforeMs: now.Add(-c.keep).UnixMilli(), WidthMs: c.width.Milliseconds()})
		if err != nil {
			return err
		}
		if dropped > 0 {
			o.log.Info("scheduler: dropped partitions past their retention", "class", c.class, "partitions", dropped)
		}
	}
	return nil
}
