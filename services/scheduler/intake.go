package scheduler

// newRunsPerBatch is how many new runs of one tenant a batch takes in: a request more may pass it, since a request is not divided. What comes beyond
// waits for the next batch, so that neither a tenant's bulk calls hold up the others' runs, nor their own workers' reports.
const newRunsPerBatch = 1000

// intake is the requests for new runs that wait for a batch with room for them, in the order in which they came.
type intake struct {
	waiting []envelope
	counts  map[int64]int // of the waiting, by tenant
}

// keepBack tells whether a request has to wait, and notes it. Those of a tenant keep their order.
func (o *owner) keepBack(e envelope) bool {
	if e.runs == 0 || o.intake.counts[e.call.tenant] == 0 && o.pending.takes(e) {
		return false
	}
	o.intake.waiting = append(o.intake.waiting, e)
	if o.intake.counts == nil {
		o.intake.counts = make(map[int64]int)
	}
	o.intake.counts[e.call.tenant]++
	return true
}

// admit takes in what has waited and fits into the pending batch. What its caller no longer waits for is left out: it would be sent again.
func (o *owner) admit() {
	if len(o.intake.waiting) == 0 {
		return
	}
	waiting := o.intake.waiting
	o.intake = intake{}
	for _, e := range waiting {
		switch {
		case e.ctx.Err() != nil:
		case !o.keepBack(e):
			o.takeIn(e)
		}
	}
}

// takes tells whether a batch has room for a request's new runs, and counts them.
func (b *batch) takes(e envelope) bool {
	if b.newRuns[e.call.tenant] >= newRunsPerBatch {
		return false
	}
	if b.newRuns == nil {
		b.newRuns = make(map[int64]int)
	}
	b.newRuns[e.call.tenant] += e.runs
	return true
}
