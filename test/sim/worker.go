package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// kind is what a task's code does.
type kind int

const (
	succeeds kind = iota
	flaky         // fails some times, then completes
	fails         // always
	givesUp       // fails and asks for no retry
	kills         // its worker dies of it
	hangs         // never ends by itself
	parent        // starts children and awaits them
)

type behaviour struct {
	kind kind
	n    int        // failures of a flaky task, children of a parent
	long int64      // how long it runs at most
	plan *flow.Plan // of the children
}

// job is an assignment on its worker.
type job struct {
	order    *busv1.OrderedAssignment
	id       flow.ID
	started  int64
	stopping bool
	given    bool // told that it is superseded: in nobody's count any more
	waiting  bool
	done     bool // the result is not acknowledged yet
	result   *busv1.ReportItem
	children []flow.ID
	calls    int
	asked    int // generation of the await call
}

// conn is a stream from a dispatcher to a worker.
type conn struct {
	d          *dispatcher
	x          *worker
	number     int64
	opened     bool // the dispatcher has attached it
	serverGone bool
	last       int64
}

// worker is a model of a worker with its SDK.
type worker struct {
	process
	w      *world
	id     flow.ID
	tenant int64
	slots  int
	number int64 // of its newest session
	conn   *conn
	open   bool  // the stream has said so
	heard  int64 // when it was last in touch
	away   int64 // since when it is not; 0: it is
	jobs   []*job

	draining bool // it takes nothing more, and ends when it has nothing left
}

func (w *world) newWorker(tenant int64, name string, slots int) *worker {
	x := &worker{process: process{name: name}, w: w, tenant: tenant, slots: slots}
	w.workers = append(w.workers, x)
	x.begin()
	return x
}

func (x *worker) begin() {
	x.id, x.number, x.conn, x.open, x.heard, x.away, x.jobs = x.w.newID(), 0, nil, false, x.w.now, x.w.now, nil
	x.draining = false
	x.w.after(x.w.between(0, second), &x.process, "", x.connect)
	x.w.after(grace/4, &x.process, "", x.beat)
}

// die is a kill -9. The dispatcher sees the stream break, or hears nothing any more.
func (x *worker) die() {
	w := x.w
	w.kill(&x.process)
	w.check.died(x)
	x.jobs = nil
	c := x.conn
	x.conn = nil
	if c != nil && w.rnd.IntN(4) > 0 {
		x.dispatcherNotices(c, second)
	}
	w.after(w.between(100*millisecond, 8*second), nil, "", func() {
		if x.dead {
			x.replace()
		}
	})
}

// drain is the end of a worker in order: it says so, gives back what comes from now on, and leaves when it has nothing left, or its patience with its tasks ends.
func (x *worker) drain() {
	if x.draining {
		return
	}
	x.w.notef("%s drains", x.name)
	x.draining = true
	x.beatOnce()
	x.leaveWhenDone(x.w.now + 10*second)
}

func (x *worker) leaveWhenDone(latest int64) {
	w := x.w
	if len(x.jobs) > 0 && w.now < latest {
		w.after(100*millisecond, &x.process, "", func() { x.leaveWhenDone(latest) })
		return
	}
	w.notef("%s leaves", x.name)
	x.jobs = nil
	c := x.conn
	w.kill(&x.process)
	x.conn = nil
	if c != nil {
		x.dispatcherNotices(c, second)
	}
	w.after(w.between(100*millisecond, 2*second), nil, "", func() {
		if x.dead {
			x.replace()
		}
	})
}

// replace starts another worker in a dead one's place.
func (x *worker) replace() {
	x.life++
	x.dead = false
	x.begin()
}

func (x *worker) dispatcherNotices(c *conn, within int64) {
	x.w.after(x.w.between(millisecond, within), &c.d.process, "", func() {
		if st := c.d.seatOf(c.x.id); st != nil && st.session != nil && st.session.conn == c {
			c.d.close(st.session, false)
		}
	})
}

// cutStream breaks the stream; both ends notice in their own time.
func (x *worker) cutStream() {
	c := x.conn
	if c == nil {
		return
	}
	x.w.notef("the stream of %s breaks", x.name)
	c.serverGone = true
	x.w.after(x.w.between(millisecond, 500*millisecond), &x.process, "", func() { x.lost(c) })
	x.dispatcherNotices(c, 2*second)
}

func (x *worker) connect() {
	if x.conn != nil {
		return
	}
	w := x.w
	d := w.dispatchers[w.rnd.IntN(len(w.dispatchers))]
	if d.dead {
		w.after(w.between(50*millisecond, 500*millisecond), &x.process, "", x.connect)
		return
	}
	x.number++
	c := &conn{d: d, x: x, number: x.number}
	x.conn, x.open = c, false
	held := make([]*sentTask, 0, len(x.jobs))
	for _, j := range x.jobs {
		held = append(held, &sentTask{j.id, flow.ID(j.order.GetRunId()), j.order.GetTaskNo(), j.order.GetGeneration(), j.order.GetAttempt(), j.started})
	}
	w.after(w.between(100, millisecond), &d.process, "", func() { d.listen(x, c, c.number, held) })
	w.after(6*second, &x.process, "", func() {
		if x.conn == c && !x.open {
			x.dispatcherNotices(c, millisecond)
			x.lost(c)
		}
	})
}

// push sends a message on the stream.
func (c *conn) push(do func()) {
	if c.serverGone {
		return
	}
	w := c.x.w
	c.last = max(c.last, w.now+w.between(50, 500))
	w.after(c.last-w.now, &c.x.process, "", func() {
		if c.x.conn == c {
			do()
		}
	})
}

// close ends the stream from the dispatcher's side.
func (c *conn) close(*dispatcher) {
	c.push(func() { c.x.lost(c) })
	c.serverGone = true
}

func (x *worker) lost(c *conn) {
	if x.conn != c {
		return
	}
	x.conn, x.open = nil, false
	if x.away == 0 {
		x.away = x.w.now
	}
	x.w.after(x.w.between(5*millisecond, 500*millisecond), &x.process, "", x.connect)
}

func (x *worker) opened(c *conn) {
	x.w.notef("%s has session %d with %s", x.name, c.number, c.d.name)
	x.open, x.away = true, 0
}

// beat is the heartbeat. A worker that is out of touch for its grace stops its work by itself.
func (x *worker) beat() {
	w := x.w
	w.after(grace/4, &x.process, "", x.beat)
	if x.away > 0 && w.now-x.away > grace {
		for _, j := range slices.Clone(x.jobs) {
			if !j.done {
				x.stop(j)
			}
		}
		return
	}
	x.beatOnce()
}

func (x *worker) beatOnce() {
	w, c := x.w, x.conn
	if c == nil || c.d.dead {
		return
	}
	w.after(w.between(50, 500), &c.d.process, "", func() {
		if c.d.heartbeat(x, c.number) {
			return
		}
		w.after(w.between(50, 500), &x.process, "", func() { x.lost(c) })
	})
}

func (x *worker) find(id flow.ID) *job {
	for _, j := range x.jobs {
		if j.id == id {
			return j
		}
	}
	return nil
}

func (x *worker) drop(j *job) {
	x.w.notef("%s forgets %s, done %v", x.name, short(j.id), j.done)
	x.jobs = slices.DeleteFunc(x.jobs, func(other *job) bool { return other == j })
}

// assigned takes an assignment.
func (x *worker) assigned(c *conn, o *busv1.OrderedAssignment) {
	id := flow.ID(o.GetAssignmentId())
	if x.find(id) != nil {
		return
	}
	if x.draining {
		x.disown(id)
		return
	}
	j := &job{order: o, id: id}
	x.w.check.arrives(x, j)
	x.jobs = append(x.jobs, j)
	x.say(j, busv1.ReportKind_REPORT_KIND_ACKNOWLEDGED)
	x.w.after(x.w.between(50, 5*millisecond), &x.process, "", func() { x.run(j) })
}

func (x *worker) cancelled(id flow.ID, reason int32) {
	j := x.find(id)
	if j == nil {
		x.disown(id)
		return
	}
	if reason == int32(workersv1.CancelReason_CANCEL_REASON_SUPERSEDED) {
		j.given = true
	}
	if j.done || j.stopping {
		return
	}
	j.stopping = true
	x.w.after(x.w.between(100, 800*millisecond), &x.process, "", func() { x.stop(j) })
}

func (x *worker) withdrawn(id flow.ID) {
	switch j := x.find(id); {
	case j == nil:
		x.disown(id)
	case j.started > 0:
		x.say(j, busv1.ReportKind_REPORT_KIND_STARTED)
	default:
		x.say(j, busv1.ReportKind_REPORT_KIND_ACKNOWLEDGED)
	}
}

// disown says that an assignment is not here. Its dispatcher adds what it knows of it.
func (x *worker) disown(id flow.ID) {
	it := &busv1.ReportItem{AssignmentId: id[:], RunId: make([]byte, 16), Kind: busv1.ReportKind_REPORT_KIND_WITHDRAWN}
	if c := x.conn; c != nil {
		if st := c.d.seatOf(x.id); st != nil {
			if a := st.find(id); a != nil {
				it = item(a, busv1.ReportKind_REPORT_KIND_WITHDRAWN)
			}
		}
	}
	x.send(it, func() bool { return false }, func(int32) {})
}

func (x *worker) stop(j *job) {
	if j.done || x.find(j.id) != j {
		return
	}
	x.finish(j, x.item(j, busv1.ReportKind_REPORT_KIND_STOPPED))
}

func (x *worker) item(j *job, kind busv1.ReportKind) *busv1.ReportItem {
	o := j.order
	it := &busv1.ReportItem{AssignmentId: j.id[:], RunId: o.GetRunId(), TaskNo: o.GetTaskNo(), Generation: o.GetGeneration(), Attempt: o.GetAttempt(), Kind: kind}
	if j.started > 0 {
		it.Running = x.w.now - j.started
	}
	return it
}

// say reports that a job is here, or has started.
func (x *worker) say(j *job, kind busv1.ReportKind) {
	gone := func() bool { return j.done || x.find(j.id) != j }
	x.send(x.item(j, kind), gone, func(verdict int32) {
		if verdict == int32(engine.Superseded) {
			x.cancelled(j.id, int32(workersv1.CancelReason_CANCEL_REASON_SUPERSEDED))
		}
	})
}

// send reports until it has a verdict, or nobody wants one any more.
func (x *worker) send(it *busv1.ReportItem, gone func() bool, done func(verdict int32)) {
	w := x.w
	again := func() {
		w.after(w.between(50*millisecond, 500*millisecond), &x.process, "", func() { x.send(it, gone, done) })
	}
	if gone() {
		return
	}
	var d *dispatcher
	if c := x.conn; c != nil {
		d = c.d
	} else {
		d = w.dispatchers[w.rnd.IntN(len(w.dispatchers))]
	}
	if d.dead {
		again()
		return
	}
	number, answered, life := x.number, false, d.life
	w.after(w.between(50, 500), &d.process, "", func() {
		d.report(x, number, it, func(verdict int32) {
			w.after(w.between(50, 500), &x.process, "", func() {
				if answered {
					return
				}
				answered = true
				if verdict == 0 {
					again()
					return
				}
				done(verdict)
			})
		})
	})
	w.after(21*second, &x.process, "", func() {
		if !answered {
			answered = true
			again()
		}
	})
	w.after(w.between(10*millisecond, second), &x.process, "", func() {
		if !answered && d.life != life { // the call broke with its dispatcher
			answered = true
			again()
		}
	})
}

// finish keeps a result until it is acknowledged.
func (x *worker) finish(j *job, it *busv1.ReportItem) {
	x.w.notef("%s has result %d of %s", x.name, it.GetKind(), short(j.id))
	j.done, j.result = true, it
	gone := func() bool { return x.find(j.id) != j }
	x.send(it, gone, func(int32) { x.drop(j) })
	if x.w.once(Repeat, 3) {
		x.w.after(x.w.between(millisecond, 3*second), &x.process, "", func() {
			x.send(it, func() bool { return x.w.healed }, func(int32) {})
		})
	}
}

// run is the task's code.
func (x *worker) run(j *job) {
	if j.done || j.stopping || x.find(j.id) != j {
		return
	}
	w := x.w
	o := j.order
	b := w.does[flow.ActionName(o.GetWorkflow(), o.GetTask())]
	j.started = w.now
	w.check.starts(x, j)
	if b.kind != kills || w.rnd.IntN(2) == 0 {
		x.say(j, busv1.ReportKind_REPORT_KIND_STARTED)
	}
	long := max(200, b.long)
	if w.healed {
		long = millisecond
	}
	w.after(w.between(100, long), &x.process, "", func() { x.act(j, b) })
}

func (x *worker) act(j *job, b behaviour) {
	if j.done || x.find(j.id) != j {
		return
	}
	switch b.kind {
	case kills:
		x.die()
	case hangs:
	case fails:
		x.fail(j, "broken", false)
	case givesUp:
		x.fail(j, "hopeless", true)
	case flaky:
		if int(j.order.GetAttempt()) <= b.n {
			x.fail(j, "flaky", false)
			return
		}
		x.complete(j)
	case parent:
		x.startChildren(j, b)
	default:
		x.complete(j)
	}
}

func (x *worker) complete(j *job) {
	it := x.item(j, busv1.ReportKind_REPORT_KIND_COMPLETED)
	it.Output = &busv1.Payload{Json: slices.Clone(j.id[:])}
	x.finish(j, it)
}

func (x *worker) fail(j *job, kind string, never bool) {
	it := x.item(j, busv1.ReportKind_REPORT_KIND_FAILED)
	it.Error, it.NeverRetry = &runsv1.TaskError{Kind: kind}, never
	x.finish(j, it)
}

// standing describes a worker for a message.
func (x *worker) standing() string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n  %s of tenant %d: dead %v, session %d open %v, away since %d", x.name, x.tenant, x.dead, x.number, x.open, x.away)
	for _, j := range x.jobs {
		fmt.Fprintf(&out, "\n    %s of %s/%d: started %v stopping %v given %v waiting %v done %v, %d children calls, await %d",
			short(j.id), short(flow.ID(j.order.GetRunId())), j.order.GetTaskNo(), j.started > 0, j.stopping, j.given, j.waiting, j.done, j.calls, j.asked)
	}
	return out.String()
}
