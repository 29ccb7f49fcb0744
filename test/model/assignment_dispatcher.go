package model

// listen opens a session of the worker at a dispatcher, with what the worker holds.
func (r *rules) listen(w world, at uint8) world {
	x, d := &w.worker, &w.dispatcher[at]
	if x.number++; x.number > mostSessions {
		w.broken = sessionsWithoutEnd
		return w
	}
	x.at, x.open = at, false
	held, begun := uint8(0), uint8(0)
	for id, job := range x.job {
		if job != jobNone {
			held |= bit(uint8(id))
		}
		if job == jobRunning || job == jobStopping || job == jobCompleted {
			begun |= bit(uint8(id))
		}
	}
	*d = dispatcherState{
		alive: true, number: x.number, session: x.number, heard: d.heard, replaced: d.session, losing: d.losing, sent: held, begun: begun,
	}
	return w
}

// attach tries to tie a session to the shard's owner, with a list of its table as it is now.
func (r *rules) attach(w world, at uint8) (world, bool) {
	d := &w.dispatcher[at]
	d.try++
	d.trying = true
	m := message{kind: callOpen, at: at, session: d.session, epoch: w.epoch, held: d.sent, begun: d.begun, try: d.try}
	if r.has(oldListSentAgain) {
		m.epoch = 0 // the same bytes go to whoever owns the shard when they arrive
	}
	return w, w.send(m)
}

func (r *rules) attached(w world, m message) world {
	d := &w.dispatcher[m.at]
	if d.session != m.session || d.epoch != 0 || !d.trying || m.try != d.try {
		return w
	}
	d.trying = false
	switch {
	case m.held != 0: // refused
		return r.close(w, m.at, true)
	case m.epoch < d.heard:
		return w // an earlier owner answered
	}
	d.epoch, d.replaced = m.epoch, 0
	if w.worker.at == m.at && !d.cut {
		w.worker.open = true
	}
	return w
}

// detach lets a session go from an owner that has a successor.
func (w *world) detach(at, epoch uint8) {
	d := &w.dispatcher[at]
	d.heard = max(d.heard, epoch)
	if d.session != 0 && d.epoch != 0 && d.epoch < epoch {
		d.epoch = 0
	}
}

// close ends a session. The worker sees its stream end; the owner is told that the session is lost, unless it said so itself.
func (r *rules) close(w world, at uint8, tell bool) world {
	d := &w.dispatcher[at]
	if w.worker.at == at && !d.cut {
		w.worker.at, w.worker.open = 0, false
	}
	losing := d.losing
	if tell {
		losing |= bit(d.session)
		if d.epoch == 0 && d.replaced != 0 {
			losing |= bit(d.replaced) // the owner may never have heard of the newer one
		}
	}
	*d = dispatcherState{alive: true, number: d.number, heard: d.heard, losing: losing}
	return w
}

// deliver hands an owner's order to the session that it is for.
func (r *rules) deliver(w world, epoch uint8, o order) (world, bool) {
	d := &w.dispatcher[o.to]
	switch {
	case !d.alive, d.session == 0, d.session != o.session && !r.has(sessionIgnored), d.epoch != epoch && !r.has(epochIgnored),
		d.session == o.session && d.epoch == epoch && d.try != o.try && !r.has(ordersOfAnyTry):
		return w, true
	}
	if epoch < d.epoch && o.kind == orderAssign {
		w.broken = foreignOrder
	}
	id := bit(o.id)
	switch o.kind {
	case orderAssign:
		if d.sent&id == 0 {
			d.sent |= id
			d.out.assign |= id
		}
	case orderStop, orderSupersede:
		if d.sent&id != 0 {
			d.out.stop |= id
		}
	case orderWithdraw:
		switch {
		case d.out.assign&id != 0:
			d.out.assign &^= id
			d.sent &^= id
			return w, w.send(message{kind: callNeverLeft, at: o.to, session: o.session, id: o.id, news: newsWithdrawn})
		case d.sent&id == 0:
			return w, w.send(message{kind: callNeverLeft, at: o.to, session: o.session, id: o.id, news: newsWithdrawn})
		}
		d.out.back |= id
	case orderClose:
		return r.close(w, o.to, false), true
	}
	return w, true
}

// flush puts what waits on the stream. On a broken one it is lost, and counts as delivered.
func (w *world) flush(at uint8) {
	d := &w.dispatcher[at]
	d.wire, d.out = d.out, frame{}
	if d.cut {
		d.wire = frame{}
	}
}

// settle takes an owner's verdict in and passes it on to the worker.
func (r *rules) settle(w world, m message) world {
	d := &w.dispatcher[m.at]
	if !d.alive {
		return w.failed(m)
	}
	w.detach(m.at, m.epoch)
	verdict := m.held
	switch {
	case !r.counts(d, m):
		verdict = 0
	case m.news == newsAcknowledged:
	case m.news == newsStarted:
		d.begun |= bit(m.id) & d.sent
	default:
		d.sent &^= bit(m.id)
		d.begun &^= bit(m.id)
	}
	if m.late || !w.worker.busy {
		return w
	}
	w.worker.busy = false
	if m.session != w.worker.number && !r.has(earlierVerdicts) {
		return w // it has listed the assignment to another dispatcher since, which needs to hear of it
	}
	return w.hear(m, verdict)
}

// counts says whether a dispatcher takes a verdict. Results were committed. Other news may have been answered from memory: by an owner that has or gets a
// successor, or before it took the session's list in.
func (r *rules) counts(d *dispatcherState, m message) bool {
	if m.news == newsCompleted || r.has(verdictsUnguarded) || m.news == newsStopped && r.has(stoppedUnguarded) {
		return true
	}
	return m.session == d.session && m.fromEp != 0 && m.fromEp == d.epoch && m.fromEp == m.epoch
}

// hear is a verdict that arrives at the worker; 0: it is to report again.
func (w world) hear(m message, verdict uint8) world {
	x := &w.worker
	job := &x.job[m.id]
	switch {
	case verdict == 0 || *job == jobNone:
	case m.news <= newsStarted:
		x.said[m.id] |= bit(m.news) | bit(newsAcknowledged)
		if verdict == superseded && (*job == jobHeld || *job == jobRunning) {
			*job = jobStopping
		}
	case *job < jobCompleted: // it was answered before it began anew
	default:
		*job, x.said[m.id] = jobNone, 0
		x.ran |= bit(m.id)
		if m.news == newsCompleted && verdict == accepted && (w.store.state < completed || w.store.won != m.id) {
			w.broken = resultLost
		}
	}
	return w
}
