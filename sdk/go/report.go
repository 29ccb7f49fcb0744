package tenon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// reporter delivers reports: what gathers while a call is under way leaves with the next. Another call leaves beside it when it is full, so that a
// busy worker goes on while the server stores what it has done, or when few reports are under way, so that those of an idle one don't wait for each
// other. A report stays until the server has answered it for good. Of one assignment's reports only one is under way, and of those that have not left
// only the newest is sent, since each implies those before.
type reporter struct {
	w *Worker

	mu       sync.Mutex
	queue    []*pendingReport
	waiting  map[assignmentID]*pendingReport    // in the queue, by assignment
	ends     map[assignmentID]*workersv1.Report // outcomes without an answer, in the queue or under way
	sending  map[assignmentID]bool              // under way
	calls    int                                // under way
	unsent   int                                // in the queue or under way
	failures int                                // calls in a row that the server did not take
	resume   time.Time                          // after them
	alarm    time.Time                          // when somebody who sleeps will look again
	isOpen   bool
	wake     chan struct{} // holds one token when there may be something to do
	progress chan struct{} // closed and made anew when unsent falls to zero
}

const (
	// fullReport is the most reports of a call.
	fullReport = 500
	// maxReportCalls is how many calls are under way at most.
	maxReportCalls = 4
	// fewReports is how many reports may be under way in calls that are not full.
	fewReports = 4
	// startedAfter is how long a task runs before it is said to have started. Shorter ones have no need of a call that only says so, and their outcome
	// no need to wait for its answer.
	startedAfter = 2 * time.Millisecond
)

type pendingReport struct {
	report *workersv1.Report
	due    time.Time // not before; zero is at once
	tries  int
}

func newReporter(w *Worker) *reporter {
	return &reporter{
		w: w, waiting: map[assignmentID]*pendingReport{}, ends: map[assignmentID]*workersv1.Report{}, sending: map[assignmentID]bool{},
		wake: make(chan struct{}, 1), progress: make(chan struct{}),
	}
}

// final says whether a report is the last of its assignment.
func final(r *workersv1.Report) bool {
	switch r.GetNews().(type) {
	case *workersv1.Report_Acknowledged, *workersv1.Report_Started:
		return false
	default:
		return true
	}
}

// put takes a report to be delivered.
func (p *reporter) put(r *workersv1.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := idOf(r.GetAssignmentId())
	if p.ends[id] != nil && !final(r) {
		return
	}
	if final(r) {
		p.ends[id] = r
	}
	var due time.Time
	if !final(r) {
		due = time.Now().Add(startedAfter)
	}
	if have := p.waiting[id]; have != nil {
		have.report = r
		if final(r) {
			have.due = due
		}
	} else {
		p.push(&pendingReport{report: r, due: due})
	}
	expected := !final(r) && p.alarm.After(time.Now()) && p.alarm.Before(due)
	if !expected && p.mayCall(len(p.queue)) {
		p.signal()
	}
}

// mayCall tells whether a call with so many reports may leave beside those that are under way.
func (p *reporter) mayCall(reports int) bool {
	return p.calls == 0 || p.calls < maxReportCalls && (reports >= fullReport || len(p.sending)+reports <= fewReports)
}

func (p *reporter) push(item *pendingReport) {
	p.queue = append(p.queue, item)
	p.waiting[idOf(item.report.GetAssignmentId())] = item
	p.unsent++
}

func (p *reporter) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// holds says whether an assignment's outcome still waits for its answer.
func (p *reporter) holds(id assignmentID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ends[id] != nil
}

// outcomes lists the results that the server has not answered.
func (p *reporter) outcomes() []*workersv1.Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*workersv1.Report, 0, len(p.ends))
	for _, r := range p.ends {
		out = append(out, r)
	}
	return out
}

// open lets reports leave: a session is open.
func (p *reporter) open() { p.setOpen(true) }

// shut keeps them back until there is a session again.
func (p *reporter) shut() { p.setOpen(false) }

func (p *reporter) setOpen(open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isOpen = open
	p.signal()
}

// flush waits until everything was answered, or ctx ends, and gives what is left.
func (p *reporter) flush(ctx context.Context) int {
	for {
		p.mu.Lock()
		left, progress := p.unsent, p.progress
		p.mu.Unlock()
		if left == 0 {
			return 0
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return left
		}
	}
}

func (p *reporter) run(ctx context.Context) {
	var callers sync.WaitGroup
	for range maxReportCalls {
		callers.Go(func() { p.deliver(ctx) })
	}
	callers.Wait()
}

// deliver makes one call after the other until ctx ends or the server refuses the worker.
func (p *reporter) deliver(ctx context.Context) {
	for {
		batch, wait := p.take(time.Now())
		if len(batch) == 0 {
			if !p.sleep(ctx, wait) {
				return
			}
			continue
		}
		err := p.send(ctx, batch)
		p.finished(batch, err)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		switch connect.CodeOf(err) {
		case connect.CodeUnauthenticated, connect.CodePermissionDenied:
			p.w.fail(fmt.Errorf("tenon: report: %w", err))
			return
		default:
			p.w.log.Warn("tenon worker's reports failed, sending them again", "worker", p.w.workerID(), "reports", len(batch), "error", err)
		}
	}
}

// finished notes the end of a call. After a failed one all wait for a while.
func (p *reporter) finished(batch []*pendingReport, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls--
	for _, item := range batch {
		delete(p.sending, idOf(item.report.GetAssignmentId()))
	}
	if err == nil {
		p.failures = 0
		return
	}
	p.resume = time.Now().Add(p.w.client.cfg.backoff.after(p.failures))
	p.failures++
}

// sleep waits for news, or for the next report to be due.
func (p *reporter) sleep(ctx context.Context, wait time.Duration) bool {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-p.wake:
		return true
	case <-due:
		return true
	case <-ctx.Done():
		return false
	}
}

// take gives the next batch, or how long until one is due (zero: unknown).
func (p *reporter) take(now time.Time) ([]*pendingReport, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isOpen || p.calls == maxReportCalls {
		return nil, 0
	}
	if wait := p.resume.Sub(now); wait > 0 {
		return nil, wait
	}
	var batch, kept []*pendingReport
	var wait time.Duration
	bytes := 0
	for _, item := range p.queue {
		size := sizeOf(item.report)
		switch left := item.due.Sub(now); {
		case left > 0:
			if wait == 0 || left < wait {
				wait = left
			}
			kept = append(kept, item)
		case p.sending[idOf(item.report.GetAssignmentId())], len(batch) == fullReport, len(batch) > 0 && bytes+size > maxBatchBytes:
			kept = append(kept, item)
		default:
			bytes += size
			batch = append(batch, item)
		}
	}
	if !p.mayCall(len(batch)) {
		return nil, wait
	}
	p.queue = kept
	for _, item := range batch {
		id := idOf(item.report.GetAssignmentId())
		delete(p.waiting, id)
		p.sending[id] = true
	}
	if len(batch) > 0 {
		p.calls++
		p.signal() // there may be enough for another call
	} else if wait > 0 {
		p.alarm = now.Add(wait)
	}
	return batch, wait
}

// sizeOf is about how many bytes a report has on the wire; not less than it has.
func sizeOf(r *workersv1.Report) int {
	const head = 256
	size := head + len(r.GetRunId()) + len(r.GetCompleted().GetOutputJson())
	if e := r.GetFailed().GetError(); e != nil {
		size += len(e.GetKind()) + len(e.GetMessage()) + len(e.GetStack())
	}
	return size
}

// send delivers a batch and deals with its answers. On an error all of it is in the queue again.
func (p *reporter) send(ctx context.Context, batch []*pendingReport) error {
	worker, session := p.w.address()
	req := &workersv1.ReportRequest{WorkerId: worker, Session: session, Reports: make([]*workersv1.Report, len(batch))}
	for i, item := range batch {
		req.Reports[i] = item.report
	}
	timed, cancel := context.WithTimeout(ctx, p.w.client.cfg.callTimeout)
	res, err := p.w.client.workers.Report(timed, req)
	cancel()
	if err == nil && len(res.GetAnswers()) != len(batch) {
		err = fmt.Errorf("the server answered %d of %d reports", len(res.GetAnswers()), len(batch))
	}
	if err != nil && connect.CodeOf(err) == connect.CodeInvalidArgument && !transient(err) {
		return p.isolate(ctx, batch, err)
	}
	if err != nil {
		for _, item := range batch {
			p.again(item, time.Time{})
		}
		return err
	}
	p.w.touch()
	_, now := p.w.address()
	for i, item := range batch {
		if now != session {
			// Listening anew it listed the assignment, perhaps at another server, whose table only an answer given there clears.
			p.again(item, time.Time{})
			continue
		}
		p.settle(item, res.GetAnswers()[i])
	}
	return nil
}

// isolate halves a batch that the server refused as a whole until the malformed report is found; it alone is refused.
func (p *reporter) isolate(ctx context.Context, batch []*pendingReport, cause error) error {
	if len(batch) == 1 {
		p.refused(batch[0], cause.Error())
		return nil
	}
	half := len(batch) / 2
	if err := p.send(ctx, batch[:half]); err != nil {
		for _, item := range batch[half:] {
			p.again(item, time.Time{})
		}
		return err
	}
	return p.send(ctx, batch[half:])
}

// settle deals with one answer.
func (p *reporter) settle(item *pendingReport, answer *workersv1.ReportAnswer) {
	id := idOf(item.report.GetAssignmentId())
	switch answer.GetVerdict() {
	case workersv1.ReportVerdict_REPORT_VERDICT_ACCEPTED:
		p.forget(item)
	case workersv1.ReportVerdict_REPORT_VERDICT_SUPERSEDED:
		p.forget(item)
		p.w.stopTask(id, ErrSuperseded)
	case workersv1.ReportVerdict_REPORT_VERDICT_REFUSED:
		p.refused(item, answer.GetError().GetMessage())
	default:
		// RETRY, and verdicts that this SDK does not know: nothing is lost by sending again.
		item.tries++
		p.again(item, time.Now().Add(p.w.client.cfg.backoff.after(item.tries-1)))
	}
}

// refused deals with a report that the server will never take. A refused result becomes a failure, since the task needs an end.
func (p *reporter) refused(item *pendingReport, message string) {
	p.w.log.Error("tenon: the server refused a report", "run", item.report.GetRunId(), "task_no", item.report.GetTaskNo(), "error", message)
	p.forget(item)
	if item.report.GetCompleted() != nil {
		r := proto.CloneOf(item.report)
		p.put(failed(r, KindBadOutput, "the server refused the task's output: "+message, ""))
	}
}

// forget drops an answered report.
func (p *reporter) forget(item *pendingReport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := idOf(item.report.GetAssignmentId())
	if p.ends[id] == item.report {
		delete(p.ends, id)
	}
	p.sent()
}

// again puts a report back, unless a newer one of its assignment stands for it.
func (p *reporter) again(item *pendingReport, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := idOf(item.report.GetAssignmentId())
	p.sent()
	if p.waiting[id] != nil || (p.ends[id] != nil && p.ends[id] != item.report) {
		return
	}
	item.due = due
	p.push(item)
	p.signal()
}

func (p *reporter) sent() {
	p.unsent--
	if p.unsent == 0 {
		close(p.progress)
		p.progress = make(chan struct{})
	}
}
