package model

// turn is one step of an owner: what it changes, and whether that needs a commit.
type turn struct {
	*rules

	w      world
	epoch  uint8
	o      *ownerState
	dirty  bool // a commit is needed
	noRoom bool // an order or an answer finds no room: the step waits
}

// turn lets an owner take something in. Where a commit is needed and the epoch is another by now, the owner is fenced: all that is left of the step is
// that it gives the shard up. Changed is false when the step has to wait for room.
func (r *rules) turn(w world, epoch uint8, take func(t *turn)) (next world, changed bool) {
	t := &turn{rules: r, w: w, epoch: epoch}
	t.o = &t.w.owners[epoch]
	take(t)
	switch {
	case t.noRoom:
		return w, false
	case t.dirty && w.epoch != epoch && !r.has(commitUnfenced):
		w.owners[epoch] = ownerState{}
		return w, true
	case t.dirty:
		t.write()
	}
	return t.w, true
}

func (t *turn) write() {
	before := t.w.store
	now := t.o.task
	now.won = before.won
	if now.state >= completed {
		now.won = now.id
		now.id = 0
		if before.state >= completed && (before.state != now.state || before.won != now.won) {
			t.w.broken = twoFinals
		}
	}
	t.o.recorded = t.o.recorded || inFlight(now.state)
	t.w.store = now
}

func (t *turn) touch() { t.dirty = true }

func (t *turn) send(m message) {
	m.epoch = t.epoch
	t.noRoom = t.noRoom || !t.w.send(m)
}

func (t *turn) tell(kind, id uint8) {
	o := t.o.order(kind, id)
	t.noRoom = t.noRoom || !t.w.order(t.epoch, o)
}

// order is one to the worker of the owner's session, by the try that opened it.
func (o *ownerState) order(kind, id uint8) order { return order{kind, o.at, o.session, o.try, id} }

// open is OpenSession.
func (t *turn) open(m message) {
	o := t.o
	stale := o.endedUpTo >= m.session || o.session > m.session || o.session == m.session && !o.lost && o.at != m.at
	answer := message{kind: answerOpen, at: m.at, session: m.session, try: m.try}
	if !t.has(triesAlike) && o.session == m.session && o.at == m.at && m.try <= o.try {
		if m.try == o.try {
			t.send(answer) // doubled: it changes nothing
		}
		return // or a later try of the same session has been taken
	}
	if stale {
		answer.held = 1
		t.send(answer)
		return
	}
	before, brought := o.session, false
	if before != 0 && before != m.session {
		t.noRoom = t.noRoom || !t.w.order(t.epoch, o.order(orderClose, 0))
	}
	had := before != 0 && o.taskSession == before && inFlight(o.task.state)
	o.session, o.at, o.lost, o.try = m.session, m.at, false, m.try
	t.touchSession()
	t.send(answer)
	for id := uint8(1); id <= mostIDs; id++ {
		if m.held&bit(id) != 0 && t.bringBack(id, m.begun&bit(id) != 0) {
			brought = true
		}
	}
	if had && !brought {
		t.missing()
	}
	t.match()
}

// touchSession needs a commit, which leaves the task's row as it is.
func (t *turn) touchSession() {
	if t.w.epoch != t.epoch {
		t.dirty = true // to be fenced
	}
}

func (t *turn) bringBack(id uint8, begun bool) bool {
	o := t.o
	if o.task.id != id || !inFlight(o.task.state) {
		if !t.adopt(id) {
			o.counted &^= bit(id)
			t.tell(orderSupersede, id)
			return false
		}
	}
	o.taskSession, o.acked = o.session, true
	o.counted |= bit(id)
	switch {
	case stopping(o.task.state):
		t.tell(orderStop, id)
	case begun:
		o.task.state = running
	}
	return true
}

func (t *turn) adopt(id uint8) bool {
	o := t.o
	if o.task.state != queued || t.w.attemptOf[id] != o.task.attempt || o.over == id {
		return false
	}
	o.task.state, o.task.id, o.recorded, o.acked = assigned, id, false, true
	o.taskSession = 0
	return true
}

func (t *turn) missing() {
	if o := t.o; o.task.state == assigned && !o.acked && !o.unheard {
		o.unheard = true
		t.requeue()
		return
	}
	t.lose()
}

func (t *turn) requeue() {
	if stopping(t.o.task.state) {
		t.stopped()
		return
	}
	if t.o.recorded {
		t.touch()
	}
	t.release(queued)
}

func (t *turn) lose() {
	if stopping(t.o.task.state) {
		t.stopped()
		return
	}
	t.touch()
	t.release(queued)
}

func (t *turn) release(state uint8) {
	o := t.o
	o.task.state = state
	if state == queued {
		o.task.id = 0
	}
	o.taskSession, o.acked, o.recorded = 0, false, false
}

const lastAttempt = 1

func (t *turn) stopped() {
	t.touch()
	if t.o.task.state == stopTimedOut && t.o.task.attempt < lastAttempt {
		t.o.task.attempt++
		t.release(queued)
		return
	}
	t.release(ended)
}

// match assigns the task, if it waits and the worker has its slot free.
func (t *turn) match() {
	o := t.o
	if o.task.state != queued || o.session == 0 || o.lost || t.w.made == mostIDs {
		return
	}
	id := t.w.made + 1
	if t.epoch == t.w.epoch {
		t.w.checkSlot(id)
	}
	t.w.made, t.w.attemptOf[id] = id, o.task.attempt
	o.task.state, o.task.id = assigned, id
	o.taskSession, o.acked, o.recorded = o.session, false, false
	o.counted |= bit(id)
	t.tell(orderAssign, id)
}

// report is a worker's news, passed on by a dispatcher.
func (t *turn) report(m message) {
	o := t.o
	verdict := accepted
	known := o.task.id == m.id && inFlight(o.task.state)
	if !known {
		if o.task.state >= completed && t.w.store.won == m.id {
			t.answer(m, accepted)
			return
		}
		stale := m.news <= newsStarted && o.session > m.session
		if m.news == newsWithdrawn || m.news == newsStopped || stale || !t.adopt(m.id) {
			if m.news == newsCompleted && t.has(supersededApplied) && o.task.state < completed {
				t.complete(m.id)
				t.answer(m, accepted)
				return
			}
			if m.news == newsCompleted && o.task.state < completed {
				t.touchSession() // its attempt is noted
			}
			if m.news >= newsWithdrawn {
				o.counted &^= bit(m.id)
			}
			t.answer(m, superseded)
			return
		}
		if o.session >= m.session {
			o.taskSession = o.session
			o.counted |= bit(m.id)
		}
	}
	switch m.news {
	case newsAcknowledged:
		o.acked = true
	case newsStarted:
		o.acked = true
		if o.task.state == assigned {
			o.task.state = running
		}
	case newsWithdrawn:
		if o.task.state == assigned || stopping(o.task.state) {
			o.over = m.id
			o.counted &^= bit(m.id)
			t.requeue()
		}
	case newsStopped:
		o.over = m.id
		o.counted &^= bit(m.id)
		t.lose()
	case newsCompleted:
		o.counted &^= bit(m.id)
		if stopping(o.task.state) {
			verdict = superseded
			t.stopped()
		} else {
			t.complete(m.id)
		}
	}
	t.answer(m, verdict)
	t.match()
}

func (t *turn) complete(id uint8) {
	if t.w.attemptOf[id] != t.o.task.attempt || inFlight(t.o.task.state) && t.o.task.id != id {
		t.w.broken = oldAttemptApplied
	}
	t.o.task.id = id
	t.touch()
	if t.has(ackBeforeCommit) {
		t.dirty = t.w.epoch == t.epoch
	}
	t.release(completed)
}

func (t *turn) answer(m message, verdict uint8) {
	if m.kind == callNeverLeft {
		return
	}
	m.kind, m.held = answerReport, verdict
	t.send(m)
}

// loseSession says that a session's stream broke, or that its worker is gone.
func (t *turn) loseSession(session uint8, gone bool) {
	o := t.o
	if o.session < session {
		o.endedUpTo = max(o.endedUpTo, session)
		return
	}
	if o.session != session {
		return
	}
	o.lost = true
	if gone {
		t.endSession()
	}
}

func (t *turn) endSession() {
	o := t.o
	had := o.taskSession == o.session && inFlight(o.task.state)
	o.endedUpTo = max(o.endedUpTo, o.session)
	o.session, o.at, o.lost, o.try = 0, 0, false, 0
	o.counted = 0
	t.touchSession()
	if had {
		t.missing()
	}
}

// stop tells the worker to stop.
func (t *turn) stop(why uint8) {
	t.o.task.state = why
	t.touch()
	if t.has(slotFreedAtCancel) {
		if t.o.taskSession != 0 {
			t.tell(orderStop, t.o.task.id)
		}
		t.stopped()
		t.match()
		return
	}
	t.tellStop()
}

func (t *turn) tellStop() {
	if t.o.taskSession != 0 && t.o.session == t.o.taskSession {
		t.tell(orderStop, t.o.task.id)
	}
}
