package sim

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/services/scheduler"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// scheduling is a scheduler process: the real owner and keeper, driven by the world.
type scheduling struct {
	process
	w        *world
	id       flow.ID
	drive    *scheduler.Drive
	cut      bool  // from the bus
	rate     int64 // what its clock gains, in parts per million
	busy     bool  // the keeper waits for the owner, or for a take
	due      bool  // a round is wanted once the keeper is free
	wakeAt   int64
	wakeNo   int
	retaking bool
}

func (w *world) newScheduler(name string) *scheduling {
	s := &scheduling{process: process{name: name, dead: true}, w: w}
	w.schedulers = append(w.schedulers, s)
	s.start()
	return s
}

// start is a new start of the process, which knows nothing of the one before.
func (s *scheduling) start() {
	if !s.dead {
		return
	}
	w := s.w
	s.life++
	s.dead, s.halted, s.cut, s.busy, s.due, s.retaking, s.wakeAt = false, false, false, false, false, false, 0
	s.id = w.newID()
	s.rate = 0
	if w.faults&Drift != 0 {
		s.rate = w.between(-20_000, 20_000)
	}
	w.notef("%s starts", s.name)
	s.drive = scheduler.NewDrive(w.ctx, scheduler.Config{
		Bus: port{s}, Workflows: workflows{w}, Log: slog.New(ear{s}), Instance: s.id, Members: members{s}, Engine: w.engineConfig(),
	}, s)
	s.renewal()
	w.after(500*millisecond, &s.process, "", s.askOwners)
	for _, other := range w.schedulers {
		if other != s {
			w.after(w.between(millisecond, second), &other.process, "", func() { other.round(false) })
		}
	}
}

// leave ends the process in order.
func (s *scheduling) leave() {
	w := s.w
	w.notef("%s ends in order", s.name)
	s.drive.Stop(func(c *scheduler.Commit) error {
		for _, under := range slices.Clone(w.store.commits) {
			if under.from != s || under.life != s.life || w.rnd.IntN(4) == 0 {
				continue
			}
			if lost := w.store.lost(under); len(lost) > 0 {
				w.store.end(under)
				return fence(lost)
			}
			w.store.end(under)
			return w.store.apply(c.Parts)
		}
		return errLost()
	})
	w.kill(&s.process)
	for _, other := range w.schedulers {
		if other != s {
			w.after(w.between(millisecond, 100*millisecond), &other.process, "", func() { other.round(false) })
		}
	}
}

func (s *scheduling) serves(shard int32, epoch int64) (yes bool) {
	s.drive.Owned(func(id int32, e int64) { yes = yes || id == shard && e == epoch })
	return yes
}

func (s *scheduling) renewal() {
	s.w.after(4*second+s.w.between(-100*millisecond, 100*millisecond), &s.process, "", s.renewal)
	s.round(true)
}

func (s *scheduling) askOwners() {
	s.w.after(500*millisecond, &s.process, "", s.askOwners)
	if s.busy {
		return
	}
	if s.w.broken != DispatcherUnasked {
		s.drive.AskDispatchers()
	}
	if s.drive.AskOwners() {
		s.round(false)
		return
	}
	s.drive.Hear()
	s.settle()
}

// round is one of the keeper's, after which it waits until the owner has heard of it.
func (s *scheduling) round(regular bool) {
	if s.busy {
		s.due = true
		return
	}
	s.busy = true
	_ = s.drive.Round(regular) // it is tried again with the next
	s.hearSoon()
}

func (s *scheduling) hearSoon() {
	s.w.after(s.w.between(0, 2*millisecond), &s.process, "", func() {
		s.drive.Hear()
		s.busy = false
		s.settle()
		if s.due && !s.busy {
			s.due = false
			s.round(false)
		}
	})
}

// settle follows every event of the owner: it sees to what the owner has decided to do later.
func (s *scheduling) settle() {
	w := s.w
	if s.dead {
		return
	}
	if d, ok := s.drive.NewPause(); ok {
		w.after(d.Microseconds(), &s.process, "", func() { s.drive.PauseOver(); s.settle() })
	}
	if s.drive.Dropped() && !s.busy {
		s.busy = true
		w.after(w.between(0, millisecond), &s.process, "", s.takeAgain)
	}
	in, ok := s.drive.NextWake()
	at := w.now + in.Microseconds()
	if !ok || s.wakeAt != 0 && s.wakeAt <= at {
		return
	}
	s.wakeAt = at
	s.wakeNo++
	no := s.wakeNo
	w.after(at-w.now, &s.process, "", func() {
		if no != s.wakeNo {
			return
		}
		s.wakeAt = 0
		s.drive.Wake()
		s.settle()
	})
}

func (s *scheduling) takeAgain() {
	if err := s.drive.TakeAgain(); err != nil {
		s.w.after(100*millisecond, &s.process, "", s.takeAgain)
		return
	}
	s.hearSoon()
}

// committed hears how a commit ended. Two of the broken engines take an unknown outcome for a known one.
func (s *scheduling) committed(c *scheduler.Commit, err error) {
	if err != nil && !isServer(err) {
		switch s.w.broken {
		case UnknownDone:
			err = nil
		case UnknownFailed:
			err = errRefused()
		}
	}
	s.drive.Committed(c, err)
	s.settle()
}

// What the Drive reaches.

func (s *scheduling) Clock() time.Time {
	gone := s.w.now - start
	return time.UnixMicro(s.w.now + gone*s.rate/1_000_000)
}

func (s *scheduling) Core(cfg engine.Config) scheduler.Core { return newCore(s, cfg) }

func (s *scheduling) Begin(c *scheduler.Commit) { s.w.store.begin(s, c) }

func (s *scheduling) Write(c *scheduler.Commit) error { return s.w.store.writeNow(s, c) }

func (s *scheduling) Look(shard int32, ask engine.Ask, answer func(engine.Input)) {
	w := s.w
	wait := w.between(100, 2*millisecond)
	if w.once(Refused, 6) || w.once(SlowStore, 6) {
		wait += w.between(100*millisecond, second)
	}
	pause := func(then func()) {
		if w.rnd.IntN(2) == 0 {
			then()
			return
		}
		w.after(w.between(50, 2*millisecond), &s.process, "", then)
	}
	w.after(wait, &s.process, "", func() {
		if a, ok := ask.(*engine.AskTenant); ok && w.shardOf(a.Tenant) != shard {
			answer(&engine.TenantLoaded{Tenant: a.Tenant, Asked: a.Asked, Elsewhere: true})
			s.settle()
			return
		}
		w.store.answer(ask, pause, func(in engine.Input) {
			w.after(w.between(50, millisecond), &s.process, "", func() { answer(in); s.settle() })
		})
	})
}

func (s *scheduling) Renew() ([]lease.Lease, []lease.Standing, error) { return s.w.store.renew(s) }

func (s *scheduling) Take(shard int32, gone flow.ID) (lease.Lease, bool, error) {
	return s.w.store.take(s, shard, gone)
}

func (s *scheduling) Release(leases []lease.Lease, clean bool) error {
	return s.w.store.release(s, leases, clean)
}

func (s *scheduling) OpenTenants(shard int32) []int64 { return s.w.store.openTenants(shard) }

func (s *scheduling) Background(work func()) {
	s.w.after(s.w.between(50, 5*millisecond), &s.process, "", func() { work(); s.settle() })
}

// members is what a scheduler knows of the others.
type members struct{ s *scheduling }

func (m members) Others() []string {
	var out []string
	for _, other := range m.s.w.schedulers {
		if other != m.s && !other.dead && !other.cut && !m.s.cut {
			out = append(out, uuid.UUID(other.id).String())
		}
	}
	return out
}

func (m members) Changed() <-chan struct{} { return nil }

// Gone is true only when nobody answers: a stopped process keeps its place on the bus.
func (m members) Gone(_ context.Context, instance string) bool {
	if m.s.cut {
		return false
	}
	for _, other := range m.s.w.schedulers {
		if uuid.UUID(other.id).String() == instance && !other.dead && !other.cut {
			return false
		}
	}
	for _, d := range m.s.w.dispatchers {
		if d.instance() == instance && !d.dead && !d.cut {
			return false
		}
	}
	return true
}

// workflows knows every plan.
type workflows struct{ w *world }

func (f workflows) Plan(_ context.Context, _, workflowID int64, _ int) (*flow.Plan, error) {
	return f.w.byID[workflowID], nil
}

func (f workflows) Resolve(context.Context, int64, string, int) (*flow.Plan, error) {
	return nil, errNobody
}

func (f workflows) CheckInput(context.Context, int64, *flow.Plan, []byte) error { return nil }
