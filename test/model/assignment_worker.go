package model

// receive takes what is on the worker's stream.
func (w world) receive(at uint8) world {
	d, x := &w.dispatcher[at], &w.worker
	f := d.wire
	d.wire = frame{}
	for id := uint8(1); id <= mostIDs; id++ {
		job := &x.job[id]
		if f.assign&bit(id) != 0 {
			if *job == jobNone {
				*job = jobHeld
				w.checkSlot(id)
				if x.ran&bit(id) != 0 {
					w.broken = ranAgain
				}
			}
			x.said[id] = 0
		}
		if f.stop&bit(id) != 0 && (*job == jobHeld || *job == jobRunning) {
			*job = jobStopping
		}
		if f.back&bit(id) != 0 {
			switch *job {
			case jobHeld:
				*job = jobGivenBack
			case jobRunning, jobStopping:
				x.said[id] = 0
			default: // it is not here, or its outcome says all
			}
		}
	}
	return w
}

// news is what the worker has to say of a job next; 0: nothing.
func (x *workerState) news(id uint8) uint8 {
	switch x.job[id] {
	case jobHeld:
		if x.said[id]&bit(newsAcknowledged) == 0 {
			return newsAcknowledged
		}
	case jobRunning, jobStopping:
		if x.said[id]&bit(newsStarted) == 0 {
			return newsStarted
		}
	case jobCompleted:
		return newsCompleted
	case jobStopped:
		return newsStopped
	case jobGivenBack:
		return newsWithdrawn
	}
	return 0
}

// report passes the worker's next news of a job on, through the dispatcher that it has its stream to.
func (w world) report(id, news uint8) (world, bool) {
	x := &w.worker
	d := &w.dispatcher[x.at]
	m := message{kind: callReport, at: x.at, session: x.number, id: id, news: news}
	if d.session == x.number {
		m.fromEp = d.epoch
	}
	x.busy = true
	return w, w.send(m)
}

// checkSlot notes when an assignment comes to a worker whose one slot is taken by another that the owner counts on it.
func (w *world) checkSlot(id uint8) {
	for other := uint8(1); other <= mostIDs; other++ {
		job := w.worker.job[other]
		if other != id && job >= jobHeld && job <= jobStopping && w.worker.alive && w.current().counted&bit(other) != 0 {
			w.broken = slotTwice
		}
	}
}
