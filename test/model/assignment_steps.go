package model

type offer func(a action, c certainty, next world)

func (r *rules) steps(w world, give func(a action, c certainty, next world)) {
	if w.broken != fine {
		return
	}
	r.workerSteps(w, give)
	for at := uint8(1); at < uint8(len(w.dispatcher)); at++ {
		if w.dispatcher[at].alive {
			r.dispatcherSteps(w, at, give)
		}
	}
	for epoch := uint8(1); epoch <= mostEpochs; epoch++ {
		if w.owners[epoch].alive {
			r.ownerSteps(w, epoch, give)
		}
		r.orderSteps(w, epoch, give)
	}
	r.netSteps(w, give)
	r.shardSteps(w, give)
}

func (r *rules) workerSteps(w world, give offer) {
	x := &w.worker
	if !x.alive {
		return
	}
	if x.at == 0 {
		for at := uint8(1); at < uint8(len(w.dispatcher)); at++ {
			if w.dispatcher[at].alive {
				give(act("worker listens at dispatcher %d", at), sure, r.listen(w, at))
			}
		}
	}
	for id := uint8(1); id <= mostIDs; id++ {
		r.jobSteps(w, id, give)
	}
	if w.faults == 0 {
		return
	}
	w.faults--
	if x.at != 0 && r.can(breakStream) {
		next := w
		next.breakStream()
		give(act("the stream breaks"), chance, next)
	}
	if r.can(die) {
		next := w
		next.breakStream()
		next.worker = workerState{number: x.number}
		give(act("the worker dies"), chance, next)
	}
	if x.at != 0 && r.can(dieUnnoticed) {
		next := w
		next.dispatcher[x.at].cut = true
		next.dispatcher[x.at].wire = frame{}
		next.worker = workerState{number: x.number}
		give(act("the worker dies, and its stream stays"), chance, next)
	}
}

func (w *world) breakStream() {
	if at := w.worker.at; at != 0 {
		w.dispatcher[at].cut = true
		w.dispatcher[at].wire = frame{}
		w.worker.at, w.worker.open = 0, false
	}
}

func (r *rules) jobSteps(w world, id uint8, give offer) {
	x := &w.worker
	become := func(what string, c certainty, job uint8) {
		next := w
		next.worker.job[id] = job
		give(act(what, id), c, next)
	}
	switch x.job[id] {
	case jobHeld:
		become("worker begins %d", sure, jobRunning)
	case jobRunning:
		if !r.hangs {
			become("worker completes %d", sure, jobCompleted)
		}
	case jobStopping:
		become("worker stops %d", sure, jobStopped)
	}
	if job := x.job[id]; x.at == 0 && (job == jobHeld || job == jobRunning) && w.faults > 0 && r.can(outOfTouch) {
		next := w
		next.faults--
		next.worker.job[id] = jobStopping
		give(act("worker is out of touch and stops %d by itself", id), chance, next)
	}
	if news := x.news(id); news != 0 && x.open && !x.busy {
		if next, ok := w.report(id, news); ok {
			give(act("worker reports %d of %d (1 acknowledged, 2 started, 3 withdrawn, 4 stopped, 5 completed)", news, id), sure, next)
		}
	}
}

func (r *rules) dispatcherSteps(w world, at uint8, give offer) {
	d := &w.dispatcher[at]
	if d.heard < w.epoch && w.current().alive {
		next := w
		next.detach(at, w.epoch)
		give(act("dispatcher %d hears of epoch %d", at, w.epoch), sure, next)
	}
	if d.session != 0 && d.epoch == 0 && !d.trying && d.try < mostTries {
		if next, ok := r.attach(w, at); ok {
			give(act("dispatcher %d asks to open session %d", at, d.session), sure, next)
		}
	}
	if d.out != (frame{}) && d.wire == (frame{}) {
		next := w
		next.flush(at)
		give(act("dispatcher %d sends on the stream", at), sure, next)
	}
	if d.wire != (frame{}) && w.worker.at == at && !d.cut {
		give(act("worker receives from dispatcher %d", at), sure, w.receive(at))
	}
	if d.cut {
		give(act("dispatcher %d notices the broken stream", at), sure, r.close(w, at, true))
	}
	r.lossSteps(w, at, give)
	if other := 3 - at; w.faults > 0 && r.can(killDispatcher) && w.dispatcher[other].alive { // a later one would be another
		next := w
		next.faults--
		if next.worker.at == at {
			next.breakStream()
		}
		next.dispatcher[at] = dispatcherState{}
		give(act("dispatcher %d dies", at), chance, next)
	}
}

const mostTries = 6

// lossSteps tell owners of sessions that have ended.
func (r *rules) lossSteps(w world, at uint8, give offer) {
	d := &w.dispatcher[at]
	for session := uint8(1); session <= mostSessions; session++ {
		if d.losing&bit(session) == 0 {
			continue
		}
		for epoch := uint8(1); epoch <= w.epoch; epoch++ {
			if !w.owners[epoch].alive || epoch != w.epoch && !r.has(staleLossTaken) {
				continue
			}
			next, ok := r.turn(w, epoch, func(t *turn) { t.loseSession(session, false) })
			if ok {
				next.dispatcher[at].losing &^= bit(session)
				give(act("owner of epoch %d hears that session %d is lost", epoch, session), sure, next)
			}
		}
		if w.faults > 0 && r.can(loseLoss) {
			next := w
			next.faults--
			next.dispatcher[at].losing &^= bit(session)
			give(act("the news that session %d is lost is lost", session), chance, next)
		}
	}
}

func (r *rules) ownerSteps(w world, epoch uint8, give offer) {
	o := &w.owners[epoch]
	try := func(a action, c certainty, take func(t *turn)) {
		if next, ok := r.turn(w, epoch, take); ok && next != w {
			give(a, c, next)
		}
	}
	// A timer waits for something; early says that it is on its way.
	timer := func(a action, early bool, take func(t *turn)) {
		if !early {
			try(a, sure, take)
		} else if w.faults > 0 && r.can(hasty) {
			if next, ok := r.turn(w, epoch, take); ok {
				next.faults--
				give(a, chance, next)
			}
		}
	}
	try(act("owner of epoch %d assigns", epoch), sure, func(t *turn) { t.match() })
	if epoch != w.epoch {
		next := w
		next.owners[epoch] = ownerState{}
		give(act("owner of epoch %d learns of its successor", epoch), sure, next)
	}
	if o.session != 0 && o.lost {
		timer(act("grace of session %d ends", o.session), w.worker.alive, func(t *turn) { t.endSession() })
	}
	r.evidenceSteps(w, epoch, give)
	if !inFlight(o.task.state) {
		return
	}
	id := o.task.id
	switch {
	case o.taskSession == 0:
		timer(act("nobody brings %d back", id), w.worker.job[id] != jobNone, func(t *turn) { t.o.counted &^= bit(id); t.lose() })
	case !o.acked && !w.ordered(epoch, orderWithdraw, id):
		timer(act("owner of epoch %d withdraws %d", epoch, id), w.onItsWay(epoch, id), func(t *turn) {
			t.tell(orderWithdraw, id)
			if r.has(withdrawnUnasked) {
				t.requeue()
			}
		})
	}
	if stopping(o.task.state) && o.taskSession != 0 && !w.ordered(epoch, orderStop, id) {
		timer(act("owner of epoch %d tells %d to stop again", epoch, id), w.onItsWay(epoch, id), func(t *turn) { t.tellStop() })
	}
	if o.task.state == running && r.limit {
		try(act("attempt %d runs into its timeout", id), sure, func(t *turn) { t.stop(stopTimedOut) })
	}
	if !o.recorded && r.can(takeOver|crash) {
		try(act("assignment %d is recorded", id), sure, func(t *turn) { t.touch() })
	}
}

// onItsWay tells that something is under way, or about to be, that will move an assignment: timers that wait for it are early.
func (w *world) onItsWay(epoch, id uint8) bool {
	for kind := orderAssign; kind <= orderWithdraw; kind++ {
		if w.ordered(epoch, kind, id) {
			return true
		}
	}
	for _, m := range w.net {
		if m.kind != 0 && m.id == id {
			return true
		}
	}
	x := &w.worker
	d := &w.dispatcher[x.at]
	if !x.alive || x.at == 0 {
		return false
	}
	all := d.out.assign | d.out.stop | d.out.back | d.wire.assign | d.wire.stop | d.wire.back
	return all&bit(id) != 0 || x.job[id] == jobStopping || x.news(id) != 0
}

// evidenceSteps are what owners and dispatchers find out about each other.
func (r *rules) evidenceSteps(w world, epoch uint8, give offer) {
	o := &w.owners[epoch]
	if epoch != w.epoch {
		return
	}
	mark := func(a action, c certainty) {
		next := w
		next.owners[epoch].lost = true
		give(a, c, next)
	}
	if o.session != 0 && !o.lost {
		d := &w.dispatcher[o.at]
		switch {
		case !d.alive && !r.has(noEvidence):
			mark(act("owner of epoch %d finds dispatcher %d gone", epoch, o.at), sure)
		case d.alive && d.session != o.session && !r.has(lossToldOnce):
			mark(act("probe of dispatcher %d does not name session %d", o.at, o.session), sure)
		}
		if d.alive && w.faults > 0 && r.can(falseEvidence) {
			next := w
			next.faults--
			next.owners[epoch].lost = true
			give(act("owner of epoch %d takes dispatcher %d for gone", epoch, o.at), chance, next)
		}
	}
	for at := uint8(1); at < uint8(len(w.dispatcher)); at++ {
		d := &w.dispatcher[at]
		open := o.session == d.session && o.at == at && !o.lost
		if d.alive && d.session != 0 && d.epoch == epoch && !open && !r.has(noProbe) {
			give(act("owner of epoch %d answers dispatcher %d's probe: session %d is not open", epoch, at, d.session), sure, r.close(w, at, true))
		}
	}
}

func (r *rules) orderSteps(w world, epoch uint8, give offer) {
	var seen [3]bool
	for i, o := range w.orders[epoch] {
		if o.kind == 0 {
			break
		}
		first := !seen[o.to]
		seen[o.to] = true
		if !first && !r.has(ordersOvertake) {
			continue
		}
		next := w
		next.take(epoch, i)
		d := &w.dispatcher[o.to]
		waits := d.session == o.session && d.epoch == 0 && (d.try == o.try || r.has(ordersOfAnyTry))
		if delivered, ok := r.deliver(next, epoch, o); ok && !waits {
			give(act("order %d of epoch %d for %d arrives (1 assign, 2 stop, 3 superseded, 4 withdraw, 5 close)", o.kind, epoch, o.id), sure, delivered)
		}
		if w.faults > 0 && r.can(loseOrder) {
			next.faults--
			give(act("order %d of epoch %d for %d is lost", o.kind, epoch, o.id), chance, next)
		}
	}
}

func (r *rules) netSteps(w world, give offer) {
	for i, m := range w.net {
		if m.kind == 0 {
			continue
		}
		rest := w
		rest.drop(i)
		if !w.dispatcher[m.at].alive && (m.kind == callReport || m.kind == answerReport) {
			give(act("the call with news %d of %d breaks", m.news, m.id), sure, rest.failed(m))
		}
		r.arrive(rest, m, sure, give)
		if w.faults == 0 {
			continue
		}
		lost := rest
		lost.faults--
		if r.can(loseCall) {
			give(act("message of kind %d is lost", m.kind), chance, lost.failed(m))
		}
		if r.can(doubleCall) {
			double := w
			double.faults--
			r.arrive(double, m, chance, give)
		}
		if r.can(lateCall) && !m.late && m.kind != callNeverLeft {
			late := lost.failed(m)
			m.late = true
			if late.send(m) {
				give(act("call of kind %d is not waited for any longer", m.kind), chance, late)
			}
		}
	}
}

// failed lets whoever made a call see that it came to nothing.
func (w world) failed(m message) world {
	if m.late {
		return w
	}
	switch m.kind {
	case callOpen, answerOpen:
		if d := &w.dispatcher[m.at]; d.session == m.session && d.try == m.try {
			d.trying = false
		}
	case callReport, answerReport:
		w.worker.busy = false
	}
	return w
}

func (r *rules) arrive(w world, m message, c certainty, give offer) {
	switch m.kind {
	case answerOpen:
		give(act("dispatcher %d hears that session %d is open with epoch %d", m.at, m.session, m.epoch), c, r.attached(w, m))
	case answerReport:
		give(act("dispatcher %d hears the verdict on news %d of %d", m.at, m.news, m.id), c, r.settle(w, m))
	case callOpen:
		if m.epoch != 0 && m.epoch != w.epoch {
			give(act("nobody takes the call to open session %d", m.session), c, w.failed(m))
			return
		}
		if !w.current().alive {
			return
		}
		if next, ok := r.turn(w, w.epoch, func(t *turn) { t.open(m) }); ok {
			give(act("owner of epoch %d opens session %d with %d held", w.epoch, m.session, m.held), c, next)
		}
	default:
		for epoch := uint8(1); epoch <= w.epoch; epoch++ {
			if !w.owners[epoch].alive {
				continue
			}
			next, ok := r.turn(w, epoch, func(t *turn) { t.report(m) })
			if ok && next.owners[epoch].alive {
				give(act("owner of epoch %d hears news %d of %d", epoch, m.news, m.id), c, next)
			}
		}
	}
}

// shardSteps change owners, and cancel.
func (r *rules) shardSteps(w world, give offer) {
	o := w.current()
	if r.cancel && !w.cancelled && o.alive && o.task.state < stopCancelled {
		next, ok := r.turn(w, w.epoch, func(t *turn) {
			t.w.cancelled = true
			switch t.o.task.state {
			case queued:
				t.touch()
				t.o.task.state = ended
			default:
				t.stop(stopCancelled)
			}
		})
		if ok {
			give(act("the run is cancelled"), chance, next)
		}
	}
	switch {
	case w.epoch == mostEpochs:
	case !o.alive:
		give(act("another owner takes over"), sure, w.takeOver())
	case w.faults > 0:
		next := w
		next.faults--
		if r.can(takeOver) {
			give(act("another owner takes over, and the one before lives"), chance, next.takeOver())
		}
		if r.can(crash) {
			next.owners[w.epoch] = ownerState{}
			give(act("the owner dies"), chance, next)
		}
	}
}

// takeOver makes a new owner of what is stored.
func (w world) takeOver() world {
	w.epoch++
	o := ownerState{alive: true, task: w.store}
	o.task.won = 0
	if inFlight(w.store.state) {
		o.acked, o.recorded = true, true
		o.counted = bit(w.store.id)
	}
	w.owners[w.epoch] = o
	return w
}
