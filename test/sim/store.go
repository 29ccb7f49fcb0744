package sim

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/services/scheduler"
)

// holding is a shard's lease row.
type holding struct {
	epoch   int64
	owner   flow.ID
	expires int64
}

// store is Postgres as far as the engine sees it: rows, leases, and commits that take their time.
type store struct {
	*rows
	w       *world
	leases  []holding
	shards  map[int64]int32 // of tenants that have moved
	commits []*commit       // begun, and not at their end in the server
	takes   int
	fences  int
	unknown int
}

// commit is one on its way through the server.
type commit struct {
	*scheduler.Commit
	from    *scheduling
	life    int
	locked  bool // it has its locks and has passed the comparison of epochs
	stuck   bool // its process was stopped before all of it was sent
	ended   bool // carried out or rolled back
	unknown bool // the client has been told, or will be, that the connection is lost
	told    bool
}

func newStore(w *world) *store {
	return &store{rows: newRows(w), w: w, leases: make([]holding, w.sc.Shards), shards: make(map[int64]int32)}
}

// shardOf is where a tenant is now.
func (w *world) shardOf(tenant int64) int32 {
	if shard, moved := w.store.shards[tenant]; moved {
		return shard
	}
	return int32(tenant) % int32(w.sc.Shards) //nolint:gosec // small
}

// move is lease.Store.MoveTenant.
func (s *store) move(tenant int64, to int32) {
	from := s.w.shardOf(tenant)
	if from == to {
		return
	}
	s.waitOut(min(from, to))
	s.waitOut(max(from, to))
	old, next := &s.leases[from], &s.leases[to]
	above := max(old.epoch, next.epoch)
	s.shards[tenant] = to
	old.epoch, next.epoch = above+1, above+2
	if next.owner.IsZero() {
		next.owner = old.owner
	}
	s.w.notef("tenant %d moves from shard %d (epoch %d) to shard %d (epoch %d)", tenant, from, old.epoch, to, next.epoch)
}

func errRefused() error {
	return &pgconn.PgError{Severity: "ERROR", Code: "40001", Message: "could not serialize access"}
}

func errLost() error { return fmt.Errorf("the connection is lost: %w", io.ErrUnexpectedEOF) }

// begin takes a commit on its way: sent, locked and compared, carried out, answered. At each point it may go wrong.
func (s *store) begin(from *scheduling, sc *scheduler.Commit) {
	w := s.w
	c := &commit{Commit: sc, from: from, life: from.life}
	s.commits = append(s.commits, c)
	if w.once(Refused, 8) {
		w.after(w.between(100, 2*millisecond), nil, "", func() { s.end(c); s.tell(c, errRefused()) })
		return
	}
	if w.once(LostOutcome, 6) {
		w.after(w.between(100, 10*millisecond), nil, "", func() { s.lose(c) })
	}
	wait, work := w.between(100, 800), w.between(200, 3*millisecond)
	switch {
	case w.once(SlowStore, 10):
		work = w.between(10*millisecond, 18*second)
	case w.once(SlowStore, 10):
		wait = w.between(10*millisecond, 2*second)
	}
	w.after(wait, nil, "", func() { s.lock(c, work) })
}

func (s *store) lock(c *commit, work int64) {
	if c.ended {
		return
	}
	if lost := s.lost(c); len(lost) > 0 {
		s.fences++
		s.w.notef("a commit of %s is refused, it has lost shards %v", c.from.name, lost)
		s.end(c)
		s.tell(c, fence(lost))
		return
	}
	c.locked = true
	if c.from.halted && c.from.life == c.life && s.w.rnd.IntN(2) == 0 {
		c.stuck = true
		s.w.notef("a commit of %s is stuck with its locks", c.from.name)
	}
	s.w.after(work, nil, "", func() { s.finish(c) })
}

// lost lists the shards that have another epoch than a commit believes.
func (s *store) lost(c *commit) []int32 {
	var lost []int32
	for _, p := range c.Parts {
		if s.leases[p.Shard].epoch != p.Epoch {
			lost = append(lost, p.Shard)
		}
	}
	return lost
}

func fence(shards []int32) error {
	names := make([]string, len(shards))
	for i, id := range shards {
		names[i] = strconv.Itoa(int(id))
	}
	return &pgconn.PgError{Severity: "ERROR", Code: pg.FenceState, Message: strings.Join(names, ",")}
}

// finish carries a commit out, once its process has sent all of it.
func (s *store) finish(c *commit) {
	if c.ended {
		return
	}
	if c.stuck && c.from.halted && c.from.life == c.life {
		s.w.after(50*millisecond, nil, "", func() { s.finish(c) })
		return
	}
	if c.stuck && c.from.life != c.life {
		s.end(c) // its process died before it had sent all
		return
	}
	s.end(c)
	err := s.apply(c.Parts)
	if err == nil {
		s.w.notef("a commit of %s is carried out: %s", c.from.name, describe(c.Commit))
	}
	s.tell(c, err)
}

// apply writes what a commit wants. A stale owner's writes are a breach, wherever the fence failed.
func (s *store) apply(parts []scheduler.CommitPart) error {
	for _, p := range parts {
		if held := s.leases[p.Shard]; held.epoch != p.Epoch {
			s.w.failf("P7: a commit under epoch %d of shard %d was carried out, whose epoch is %d", p.Epoch, p.Shard, held.epoch)
		}
	}
	for _, p := range parts {
		for _, change := range p.Changes {
			if err := s.write(change); err != nil {
				s.w.failf("P2: rows and memory differ, shard %d epoch %d: %v", p.Shard, p.Epoch, err)
			}
		}
	}
	return nil
}

func (s *store) end(c *commit) {
	c.ended = true
	s.commits = slices.DeleteFunc(s.commits, func(other *commit) bool { return other == c })
}

// lose breaks the connection of a commit: its process never learns the outcome. The server may not have seen it, or carries it out all the same.
func (s *store) lose(c *commit) {
	if c.told || c.unknown {
		return
	}
	if !c.locked && !c.ended && s.w.rnd.IntN(2) == 0 {
		s.end(c)
	}
	s.w.notef("%s loses its connection during a commit (carried out or rolled back already: %v): %s", c.from.name, c.ended, describe(c.Commit))
	s.tellUnknown(c)
}

func (s *store) tellUnknown(c *commit) {
	c.unknown = true
	s.unknown++
	s.respond(c, errLost())
}

// tell answers a commit, unless its connection is lost.
func (s *store) tell(c *commit, err error) {
	if c.unknown {
		return
	}
	c.told = true
	s.respond(c, err)
}

func (s *store) respond(c *commit, err error) {
	p := c.from
	if p.dead || p.life != c.life {
		return
	}
	s.w.after(s.w.between(50, 500), &p.process, "", func() { p.committed(c.Commit, err) })
}

// writeNow is a commit that its owner waits for.
func (s *store) writeNow(from *scheduling, sc *scheduler.Commit) error {
	if s.w.once(Refused, 8) {
		return errRefused()
	}
	c := &commit{Commit: sc, from: from}
	if lost := s.lost(c); len(lost) > 0 {
		s.fences++
		return fence(lost)
	}
	if s.w.once(LostOutcome, 6) {
		if s.w.rnd.IntN(2) == 0 {
			_ = s.apply(sc.Parts)
		}
		return errLost()
	}
	return s.apply(sc.Parts)
}

// take is lease.Store.Take: it waits for the commits that hold the shard's lock, up to half a second each, and then ends their backends.
func (s *store) take(by *scheduling, shard int32, gone flow.ID) (lease.Lease, bool, error) {
	if s.w.once(Refused, 12) {
		return lease.Lease{}, false, errRefused()
	}
	held := &s.leases[shard]
	takeable := held.owner.IsZero() || held.owner == by.id || !gone.IsZero() && held.owner == gone || held.expires < s.w.now
	if !takeable {
		return lease.Lease{}, false, nil
	}
	if s.w.broken != TakeWithoutWait && s.w.broken != EpochUnlocked {
		s.waitOut(shard)
	}
	l := lease.Lease{Shard: shard, Epoch: held.epoch + 1, EngineTime: s.w.now, Clean: held.owner.IsZero()}
	*held = holding{l.Epoch, by.id, s.w.now + lease.Duration.Microseconds()}
	s.takes++
	s.w.notef("%s takes shard %d under epoch %d, clean %v", by.name, shard, l.Epoch, l.Clean)
	if s.w.once(LostOutcome, 12) {
		return lease.Lease{}, false, errLost()
	}
	return l, true, nil
}

func (s *store) waitOut(shard int32) {
	for _, c := range slices.Clone(s.commits) {
		if !c.locked || c.ended || !slices.ContainsFunc(c.Parts, func(p scheduler.CommitPart) bool { return p.Shard == shard }) {
			continue
		}
		if c.stuck || s.w.once(SlowStore, 2) {
			s.w.notef("a backend of %s that holds the lock of shard %d is ended", c.from.name, shard)
			s.end(c)
			if !c.unknown {
				s.tellUnknown(c)
			}
			continue
		}
		s.finish(c)
	}
}

func (s *store) renew(by *scheduling) ([]lease.Lease, []lease.Standing, error) {
	if s.w.once(Refused, 8) {
		return nil, nil, errRefused()
	}
	var own []lease.Lease
	all := make([]lease.Standing, 0, len(s.leases))
	for i := range s.leases {
		l := &s.leases[i]
		shard := int32(i) //nolint:gosec // small
		standing := lease.Standing{Shard: shard, Owner: l.owner, Free: l.owner.IsZero() || l.expires < s.w.now}
		if l.owner == by.id {
			l.expires = s.w.now + lease.Duration.Microseconds()
			standing.Free = false
			own = append(own, lease.Lease{Shard: shard, Epoch: l.epoch, EngineTime: s.w.now})
		}
		all = append(all, standing)
	}
	return own, all, nil
}

func (s *store) release(by *scheduling, leases []lease.Lease, clean bool) error {
	if s.w.once(Refused, 8) {
		return errRefused()
	}
	for i := range s.leases {
		l := &s.leases[i]
		meant := func(given lease.Lease) bool { return given.Shard == int32(i) && given.Epoch == l.epoch } //nolint:gosec // small
		if l.owner != by.id || len(leases) > 0 && !slices.ContainsFunc(leases, meant) {
			continue
		}
		s.w.notef("%s gives shard %d back, clean %v", by.name, i, clean)
		if l.expires = 0; clean {
			l.owner = flow.ID{}
		}
	}
	if s.w.once(LostOutcome, 8) {
		return errLost()
	}
	return nil
}

func (s *store) openTenants(shard int32) []int64 {
	var out []int64
	for key := range s.live {
		if s.w.shardOf(key.Tenant) == shard && !slices.Contains(out, key.Tenant) {
			out = append(out, key.Tenant)
		}
	}
	slices.Sort(out)
	return out
}

var errNobody = errors.New("nobody serves it")
