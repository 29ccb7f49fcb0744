package tenon

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

type assignmentID [16]byte

func idOf(b []byte) (id assignmentID) {
	copy(id[:], b)
	return id
}

// task is one assignment that the worker runs.
type task struct {
	worker     *Worker
	assignment *workersv1.Assignment
	id         assignmentID
	ctx        context.Context
	cancel     context.CancelCauseFunc
	logger     func() *slog.Logger // made when it is first asked for: most tasks log nothing
	lines      atomic.Int64        // logged so far
	parents    map[string][]byte

	mu        sync.Mutex
	began     time.Time // zero until the code starts
	withdrawn bool
}

func (t *task) parentAssignment(key string) *runsv1.ParentAssignment {
	return &runsv1.ParentAssignment{
		RunId: t.assignment.GetRunId(), Task: t.assignment.GetTask(), AssignmentId: t.assignment.GetAssignmentId(), ChildKey: key,
	}
}

// begin marks the start of the task's code; it says false when the assignment was withdrawn before.
func (t *task) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.withdrawn {
		t.began = time.Now()
	}
	return !t.withdrawn
}

// giveBack withdraws the assignment unless its code has started.
func (t *task) giveBack() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.began.IsZero() {
		return false
	}
	t.withdrawn = true
	t.cancel(ErrSuperseded)
	return true
}

func (t *task) held() *workersv1.Held {
	h := heldOf(t.report())
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.began.IsZero() {
		h.Running = durationpb.New(time.Since(t.began))
	}
	return h
}

// heldOf lists a report's assignment as one that has not started, unless the report is a result.
func heldOf(r *workersv1.Report) *workersv1.Held {
	h := &workersv1.Held{
		AssignmentId: r.GetAssignmentId(), RunId: r.GetRunId(), TaskNo: r.GetTaskNo(), Generation: r.GetGeneration(), Attempt: r.GetAttempt(),
	}
	if r.GetNews() != nil && r.GetWithdrawn() == nil {
		// It has run; for how long no longer matters.
		h.Running = durationpb.New(0)
	}
	return h
}

// report gives an empty report of the task, with how long its code has run.
func (t *task) report() *workersv1.Report {
	r := reportOn(t.assignment)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.began.IsZero() {
		r.Running = durationpb.New(time.Since(t.began))
	}
	return r
}

func reportOn(a *workersv1.Assignment) *workersv1.Report {
	return &workersv1.Report{
		AssignmentId: a.GetAssignmentId(), RunId: a.GetRunId(), TaskNo: a.GetTaskNo(), Generation: a.GetGeneration(), Attempt: a.GetAttempt(),
	}
}

func started(r *workersv1.Report) *workersv1.Report {
	r.News = &workersv1.Report_Started{Started: &workersv1.Started{}}
	return r
}

func withdrawn(r *workersv1.Report) *workersv1.Report {
	r.News = &workersv1.Report_Withdrawn{Withdrawn: &workersv1.Withdrawn{}}
	return r
}

func failed(r *workersv1.Report, kind, message, stack string) *workersv1.Report {
	r.News = &workersv1.Report_Failed{Failed: &workersv1.Failed{
		Error: &runsv1.TaskError{Kind: clip(kind, 100), Message: clip(message, maxErrorText), Stack: clip(stack, maxErrorText)}, NeverRetry: true,
	}}
	return r
}

// maxErrorText is the most of an error's message or stack that is reported, in bytes.
const maxErrorText = 64 << 10

// clip makes a text fit for a protobuf string of at most n bytes.
func clip(text string, n int) string {
	if len(text) > n {
		const mark = "... (cut)"
		cut := max(0, n-len(mark))
		text = strings.ToValidUTF8(text[:cut], "") + mark
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// accept takes an assignment in. One that is here already was sent again because its answer got lost.
func (w *Worker) accept(_ context.Context, a *workersv1.Assignment) {
	id := idOf(a.GetAssignmentId())
	w.mu.Lock()
	known := w.tasks[id]
	draining := w.draining
	h := w.handlers[a.GetWorkflow()+"/"+a.GetTask()]
	switch {
	case known != nil, draining, h == nil, w.reports.holds(id):
		w.mu.Unlock()
		switch {
		case known != nil:
			w.reports.put(known.arrival())
		case draining:
			w.reports.put(withdrawn(reportOn(a)))
		case h == nil:
			w.reports.put(failed(reportOn(a), "unknown_task", fmt.Sprintf("this worker has no task %q of workflow %q", a.GetTask(), a.GetWorkflow()), ""))
		}
		return
	}
	t := w.newTask(a, id)
	w.tasks[id] = t
	w.running.Add(1)
	w.mu.Unlock()
	w.pool.run(func() {
		defer w.running.Done()
		w.execute(t, h)
	})
}

func (w *Worker) newTask(a *workersv1.Assignment, id assignmentID) *task {
	t := &task{worker: w, assignment: a, id: id}
	ctx, cancel := context.WithCancelCause(context.Background())
	t.ctx, t.cancel = context.WithValue(ctx, taskKey{}, t), cancel
	t.logger = sync.OnceValue(func() *slog.Logger { return slog.New(newLogHandler(t)) })
	return t
}

// arrival says how far the task has come, short of its outcome.
func (t *task) arrival() *workersv1.Report {
	r := t.report()
	if r.GetRunning() != nil {
		return started(r)
	}
	r.News = &workersv1.Report_Acknowledged{Acknowledged: &workersv1.Acknowledged{}}
	return r
}

// errGoexit is the outcome of a task whose code does not come back.
var errGoexit = Errorf(KindPanic, "the task's code ended its goroutine (runtime.Goexit)")

// execute runs a task to its outcome, which is handed over whatever the task's code does to its goroutine.
func (w *Worker) execute(t *task, h handler) {
	var output []byte
	var stack string
	err := errGoexit
	defer func() {
		w.reports.put(t.outcome(output, err, stack))
		w.mu.Lock()
		delete(w.tasks, t.id)
		w.mu.Unlock()
		t.cancel(context.Canceled)
	}()
	input, fault := w.inputs(t)
	if fault != nil {
		err = fault
		return
	}
	if t.ctx.Err() != nil || !t.begin() {
		err = context.Cause(t.ctx)
		return
	}
	w.reports.put(started(t.report()))
	output, stack, err = w.invoke(t, h, input)
}

// invoke calls the task's code within the interceptors. A panic becomes an error with its stack.
func (w *Worker) invoke(t *task, h handler, input []byte) (output []byte, stack string, err error) {
	finished := false
	defer func() {
		if finished {
			return
		}
		if p := recover(); p != nil {
			stack = string(debug.Stack())
			err = Errorf(KindPanic, "panic: %v", p)
		}
	}()
	next := func(ctx Context) (err error) {
		output, err = h(ctx, input)
		return err
	}
	for _, interceptor := range slices.Backward(w.cfg.interceptors) {
		inner := next
		next = func(ctx Context) error { return interceptor(ctx, inner) }
	}
	err = next(taskContext{t.ctx, t})
	finished = true
	return output, "", err
}

// outcome makes the last report of a task.
func (t *task) outcome(output []byte, err error, stack string) *workersv1.Report {
	r := t.report()
	t.mu.Lock()
	givenBack := t.withdrawn
	t.mu.Unlock()
	limit := t.worker.limit()
	switch {
	case givenBack:
		return withdrawn(r)
	case err != nil && t.ctx.Err() != nil:
		r.News = &workersv1.Report_Stopped{Stopped: &workersv1.Stopped{}}
		return r
	case err != nil:
		info := describe(err)
		failed(r, info.Kind, err.Error(), stack)
		r.GetFailed().NeverRetry = info.NeverRetry
		if info.RetryAfter > 0 {
			r.GetFailed().RetryAfter = durationpb.New(info.RetryAfter)
		}
		return r
	case limit > 0 && len(output) > limit:
		return failed(r, KindBadOutput, fmt.Sprintf("output of task %q has %d bytes, over the server's limit of %d", t.assignment.GetTask(), len(output), limit), "")
	case !utf8.Valid(output):
		return failed(r, KindBadOutput, fmt.Sprintf("output of task %q is not valid UTF-8", t.assignment.GetTask()), "")
	}
	r.News = &workersv1.Report_Completed{Completed: &workersv1.Completed{OutputJson: string(output)}}
	return r
}

func (w *Worker) limit() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.payloadLimit
}

// withdraw gives an assignment back if its code has not started, and else says that it has.
func (w *Worker) withdraw(id []byte) {
	w.mu.Lock()
	t := w.tasks[idOf(id)]
	w.mu.Unlock()
	switch {
	case t == nil:
		w.disown(id)
	case !t.giveBack():
		w.reports.put(t.arrival())
	}
}

// disown says that an assignment is not here, unless its outcome is still on its way.
func (w *Worker) disown(id []byte) {
	if !w.reports.holds(idOf(id)) {
		w.reports.put(withdrawn(&workersv1.Report{AssignmentId: id}))
	}
}

// stop delivers a cancel.
func (w *Worker) stop(c *workersv1.Cancel) {
	cause := ErrCancelled
	switch c.GetReason() {
	case workersv1.CancelReason_CANCEL_REASON_TIMED_OUT:
		cause = ErrTimedOut
	case workersv1.CancelReason_CANCEL_REASON_SUPERSEDED:
		cause = ErrSuperseded
	default:
	}
	if !w.stopTask(idOf(c.GetAssignmentId()), cause) {
		w.disown(c.GetAssignmentId())
	}
}

// stopTask cancels a task, and reports whether it is here.
func (w *Worker) stopTask(id assignmentID, cause error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tasks[id]
	if t != nil {
		t.cancel(cause)
	}
	return t != nil
}

// inputs gives the task's input and sets its parents' outputs, and reads those that were too large to travel with the assignment.
func (w *Worker) inputs(t *task) ([]byte, error) {
	a := t.assignment
	input := []byte(a.GetInputJson())
	var refs [][]byte
	if len(a.GetInputRef()) > 0 {
		refs = append(refs, a.GetInputRef())
	}
	if len(a.GetParents()) > 0 {
		t.parents = make(map[string][]byte, len(a.GetParents()))
	}
	for _, p := range a.GetParents() {
		t.parents[p.GetTask()] = orNull([]byte(p.GetOutputJson()))
		if len(p.GetOutputRef()) > 0 {
			refs = append(refs, p.GetOutputRef())
		}
	}
	if len(refs) == 0 {
		return orNull(input), nil
	}
	w.reports.put(t.arrival())
	found, err := w.payloads(t.ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("read the inputs of task %q: %w", a.GetTask(), err)
	}
	if len(a.GetInputRef()) > 0 {
		input = found[idOf(a.GetInputRef())]
	}
	for _, p := range a.GetParents() {
		if len(p.GetOutputRef()) > 0 {
			t.parents[p.GetTask()] = found[idOf(p.GetOutputRef())]
		}
	}
	return orNull(input), nil
}

func orNull(text []byte) []byte {
	if len(text) == 0 {
		return []byte("null")
	}
	return text
}

// maxPayloadRefs is the server's limit of one GetPayloads.
const maxPayloadRefs = 300

func (w *Worker) payloads(ctx context.Context, refs [][]byte) (map[assignmentID][]byte, error) {
	found := make(map[assignmentID][]byte, len(refs))
	for len(refs) > 0 {
		req := &workersv1.GetPayloadsRequest{WorkerId: w.workerID(), Refs: refs[:min(len(refs), maxPayloadRefs)]}
		res, err := call(ctx, w.client, w.client.workers.GetPayloads, req)
		if err != nil {
			return nil, err
		}
		got := res.GetPayloads()
		if len(got) == 0 || len(got) > len(req.GetRefs()) {
			return nil, fmt.Errorf("the server answered %d of %d payloads", len(got), len(req.GetRefs()))
		}
		for i, p := range got {
			found[idOf(refs[i])] = []byte(p.GetJson())
		}
		refs = refs[len(got):]
	}
	return found, nil
}
