package model

type shardOffer func(a action, c certainty, next shardWorld)

// schedulerSteps are what a process does with the shard that it believes to own.
func (r *ownershipRules) schedulerSteps(w shardWorld, i uint8, offer shardOffer) {
	s := &w.schedulers[i]
	if !s.up {
		next := w
		next.schedulers[i].up = true
		offer(act("scheduler %d starts again", i), sure, next)
		return
	}
	if next := w; r.spend(&next, crash) {
		next.crash(i)
		offer(act("scheduler %d dies", i), chance, next)
	}
	if s.release != 0 {
		offer(act("scheduler %d's release arrives", i), sure, r.released(w, i))
	}
	if s.epoch == 0 {
		return
	}
	if s.epoch != w.epoch || w.owner != i {
		next := w
		next.forget(i)
		offer(act("scheduler %d's renewal finds another owner", i), sure, next)
	}
	if !s.loaded {
		next := w
		next.load(i, r)
		offer(act("scheduler %d reads the rows", i), sure, next)
		return
	}
	if s.committing {
		return
	}
	if s.leaving {
		r.leave(w, i, offer)
		return
	}
	r.callSteps(w, i, offer)
	r.assignSteps(w, i, offer)
	if next := w; r.spend(&next, handOver) {
		next.schedulers[i].leaving = true
		offer(act("scheduler %d begins to hand over", i), chance, next)
	}
}

// crash kills a process. What it has sent to the store goes on there.
func (w *shardWorld) crash(i uint8) {
	w.schedulers[i].release = 0
	w.forget(i)
	w.schedulers[i] = scheduler{}
	for n := range w.backends {
		if w.backends[n].by == i {
			w.backends[n].heard = false
		}
	}
	w.sortBackends()
}

func (w *shardWorld) load(i uint8, r *ownershipRules) {
	s := &w.schedulers[i]
	s.loaded = true
	s.inserted, s.done, s.out, s.recorded = w.inserted > 0, w.count > 0, w.recorded, w.recorded != 0
	if s.done {
		s.out, s.recorded = 0, false
	}
	s.hold = !w.clean && !r.has(noCensus)
}

// callSteps take the client's call in.
func (r *ownershipRules) callSteps(w shardWorld, i uint8, offer shardOffer) {
	s := &w.schedulers[i]
	if w.acked || w.call != 0 {
		return
	}
	next := w
	next.call = i
	switch {
	case s.inserted:
		next.answer(i)
	case !next.commit(i, changeInsert, 0):
		return
	case r.has(ackEarly):
		next.acked = true
	}
	offer(act("scheduler %d takes the call", i), sure, next)
}

// assignSteps give the task to a seat and record that it is out.
func (r *ownershipRules) assignSteps(w shardWorld, i uint8, offer shardOffer) {
	s := &w.schedulers[i]
	if s.inserted && !s.done && s.out == 0 && !s.hold {
		for j := uint8(1); j <= mostSeats; j++ {
			if s.census&bit(j) != 0 {
				next := w
				next.schedulers[i].out = j
				next.seats[j].orders |= bit(s.epoch)
				offer(act("scheduler %d assigns the task to seat %d", i, j), sure, next)
			}
		}
	}
	if s.out != 0 && !s.recorded {
		if next := w; next.commit(i, changeRecord, s.out) {
			offer(act("scheduler %d records the assignment", i), chance, next)
		}
	}
}

// leave records what is out and gives the lease back, by a message that takes its time.
func (r *ownershipRules) leave(w shardWorld, i uint8, offer shardOffer) {
	s := &w.schedulers[i]
	next := w
	if s.out != 0 && !s.recorded && !r.has(handOverUnrecorded) {
		if next.commit(i, changeRecord, s.out) {
			offer(act("scheduler %d records the assignment with its last commit", i), sure, next)
		}
		return
	}
	n := &next.schedulers[i]
	n.release, n.releaseEpoch = 1, s.epoch
	if s.hold && !r.has(handOverUnsettled) {
		n.release = 2
	}
	next.forget(i)
	offer(act("scheduler %d sends its release", i), sure, next)
}

func (r *ownershipRules) released(w shardWorld, i uint8) shardWorld {
	s := &w.schedulers[i]
	if w.owner == i && (w.epoch == s.releaseEpoch || r.has(releaseAnyEpoch)) {
		w.owner, w.clean = 0, s.release == 1
	}
	s.release, s.releaseEpoch = 0, 0
	return w
}

// takeSteps make a process the owner.
func (r *ownershipRules) takeSteps(w shardWorld, i uint8, offer shardOffer) {
	s := &w.schedulers[i]
	if !s.up || s.epoch != 0 || w.epoch == r.epochs {
		return
	}
	next := w
	certain := sure
	if w.owner != 0 && w.owner != i && w.schedulers[w.owner].up {
		// Its lease has run out, or nobody answers for it: it may be stopped, or cut off, and may be neither.
		if certain = chance; !r.spend(&next, takeOver) {
			return
		}
	}
	waits := false
	for n, b := range w.backends {
		if b.locked(r.twists) {
			waits = true
			ended := next
			ended.backends[n] = backend{}
			ended.sortBackends()
			if b.heard {
				r.unknown(&ended, b)
			}
			offer(act("scheduler %d ends the backend of epoch %d that holds the lock", i, b.epoch), certain, ended)
		}
	}
	if waits && !r.has(takeWithoutWait) {
		return
	}
	next.clean = w.owner == 0 && w.clean
	next.epoch++
	next.owner = i
	next.schedulers[i].epoch, next.schedulers[i].loaded = next.epoch, false
	offer(act("scheduler %d takes the shard", i), certain, next)
}

// backendSteps carry a commit out, whether or not anybody still waits for it.
func (r *ownershipRules) backendSteps(w shardWorld, n int, b backend, offer shardOffer) {
	become := func(a action, c certainty, stage uint8) {
		next := w
		next.backends[n].stage = stage
		next.sortBackends()
		offer(a, c, next)
	}
	without := w
	without.backends[n] = backend{}
	without.sortBackends()
	switch b.stage {
	case stageBegun:
		become(act("the commit of epoch %d locks the shard", b.epoch), sure, stageLocked)
	case stageLocked:
		if w.epoch == b.epoch {
			become(act("the commit of epoch %d finds its epoch", b.epoch), sure, stageChecked)
			break
		}
		next := without
		if s := next.schedulers[b.by]; b.heard && s.epoch == b.epoch {
			next.forget(b.by)
		}
		offer(act("the commit of epoch %d is fenced", b.epoch), sure, next)
	case stageChecked:
		next := without
		next.apply(b)
		next.stored(b)
		offer(act("the commit of epoch %d is stored", b.epoch), sure, next)
	}
	if next := w; b.heard && r.spend(&next, loseOutcome) {
		next.backends[n].heard = false
		next.sortBackends()
		r.unknown(&next, b)
		offer(act("the connection of the commit of epoch %d breaks", b.epoch), chance, next)
	}
	if !b.heard {
		offer(act("the commit of epoch %d ends with its connection", b.epoch), chance, without)
	}
}

// apply makes a commit's change visible.
func (w *shardWorld) apply(b backend) {
	if w.epoch != b.epoch {
		w.broken = lateCommit
	}
	switch b.change {
	case changeInsert:
		if w.inserted++; w.inserted > 1 {
			w.broken = storedTwice
		}
	case changeRecord:
		w.recorded = b.seat
	case changeResult:
		if w.count++; w.count > 1 {
			w.broken = storedTwice
		}
	}
}

// seatSteps are a worker's and its dispatcher's.
func (r *ownershipRules) seatSteps(w shardWorld, j uint8, offer shardOffer) {
	x := &w.seats[j]
	for epoch := uint8(1); epoch <= w.epoch; epoch++ {
		if x.orders&bit(epoch) == 0 {
			continue
		}
		next := w
		n := &next.seats[j]
		n.orders &^= bit(epoch)
		if x.attached == epoch || r.has(olderOrders) {
			if epoch < x.attached {
				next.broken = staleStart
			}
			n.running = true
			if next.seats[1].running && next.seats[2].running {
				next.broken = startedTwice
			}
		}
		offer(act("seat %d gets the order of epoch %d", j, epoch), sure, next)
	}
	if x.running && !x.done {
		next := w
		next.seats[j].done = true
		offer(act("seat %d has a result", j), sure, next)
	}
	for i := uint8(1); i <= r.schedulers; i++ {
		s := &w.schedulers[i]
		if s.epoch == 0 || !s.loaded || s.leaving {
			continue
		}
		if s.epoch == w.epoch && x.attached < s.epoch {
			offer(act("seat %d attaches to scheduler %d", j, i), sure, r.attach(w, i, j))
		}
		if x.done && !s.committing {
			r.result(w, i, j, offer)
		}
	}
}

// attach ties a seat to an owner, with what it runs.
func (r *ownershipRules) attach(w shardWorld, i, j uint8) shardWorld {
	s, x := &w.schedulers[i], &w.seats[j]
	x.attached = s.epoch
	if !r.has(olderOrders) {
		x.orders = 0 // whenever they arrive, they are refused: one world stands for all those
	}
	s.census |= bit(j)
	switch {
	case x.running && (s.out == 0 && !s.done && s.inserted || s.out == j):
		s.out = j
	case x.running:
		x.running, x.done = false, false // told to stop
	case s.out == j:
		s.out, s.recorded = 0, false // it never arrived
	}
	if s.census == bit(1)|bit(2) {
		s.hold = false
	}
	return w
}

// result takes a seat's result in.
func (r *ownershipRules) result(w shardWorld, i, j uint8, offer shardOffer) {
	s := &w.schedulers[i]
	next := w
	switch {
	case s.out == j || s.out == 0 && !s.done && s.inserted:
		next.schedulers[i].out = j
		if !next.commit(i, changeResult, j) {
			return
		}
	case s.epoch != w.epoch:
		return // that it came too late is noted by a commit, too
	default:
		next.seats[j].running, next.seats[j].done = false, false
	}
	offer(act("scheduler %d hears the result of seat %d", i, j), sure, next)
}
