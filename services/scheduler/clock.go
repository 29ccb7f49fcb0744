package scheduler

import "time"

// clock is engine time: Postgres's clock as last measured, carried on by the monotonic clock, and never running backwards.
type clock struct {
	wall  func() time.Time
	base  int64 // microseconds
	since time.Time
}

func (c *clock) now() time.Time {
	if c.since.IsZero() {
		return c.wall()
	}
	return time.UnixMicro(c.base + c.wall().Sub(c.since).Microseconds())
}

func (c *clock) sync(engineTime int64) {
	if c.since.IsZero() || engineTime > c.now().UnixMicro() {
		c.base, c.since = engineTime, c.wall()
	}
}
