package model

// mostSessions bounds a worker's sessions: more would follow from no fault.
const mostSessions = 7

// twist is something of the protocol that is left out or done wrong.
type twist uint32

const (
	commitUnfenced twist = 1 << iota
	ackBeforeCommit
	supersededApplied // as if it were the live assignment's
	slotFreedAtCancel // instead of at the stop
	withdrawnUnasked  // back in the queue when the withdrawal is sent, not when it is answered
	sessionIgnored    // by the dispatcher, in orders
	epochIgnored
	verdictsUnguarded // the dispatcher takes verdicts on news from any owner, in any session
	stoppedUnguarded  // the same for stopped alone
	earlierVerdicts   // the worker takes verdicts on what it reported under an earlier session
	oldListSentAgain  // to the next owner, in place of the table as it is then: harmless as long as verdicts are guarded
	triesAlike        // the owner takes a call to open a session however old it is
	ordersOfAnyTry    // the dispatcher takes orders to its session and epoch, whichever try they answer
	noEvidence        // of a dispatcher's death
	noProbe           // that names the sessions
	lossToldOnce      // and never noticed again
	staleLossTaken    // by any owner that still runs
	ordersOvertake
)

// fault is what may go wrong, one bit each; a world has a number of them left.
type fault uint32

const (
	takeOver fault = 1 << iota // while the owner lives: it was cut off or stopped
	crash                      // of the owner
	breakStream
	die          // the worker
	dieUnnoticed // its stream does not break
	killDispatcher
	falseEvidence // that a dispatcher is gone
	loseOrder
	loseCall // or its answer
	doubleCall
	lateCall   // given up by who made it, and still under way
	loseLoss   // the news that a session is lost
	hasty      // a timer fires while what it waits for is on its way
	outOfTouch // a worker without a stream stops its task by itself
	// Faults of the ownership model, beside takeOver and crash.
	loseOutcome // of a commit, which may have been carried out or may yet be
	handOver    // in order
)

// rules say how the assignment model plays.
type rules struct {
	twists twist
	faults fault
	most   uint8 // faults in a world
	two    bool  // dispatchers
	hangs  bool  // the task's code never ends by itself
	limit  bool  // it has an execution timeout
	cancel bool  // somebody may cancel the run
}

func (r *rules) has(t twist) bool     { return r.twists&t != 0 }
func (r *rules) can(f fault) bool     { return r.faults&f != 0 }
func (w *world) current() *ownerState { return &w.owners[w.epoch] }

func (r *rules) protocol() protocol[world] {
	start := world{epoch: 1, faults: r.most}
	start.owners[1].alive = true
	start.worker.alive = true
	start.dispatcher[1].alive = true
	start.dispatcher[2].alive = r.two
	return protocol[world]{
		starts: []world{start}, steps: r.steps, settled: r.settled, show: world.show,
		wrong: func(w world) string { return brokenTexts[w.broken] },
	}
}

// settled says that the task has its end, nothing is held for it, and nobody waits for an answer. A dead worker's task has to be in the queue again.
func (r *rules) settled(w world) bool {
	o := w.current()
	if !o.alive || inFlight(o.task.state) {
		return false
	}
	x := &w.worker
	if !x.alive {
		return o.session == 0 || o.lost || o.task.state >= completed
	}
	if o.task.state == queued && w.made < mostIDs {
		return false
	}
	for id := uint8(1); id <= mostIDs; id++ {
		if x.job[id] != jobNone {
			return false
		}
	}
	return x.open && w.dispatcher[x.at].sent == 0
}
