package model

import "fmt"

// The ownership model: schedulers that own one shard in turn, the store with its lock and its epoch, a client with one call, and two workers of which
// one gets the task. A commit's statements are steps of their own, on a backend that goes on without whoever sent them. A process that is stopped
// needs no rule: whatever anybody does next may be a long time away.

const (
	mostSchedulers = 3
	mostBackends   = 3
	mostSeats      = 2
)

// Changes that a commit carries.
const (
	changeInsert uint8 = iota + 1
	changeRecord       // of the assignment
	changeResult
)

// A commit's stages on its backend.
const (
	stageBegun   uint8 = iota + 1
	stageLocked        // has the shard's lock, shared with other commits
	stageChecked       // has found its epoch in the row
)

type backend struct {
	by, epoch, change, seat, stage uint8
	heard                          bool // its sender still waits for the outcome
}

// locked says whether a backend holds the shard's lock.
func (b backend) locked(broken ownershipTwist) bool {
	return b.stage >= stageLocked && broken&epochUnlocked == 0
}

// scheduler is one process. An epoch of 0 means that it owns nothing.
type scheduler struct {
	up, loaded bool
	epoch      uint8
	// Memory: what is stored, as far as it knows, and the seat that has the task.
	inserted, done, recorded bool
	out                      uint8
	hold                     bool  // nothing is assigned before the census is in
	census                   uint8 // seats that are attached, as bits
	committing               bool
	leaving                  bool
	release, releaseEpoch    uint8 // a release that is under way: 1 clean, 2 not
}

// seat is a worker with its dispatcher.
type seat struct {
	attached uint8 // to this epoch
	running  bool
	done     bool  // the result has no answer yet
	orders   uint8 // under way, by epoch, as bits
}

type shardWorld struct {
	epoch, owner              uint8 // owner 0: given back
	clean                     bool
	inserted, recorded, count uint8 // recorded: the seat; count: results applied
	schedulers                [mostSchedulers + 1]scheduler
	backends                  [mostBackends]backend
	seats                     [mostSeats + 1]seat
	call                      uint8 // the scheduler that has it; 0: to be sent
	acked                     bool
	faults                    uint8
	broken                    uint8
}

// ownershipTwist is something of the protocol that is left out or done wrong.
type ownershipTwist uint32

const (
	epochUnlocked ownershipTwist = 1 << iota // read before and without the lock
	takeWithoutWait
	unknownDone
	unknownFailed // and sent again
	ackEarly
	handOverUnrecorded
	handOverUnsettled // marked clean although the census is not in
	olderOrders       // accepted
	noCensus
	releaseAnyEpoch // a release gives back what has been taken again since
)

// ownershipRules say how the ownership model plays.
type ownershipRules struct {
	twists     ownershipTwist
	schedulers uint8
	faults     fault
	most       uint8 // faults in a world
	epochs     uint8 // after which a world is left alone
	stored     bool  // the call has been answered before the world begins
}

func (r *ownershipRules) has(t ownershipTwist) bool { return r.twists&t != 0 }

// spend takes a fault out of the world's budget; false: it must not happen.
func (r *ownershipRules) spend(w *shardWorld, f fault) bool {
	if w.faults == 0 || r.faults&f == 0 {
		return false
	}
	w.faults--
	return true
}

// Invariants of the ownership model.
const (
	lateCommit uint8 = iota + 1
	storedTwice
	startedTwice
	staleStart
)

var ownershipTexts = map[uint8]string{
	lateCommit:   "P7: a commit of an owner was carried out after its successor had the shard",
	storedTwice:  "P2: a change was stored twice",
	startedTwice: "a task runs twice, and no worker was lost",
	staleStart:   "P7: an order of an owner was carried out whose successor has the session",
}

func (r *ownershipRules) protocol() protocol[shardWorld] {
	start := shardWorld{clean: true, faults: r.most}
	if r.stored {
		start.inserted, start.acked = 1, true
	}
	for i := uint8(1); i <= r.schedulers; i++ {
		start.schedulers[i].up = true
	}
	return protocol[shardWorld]{
		starts: []shardWorld{start}, steps: r.steps, settled: r.settled,
		wrong: shardWorld.wrong, show: shardWorld.show,
	}
}

func (w shardWorld) wrong() string {
	if w.acked && w.inserted == 0 && !w.coming(changeInsert) {
		return "P1: the caller has an acknowledgement for what is not stored and never will be"
	}
	return ownershipTexts[w.broken]
}

func (w shardWorld) show() string {
	return fmt.Sprintf("row: epoch %d owner %d clean %v inserted %d recorded %d results %d | schedulers %+v | backends %+v | seats %+v",
		w.epoch, w.owner, w.clean, w.inserted, w.recorded, w.count, w.schedulers[1:], w.backends, w.seats[1:])
}

// settled says that the call is answered and the task has its result. A world that has used up its epochs is left alone.
func (r *ownershipRules) settled(w shardWorld) bool {
	if w.epoch == r.epochs {
		return true
	}
	for _, s := range w.seats {
		if s.running || s.done {
			return false
		}
	}
	return w.acked && w.count == 1
}

func (r *ownershipRules) steps(w shardWorld, offer func(a action, c certainty, next shardWorld)) {
	if w.broken != fine {
		return
	}
	given := offer
	offer = func(a action, c certainty, next shardWorld) { given(a, c, next.canonical()) }
	for i := uint8(1); i <= r.schedulers; i++ {
		r.schedulerSteps(w, i, offer)
		r.takeSteps(w, i, offer)
	}
	for i, b := range w.backends {
		if b.stage != 0 {
			r.backendSteps(w, i, b, offer)
		}
	}
	for j := uint8(1); j <= mostSeats; j++ {
		r.seatSteps(w, j, offer)
	}
}

// forget lets a scheduler's shard go. Whoever called it calls again.
func (w *shardWorld) forget(i uint8) {
	s := &w.schedulers[i]
	*s = scheduler{up: s.up, release: s.release, releaseEpoch: s.releaseEpoch}
	if w.call == i {
		w.call = 0
	}
}

// commit begins one; false: there is no backend left.
func (w *shardWorld) commit(i, change, seat uint8) bool {
	for n := range w.backends {
		if w.backends[n].stage == 0 {
			w.backends[n] = backend{i, w.schedulers[i].epoch, change, seat, stageBegun, true}
			w.schedulers[i].committing = true
			w.sortBackends()
			return true
		}
	}
	return false
}

// sortBackends makes worlds equal that differ only in which backend does what.
func (w *shardWorld) sortBackends() {
	after := func(a, b backend) bool {
		x := [...]uint8{a.by, a.epoch, a.change, a.seat, a.stage}
		y := [...]uint8{b.by, b.epoch, b.change, b.seat, b.stage}
		for n := range x {
			if x[n] != y[n] {
				return x[n] < y[n]
			}
		}
		return !a.heard && b.heard
	}
	for n := range w.backends {
		for m := n; m > 0 && after(w.backends[m-1], w.backends[m]); m-- {
			w.backends[m-1], w.backends[m] = w.backends[m], w.backends[m-1]
		}
	}
}

// stored is a commit's outcome as its owner hears it: only now do effects leave.
func (w *shardWorld) stored(b backend) {
	s := &w.schedulers[b.by]
	if !b.heard || s.epoch != b.epoch {
		return
	}
	s.committing = false
	switch b.change {
	case changeInsert:
		s.inserted = true
		w.answer(b.by)
	case changeRecord:
		s.recorded = true
	case changeResult:
		s.done, s.out = true, 0
		w.seats[b.seat].running, w.seats[b.seat].done = false, false
	}
}

// answer acknowledges the client's call.
func (w *shardWorld) answer(i uint8) { w.acked = w.acked || w.call == i }

// unknown is a commit whose connection broke: it may have been carried out, or may yet be.
func (r *ownershipRules) unknown(w *shardWorld, b backend) {
	if s := &w.schedulers[b.by]; s.epoch != b.epoch || !s.committing {
		return
	}
	switch {
	case r.has(unknownDone):
		b.heard = true
		w.stored(b)
	case r.has(unknownFailed):
		if !w.commit(b.by, b.change, b.seat) {
			w.forget(b.by)
		}
	default:
		w.forget(b.by) // to be taken again
	}
}

// coming says whether a commit with the change is under way.
func (w *shardWorld) coming(change uint8) bool {
	for _, b := range w.backends {
		if b.stage != 0 && b.change == change {
			return true
		}
	}
	return false
}

// canonical makes worlds equal that differ only in which of the two seats is which.
func (w shardWorld) canonical() shardWorld {
	swapped := w
	swapped.seats[1], swapped.seats[2] = w.seats[2], w.seats[1]
	other := [...]uint8{0, 2, 1}
	swapped.recorded = other[w.recorded]
	bits := [...]uint8{0, 0, bit(2), 0, bit(1), 0, bit(1) | bit(2)}
	for i := range swapped.schedulers {
		s := &swapped.schedulers[i]
		s.out, s.census = other[s.out], bits[s.census]
	}
	for i := range swapped.backends {
		b := &swapped.backends[i]
		b.seat = other[b.seat]
	}
	swapped.sortBackends()
	if swapped.seatKey() > w.seatKey() {
		return swapped
	}
	return w
}

// seatKey tells a world from the one with its seats swapped, as far as it matters which is taken.
func (w *shardWorld) seatKey() uint64 {
	x := w.seats[1]
	key := uint64(x.attached)<<8 | uint64(x.orders)
	if x.running {
		key |= 1 << 16
	}
	return key
}
