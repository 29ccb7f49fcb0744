package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// core is the real engine of a shard, with a checker at its side. The broken engines change what goes in or comes out; the engine itself knows of nothing.
type core struct {
	*engine.Shard
	s      *scheduling
	last   map[taskKey]flow.ID // the newest assignment of each task
	inject []engine.Input
	lines  *lines
}

type taskKey struct {
	engine.RunKey
	generation int32
	task       int32
}

func newCore(s *scheduling, cfg engine.Config) *core {
	switch s.w.broken {
	case NoCensus:
		cfg.NoHold = true
	case NoEviction:
		cfg.MaxRuns = 1 << 30
	default:
	}
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(s.w.rnd.Uint32())
	}
	return &core{Shard: engine.New(cfg, seed), s: s, last: make(map[taskKey]flow.ID), lines: newLines(s.w)}
}

func (c *core) LoadTenant(now time.Time, tenantID int64) engine.Output {
	return c.out(c.Shard.LoadTenant(now, tenantID))
}

func (c *core) HandOver(now time.Time) engine.Output { return c.out(c.Shard.HandOver(now)) }

func (c *core) Step(now time.Time, in []engine.Input) engine.Output {
	if len(c.inject) > 0 {
		in = slices.Concat(c.inject, in)
		c.inject = nil
	}
	if c.s.w.broken == SupersededApplied {
		in = c.stamp(in)
	}
	for _, i := range in {
		c.heard(i)
		c.lines.read(i)
	}
	return c.out(c.Shard.Step(now, in))
}

// stamp passes every result off as that of the task's newest assignment.
func (c *core) stamp(in []engine.Input) []engine.Input {
	out := slices.Clone(in)
	for i := range out {
		if r, ok := out[i].(*engine.Report); ok && r.Kind >= engine.Succeeded {
			if newest, known := c.last[taskKey{engine.RunKey{Tenant: r.Tenant, ID: r.Run}, r.Generation, r.TaskNo}]; known {
				changed := *r
				changed.Assignment = newest
				out[i] = &changed
			}
		}
	}
	return out
}

// out notes what a step wants, and lets what a broken engine lets out early.
func (c *core) out(out engine.Output) engine.Output {
	c.lines.wrote(&out)
	c.lines.size(c.Resident(), c.s.w.now)
	var early []engine.Effect
	kept := out.Effects[:0:0]
	for _, e := range out.Effects {
		if a, ok := e.(*engine.Assign); ok {
			c.last[taskKey{engine.RunKey{Tenant: a.Tenant, ID: a.Run}, a.Generation, a.TaskNo}] = a.Assignment
		}
		if stop, ok := e.(*engine.Stop); ok && c.s.w.broken == SlotFreedAtCancel {
			c.inject = append(c.inject, &engine.Report{Tenant: stop.Tenant, Worker: stop.Worker, Session: stop.Session, Assignment: stop.Assignment, Kind: engine.Stopped})
		}
		if c.early(e, len(out.Changes) == 0) {
			early = append(early, e)
		} else {
			kept = append(kept, e)
		}
	}
	if len(early) == 0 {
		return out
	}
	out.Effects = kept
	s := c.s
	s.w.after(0, &s.process, "", func() {
		shard := int32(-1)
		s.drive.Owned(func(id int32, _ int64) {
			if shard < 0 || tenantOf(early) != 0 && s.w.shardOf(tenantOf(early)) == id {
				shard = id
			}
		})
		if shard >= 0 {
			s.drive.LetOut(shard, early)
		}
		s.settle()
	})
	return out
}

// tenantOf is the tenant of the first effect that names one.
func tenantOf(effects []engine.Effect) int64 {
	for _, e := range effects {
		if a, ok := e.(*engine.Assign); ok {
			return a.Tenant
		}
	}
	return 0
}

// early tells whether the broken engine does not wait with an effect.
func (c *core) early(e engine.Effect, writesNothing bool) bool {
	switch e.(type) {
	case *engine.TriggerReply, *engine.VerdictReply, *engine.Reply:
		return c.s.w.broken == AckBeforeCommit || c.s.w.broken == EffectBeforeOlder && writesNothing
	case *engine.Assign:
		return c.s.w.broken == ChildEarly
	default:
		return false
	}
}

// isServer tells whether an error is an answer of the server's, and so a definite outcome.
func isServer(err error) bool {
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok
}

// heard notes what concerns sessions and assignments.
func (c *core) heard(in engine.Input) {
	switch in := in.(type) {
	case *engine.Report:
		c.s.w.notef("%s hears report %d of %s (%s/%d) from session %d", c.s.name, in.Kind, short(in.Assignment), short(in.Run), in.TaskNo, in.Session)
	case *engine.OpenSession:
		c.s.w.notef("%s hears of session %s.%d with %d assignments", c.s.name, short(in.Worker), in.Session, len(in.Held))
	case *engine.LoseSession:
		c.s.w.notef("%s hears of the loss of session %s.%d, gone %v", c.s.name, short(in.Worker), in.Session, in.Gone)
	}
}
