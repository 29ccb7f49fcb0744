package tenon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// listenLoop keeps a session open, each under the next number, until ctx ends.
func (w *Worker) listenLoop(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; failures++ {
		opened, err := w.listen(ctx)
		w.reports.shut()
		if ctx.Err() != nil {
			return
		}
		if opened {
			failures = 0
		}
		switch connect.CodeOf(err) {
		case connect.CodeNotFound:
			// The server does not know this worker any more.
			if err = w.register(ctx); err != nil && ctx.Err() == nil {
				w.fail(err)
				return
			}
		case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeUnimplemented:
			w.fail(fmt.Errorf("tenon: listen: %w", err))
			return
		case connect.CodeInvalidArgument:
			if !transient(err) {
				w.fail(fmt.Errorf("tenon: listen: %w", err))
				return
			}
		}
		if !errors.Is(err, errDrained) {
			w.log.Warn("tenon worker's session broke, connecting again", "worker", w.workerID(), "error", err)
		}
		pause(ctx, w.client.cfg.backoff.after(failures))
	}
}

var (
	errDrained = errors.New("the server asked the worker to connect again")
	errEnded   = errors.New("the server ended the session")
)

// listen opens one session and follows it to its end. It says whether the session was open.
func (w *Worker) listen(ctx context.Context) (opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := w.client.workers.Listen(ctx, w.nextSession())
	if err != nil {
		cancel()
		return false, err
	}
	defer closeStream(cancel, stream)
	for stream.Receive() {
		w.touch()
		msg := stream.Msg()
		if msg.GetOpened() && !opened {
			opened = true
			w.reports.open()
		}
		for _, a := range msg.GetAssignments() {
			w.accept(ctx, a)
		}
		for _, id := range msg.GetWithdrawals() {
			w.withdraw(id)
		}
		for _, c := range msg.GetCancels() {
			w.stop(c)
		}
		if msg.GetStop() {
			w.release()
		}
		if msg.GetDrain() {
			return opened, errDrained
		}
	}
	if err := stream.Err(); err != nil {
		return opened, err
	}
	return opened, errEnded
}

// nextSession counts the session on and lists what the worker brings along.
func (w *Worker) nextSession() *workersv1.ListenRequest {
	// A task that ends hands its result over before it leaves w.tasks, so it is never left out; it may be in both, and is listed once.
	w.mu.Lock()
	defer w.mu.Unlock()
	w.session++
	req := &workersv1.ListenRequest{WorkerId: w.id, Session: w.session}
	for _, t := range w.tasks {
		req.Held = append(req.Held, t.held())
	}
	for _, r := range w.reports.outcomes() {
		if w.tasks[idOf(r.GetAssignmentId())] == nil {
			req.Held = append(req.Held, heldOf(r))
		}
	}
	return req
}

// address gives what every call of a session names.
func (w *Worker) address() (worker string, session int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.id, w.session
}

func (w *Worker) heartbeatLoop(ctx context.Context) {
	for {
		w.mu.Lock()
		interval := w.interval
		w.mu.Unlock()
		if !pause(ctx, interval) {
			return
		}
		w.beat(ctx)
	}
}

// beat sends one heartbeat. A lost one is no harm by itself: the grace covers several.
func (w *Worker) beat(ctx context.Context) {
	w.mu.Lock()
	req := &workersv1.HeartbeatRequest{WorkerId: w.id, Session: w.session, Draining: w.draining}
	interval := w.interval
	w.mu.Unlock()
	if req.Session == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, interval)
	defer cancel()
	if _, err := w.client.workers.Heartbeat(ctx, req); err != nil {
		w.log.Debug("tenon worker's heartbeat failed", "worker", req.GetWorkerId(), "error", err)
		return
	}
	w.touch()
}

// contactLoop cancels the worker's tasks when the server was not heard for the grace: others run them by then.
func (w *Worker) contactLoop(ctx context.Context) {
	told := false
	for {
		w.mu.Lock()
		grace := w.grace
		w.mu.Unlock()
		left := grace - (time.Since(w.born) - time.Duration(w.contact.Load()))
		switch {
		case left > 0:
			told = false
		case !told:
			told = true
			w.log.Error("tenon worker is out of touch, it cancels its tasks", "worker", w.workerID(), "grace", grace, "tasks", w.countTasks())
			w.cancelAll(ErrOutOfTouch)
		}
		if left <= 0 {
			left = grace
		}
		if !pause(ctx, left) {
			return
		}
	}
}
