package scheduler

import (
	"context"
	"time"

	"github.com/tenon-run/tenon/db/schedulerq"
)

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

func (o *postgres) keepPartitions(ctx context.Context) error {
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
