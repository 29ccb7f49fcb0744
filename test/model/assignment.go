package model

import (
	"fmt"
	"strings"
)

// The assignment model: one task of a run, the owners of its shard one after the other, two dispatchers, and one worker with one slot. A commit is one
// step here, which the ownership model earns: it is carried out under the store's epoch or ends its owner. What needs no commit is answered by
// any owner that still runs, and that is where it gets interesting.

const (
	mostIDs    = 3 // assignments of the task; when they are used up, the world is left alone
	mostEpochs = 2
	mostOrders = 3 // under way from one owner
	mostNet    = 4 // requests and answers under way
)

// A task's states in an owner's memory and in its row.
const (
	queued uint8 = iota
	assigned
	running
	stopTimedOut  // told to stop after its execution timeout
	stopCancelled // told to stop after a cancel
	completed
	ended // cancelled, or timed out for good
)

func inFlight(row uint8) bool { return row >= assigned && row <= stopCancelled }
func stopping(row uint8) bool { return row == stopTimedOut || row == stopCancelled }

// What a worker's job does.
const (
	jobNone uint8 = iota
	jobHeld
	jobRunning
	jobStopping
	jobCompleted // from here on the outcome waits for its verdict
	jobStopped
	jobGivenBack
)

// News of a worker, in the order in which a job has them.
const (
	newsAcknowledged uint8 = iota + 1
	newsStarted
	newsWithdrawn
	newsStopped
	newsCompleted
)

const (
	accepted uint8 = iota + 1
	superseded
)

// Orders of an owner.
const (
	orderAssign uint8 = iota + 1
	orderStop
	orderSupersede // a stop because the task belongs to another assignment
	orderWithdraw
	orderClose
)

type order struct{ kind, to, session, try, id uint8 }

// Messages that are calls or their answers: they may overtake each other.
const (
	callOpen uint8 = iota + 1
	answerOpen
	callReport
	answerReport
	callNeverLeft
)

// message is a call or an answer. Its fields mean what its kind needs.
type message struct {
	kind    uint8
	at      uint8 // the dispatcher
	session uint8
	epoch   uint8 // of the owner that is asked, or has answered; 0: whichever
	id      uint8
	news    uint8
	held    uint8 // ids in a call to open, as bits; the verdict in an answer to a report; 1 in an answer to open: refused
	begun   uint8
	try     uint8
	fromEp  uint8 // the epoch that the session was attached to when the report was passed on; 0: none
	late    bool  // the worker waits for it no longer
}

// row is the task in the store.
type row struct{ state, id, won, attempt uint8 }

type ownerState struct {
	alive           bool
	task            row // what memory says; won is the store's alone
	session         uint8
	taskSession     uint8 // whose worker has the assignment; 0: recorded by an owner before, or brought by a report
	at              uint8 // the session's dispatcher
	lost            bool
	over            uint8 // the worker said that this one is over
	unheard         bool
	acked, recorded bool
	endedUpTo       uint8
	try             uint8 // of the call that opened the session
	counted         uint8 // ids that this owner knows to be with the worker, on a session that it has not given up
}

type dispatcherState struct {
	alive          bool
	number         uint8 // the highest session seen
	session, epoch uint8 // 0: none; 0: being attached
	heard          uint8 // the newest epoch that has asked for sessions
	replaced       uint8 // the session that this one took over from
	cut            bool  // the stream is broken, and it has not noticed yet
	trying         bool  // to attach
	try            uint8
	sent, begun    uint8 // the table
	losing         uint8 // sessions whose end the owner has yet to hear of
	out, wire      frame
}

// frame is what waits for a stream, or is on it: ids as bits, in the order in which the worker takes them.
type frame struct{ assign, stop, back uint8 }

type workerState struct {
	alive  bool
	at     uint8 // the dispatcher that it has a stream to, from 1
	open   bool
	busy   bool // a report is under way
	number uint8
	job    [mostIDs + 1]uint8
	said   [mostIDs + 1]uint8 // news that have a verdict, as bits
	ran    uint8              // ids whose outcome has its verdict
}

type world struct {
	epoch      uint8
	store      row
	owners     [mostEpochs + 1]ownerState
	dispatcher [3]dispatcherState
	worker     workerState
	orders     [mostEpochs + 1][mostOrders]order
	net        [mostNet]message
	made       uint8              // ids given out
	attemptOf  [mostIDs + 1]uint8 // of each id
	faults     uint8              // left
	cancelled  bool
	broken     uint8 // the invariant that the last step broke
}

// Invariants of the assignment model.
const (
	fine uint8 = iota
	twoFinals
	oldAttemptApplied
	slotTwice
	resultLost
	ranAgain
	sessionsWithoutEnd
	foreignOrder
)

var brokenTexts = map[uint8]string{
	twoFinals:          "P2: the task has got a second final state",
	oldAttemptApplied:  "P2: a superseded assignment's result was applied",
	slotTwice:          "P4: a slot was given away whose assignment is not known to have stopped",
	resultLost:         "P1: a result was acknowledged that the store does not have",
	ranAgain:           "an assignment began again after its outcome had its verdict",
	sessionsWithoutEnd: "a worker opens one session after the other",
	foreignOrder:       "P7: an order of an owner was carried out whose successor has the session",
}

func bit(id uint8) uint8 { return 1 << id }

// send puts a message under way, in the place that keeps equal worlds equal; a message that is under way already is the same one. It says whether there
// was room.
func (w *world) send(m message) bool {
	for _, have := range w.net {
		if have == m {
			return true
		}
	}
	if w.net[0].kind != 0 {
		return false
	}
	i := 0
	for ; i+1 < mostNet && m.after(w.net[i+1]); i++ {
		w.net[i] = w.net[i+1]
	}
	w.net[i] = m
	return true
}

func (w *world) drop(at int) {
	copy(w.net[1:at+1], w.net[:at])
	w.net[0] = message{}
}

func (m message) after(o message) bool {
	a := [...]uint8{m.kind, m.at, m.session, m.epoch, m.id, m.news, m.held, m.begun, m.try, m.fromEp}
	b := [...]uint8{o.kind, o.at, o.session, o.epoch, o.id, o.news, o.held, o.begun, o.try, o.fromEp}
	for i := range a {
		if a[i] != b[i] {
			return a[i] > b[i]
		}
	}
	return m.late && !o.late
}

// order puts an owner's order under way, behind those before; false: there is no room.
func (w *world) order(epoch uint8, o order) bool {
	for i := range w.orders[epoch] {
		if w.orders[epoch][i].kind == 0 {
			w.orders[epoch][i] = o
			return true
		}
	}
	return false
}

func (w *world) ordered(epoch, kind, id uint8) bool {
	for _, o := range w.orders[epoch] {
		if o.kind == kind && o.id == id {
			return true
		}
	}
	return false
}

func (w *world) take(epoch uint8, at int) {
	q := &w.orders[epoch]
	copy(q[at:], q[at+1:])
	q[mostOrders-1] = order{}
}

// show describes a world for a trace, as far as it tells why something goes on or does not.
func (w world) show() string {
	var text strings.Builder
	o := w.owners[w.epoch]
	fmt.Fprintf(&text, "epoch %d row %v | owner task %v session %d@%d lost %v task's session %d acked %v over %d | worker at %d open %v number %d jobs %v",
		w.epoch, w.store, o.task, o.session, o.at, o.lost, o.taskSession, o.acked, o.over, w.worker.at, w.worker.open, w.worker.number, w.worker.job[1:])
	for i, d := range w.dispatcher {
		if d.session != 0 || d.sent != 0 {
			fmt.Fprintf(&text, " | dispatcher %d session %d epoch %d table %03b", i, d.session, d.epoch, d.sent>>1)
		}
	}
	for _, m := range w.net {
		if m.kind != 0 {
			fmt.Fprintf(&text, " | %+v", m)
		}
	}
	return text.String()
}
