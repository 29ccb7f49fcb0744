package sim

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
)

// Faults are what may go wrong in a world, one bit each.
type Faults uint32

// The faults.
const (
	Crash         Faults = 1 << iota // a scheduler is killed, and another start of it comes later
	Halt                             // a scheduler is stopped (SIGSTOP) and goes on later
	Leave                            // a scheduler ends in order, and another start of it comes later
	Partition                        // a scheduler is cut off from the bus
	LostOutcome                      // the connection is lost during a commit, which may have been or may yet be carried out
	Refused                          // the store refuses a commit or a lease for the moment
	SlowStore                        // a commit takes longer than a lock is waited for, up to longer than a lease
	Lose                             // the bus loses messages
	Double                           // the bus doubles requests
	Delay                            // the bus holds messages up
	Reorder                          // the bus changes the order of messages
	Drift                            // clocks run fast or slow
	Die                              // a worker dies
	Break                            // a worker's stream breaks
	DispatcherDie                    // a dispatcher is killed
	Cancel                           // callers cancel
	Replay                           // callers replay
	Repeat                           // callers repeat calls, and workers their results
	CutDispatcher                    // a dispatcher is cut off from the bus
	Move                             // tenants move to other shards
	Drain                            // a worker ends in order
	AllFaults     = 1<<iota - 1
)

var faultNames = []string{
	"crash", "halt", "leave", "partition", "lost-outcome", "refused", "slow-store", "lose", "double", "delay", "reorder", "drift", "die", "break",
	"dispatcher-die", "cancel", "replay", "repeat", "cut-dispatcher", "move", "drain",
}

// String lists the faults by name.
func (f Faults) String() string {
	var names []string
	for ; f != 0; f &= f - 1 {
		names = append(names, faultNames[bits.TrailingZeros32(uint32(f))])
	}
	return strings.Join(names, ",")
}

// unquiet are the faults after which a worker may lose its work although it is well.
const unquiet = Halt | Partition | SlowStore | Lose | Double | Delay | Reorder | Break | DispatcherDie | CutDispatcher

// Scenario says what world a seed makes.
type Scenario struct {
	Seed        uint64
	Faults      Faults
	Seconds     int // of chaos, before everything heals
	Runs        int
	Plans       int
	Tenants     int
	Shards      int
	Schedulers  int
	Dispatchers int
	Workers     int
	Slots       int
	Window      int
	MaxRuns     int
}

// NewScenario draws a scenario.
func NewScenario(seed uint64) Scenario {
	rnd := rand.New(rand.NewPCG(seed, 77)) //nolint:gosec // a test's chance
	pick := func(of ...int) int { return of[rnd.IntN(len(of))] }
	sc := Scenario{
		Seed: seed, Seconds: pick(4, 8, 15), Runs: pick(5, 20, 60, 60, 250), Plans: pick(1, 2, 4), Tenants: pick(1, 2, 3), Shards: pick(1, 2, 4),
		Schedulers: pick(1, 2, 2, 3), Dispatchers: pick(1, 1, 2), Workers: pick(1, 2, 4), Slots: pick(1, 2, 4, 16, 64), Window: pick(4, 8, 1000), MaxRuns: pick(1, 5, 1000),
	}
	for i := range bits.Len32(uint32(Repeat)) {
		if rnd.IntN(3) == 0 {
			sc.Faults |= 1 << i
		}
	}
	// Faults that came later are drawn apart, so that a seed keeps its world.
	later := rand.New(rand.NewPCG(seed, 78)) //nolint:gosec // a test's chance
	for _, f := range []Faults{CutDispatcher, Move, Drain} {
		if later.IntN(3) == 0 {
			sc.Faults |= f
		}
	}
	if rnd.IntN(3) == 0 {
		sc.Faults &^= unquiet
	}
	return sc
}

// String is the scenario in one line.
func (sc Scenario) String() string {
	return fmt.Sprintf("seed=%d faults=%s seconds=%d runs=%d plans=%d tenants=%d shards=%d schedulers=%d dispatchers=%d workers=%d slots=%d window=%d max_runs=%d",
		sc.Seed, sc.Faults, sc.Seconds, sc.Runs, sc.Plans, sc.Tenants, sc.Shards, sc.Schedulers, sc.Dispatchers, sc.Workers, sc.Slots, sc.Window, sc.MaxRuns)
}

// Broken names an engine that is broken on purpose; the empty one is whole.
type Broken string

// The broken engines.
const (
	Whole             Broken = ""
	EpochUnlocked     Broken = "epoch read without the lock"
	AckBeforeCommit   Broken = "ack before commit"
	EffectBeforeOlder Broken = "effect released before an earlier commit of its shard is known"
	SupersededApplied Broken = "a superseded assignment's result applied"
	ChildEarly        Broken = "a child started before its parent's commit"
	NoCensus          Broken = "census left out"
	SlotFreedAtCancel Broken = "slots freed at cancel instead of at stop"
	RefillFromHead    Broken = "refill from the head"
	CallerOrder       Broken = "the caller's id as order"
	UnknownFailed     Broken = "unknown commit outcome treated as failed"
	UnknownDone       Broken = "unknown commit outcome treated as done"
	SessionIgnored    Broken = "session number ignored"
	TakeWithoutWait   Broken = "takeover without waiting for the old backend"
	EpochIgnored      Broken = "epoch ignored by the dispatcher"
	NoEviction        Broken = "runs that nobody needs stay in memory"
	DispatcherUnasked Broken = "dispatchers are not asked whether they live"
	LostSessionKept   Broken = "a dispatcher goes on with a session that its owner takes for lost"
)

// Seed is where to begin to look for a world that catches it: earlier ones are known not to.
func (b Broken) Seed() uint64 {
	if b == DispatcherUnasked {
		return 260
	}
	return 1
}

// BrokenEngines lists all of them.
func BrokenEngines() []Broken {
	return []Broken{
		EpochUnlocked, AckBeforeCommit, EffectBeforeOlder, SupersededApplied, ChildEarly, NoCensus, SlotFreedAtCancel, RefillFromHead, CallerOrder,
		UnknownFailed, UnknownDone, SessionIgnored, TakeWithoutWait, EpochIgnored, NoEviction, DispatcherUnasked, LostSessionKept,
	}
}
