package engine

import (
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
)

// simKind is what a task's code does.
type simKind int

const (
	simOK      simKind = iota
	simFlaky           // fails some times, then completes
	simBroken          // fails always
	simGivesUp         // fails and asks for no retry
	simKills           // its worker dies of it
	simHangs           // never ends by itself
	simParent          // starts children and awaits them
	simLater           // fails once and asks for a wait of its own
)

type simBehaviour struct {
	kind simKind
	n    int        // failures of a flaky task, children of a parent
	plan *flow.Plan // of the children
}

// simPhase is where an assignment stands on its worker.
type simPhase int

const (
	simBuffered  simPhase = iota // in the dispatcher, not delivered
	simDelivered                 // acknowledged
	simRunning
	simDone // the result is not acknowledged yet
)

type simJob struct {
	*Assign
	phase    simPhase
	since    int64
	stopping bool
	exempt   bool // given up by the engine, and so in nobody's count
	waiting  bool // awaits its children
	children []flow.ID
	asked    int // 0: children not started, 1: starting, 2: awaiting, 3: had
	tries    int
	awaits   int // calls that wait
	calls    int // of children, without an answer
	result   Report
}

// simWorker is a worker with its dispatcher.
type simWorker struct {
	w         *simWorld
	id        flow.ID
	session   int64
	openings  int64
	slots     int
	actions   []string
	connected bool
	dead      bool
	draining  bool // has asked for it
	drained   bool // has been told that it is
	mail      []Effect
	jobs      []*simJob
}

func (w *simWorld) newWorker(slots int, actions []string) *simWorker {
	x := &simWorker{w: w, slots: slots, actions: actions}
	for i := range x.id {
		x.id[i] = byte(w.rnd.Uint32())
	}
	w.workers = append(w.workers, x)
	x.connect()
	return x
}

func (x *simWorker) connect() {
	x.session++
	x.connected = true
	x.attach()
}

// attach opens the session with what the worker and its dispatcher hold.
func (x *simWorker) attach() {
	x.openings++
	in := &OpenSession{Tenant: simTenant, Worker: x.id, Session: x.session, Dispatcher: "d", Actions: x.actions, Slots: x.slots, Draining: x.draining, Opening: x.openings}
	for _, j := range x.jobs {
		h := Held{Assignment: j.Assignment, Run: j.Run, TaskNo: j.TaskNo, Generation: j.Generation, Attempt: j.Attempt, Started: j.phase >= simRunning}
		if h.Started {
			h.Running = x.w.now - j.since
		}
		in.Held = append(in.Held, h)
	}
	in.To = x.w.ref(func(e Effect) {
		if no := e.(*Reply).Refusal; no != nil { //nolint:forcetypeassert // checked by reply
			x.w.t.Fatalf("session %d of a worker was refused: %s", in.Session, no.Message)
		}
	})
	x.w.push(in)
	for _, j := range x.jobs {
		if j.phase == simDone {
			x.send(j)
		}
		if j.asked < 3 {
			j.asked, j.calls = 0, 0
		}
	}
}

// reattach follows a take-over: the stream lives on, or breaks just then.
func (x *simWorker) reattach() {
	if !x.connected {
		return
	}
	if x.w.rnd.IntN(4) == 0 {
		x.breakStream()
		return
	}
	x.attach()
}

// breakStream loses the stream; what the dispatcher had not delivered is gone.
func (x *simWorker) breakStream() {
	x.connected = false
	x.mail = nil
	x.jobs = slices.DeleteFunc(x.jobs, func(j *simJob) bool { return j.phase == simBuffered })
	x.lose(false)
}

func (x *simWorker) lose(gone bool) {
	in := &LoseSession{To: x.w.ref(nil), Tenant: simTenant, Worker: x.id, Session: x.session, Gone: gone}
	if x.w.rnd.IntN(3) == 0 {
		x.w.pushLate(in)
		return
	}
	x.w.push(in)
}

// die is a kill -9.
func (x *simWorker) die() {
	x.jobs, x.mail, x.dead = nil, nil, true
	if x.connected {
		x.connected = false
		x.lose(x.w.rnd.IntN(4) == 0)
	}
}

func (x *simWorker) report(j *simJob, kind ReportKind) *Report {
	return &Report{Tenant: simTenant, Worker: x.id, Session: x.session, Assignment: j.Assignment, Run: j.Run, TaskNo: j.TaskNo, Generation: j.Generation, Attempt: j.Attempt, Kind: kind}
}

func (x *simWorker) say(j *simJob, kind ReportKind) {
	in := x.report(j, kind)
	in.To = x.w.ref(func(e Effect) {
		if kind <= Started && e.(*VerdictReply).Verdict == Superseded { //nolint:forcetypeassert // checked by reply
			x.drop(j)
		}
	})
	x.w.push(in)
}

func (x *simWorker) drop(j *simJob) {
	x.jobs = slices.DeleteFunc(x.jobs, func(other *simJob) bool { return other == j })
}

// send reports a result, once more if need be; it is kept until it is acknowledged.
func (x *simWorker) send(j *simJob) {
	in := j.result
	in.Session = x.session
	in.To = x.w.ref(func(Effect) { x.drop(j) })
	x.w.push(&in)
}

func (x *simWorker) find(assignment flow.ID) *simJob {
	for _, j := range x.jobs {
		if j.Assignment == assignment {
			return j
		}
	}
	return nil
}

func (x *simWorker) readAll() bool {
	moved := len(x.mail) > 0
	for len(x.mail) > 0 {
		x.readOne()
	}
	return moved
}

// readOne takes one order of the engine.
func (x *simWorker) readOne() {
	e := x.mail[0]
	x.mail = x.mail[1:]
	switch e := e.(type) {
	case *Assign:
		used := 0
		for _, j := range x.jobs {
			if j.phase != simDone && !j.waiting && !j.exempt {
				used++
			}
		}
		if used >= x.slots {
			x.w.t.Fatalf("P4: a worker with %d slots holds %d assignments and gets another", x.slots, used)
		}
		x.jobs = append(x.jobs, &simJob{Assign: e})
	case *Stop:
		j := x.find(e.Assignment)
		switch {
		case j == nil:
			x.w.push(&Report{To: x.w.ref(nil), Tenant: simTenant, Worker: x.id, Session: x.session, Assignment: e.Assignment, Kind: Stopped})
		case j.phase == simDone:
		default:
			j.stopping = true
			j.exempt = j.exempt || e.Reason == reasonSuperseded
		}
	case *Withdraw:
		j := x.find(e.Assignment)
		switch {
		case j == nil:
			x.say(&simJob{Assign: x.w.sent[e.Assignment]}, Withdrawn)
		case j.phase == simBuffered:
			x.drop(j)
			x.say(j, Withdrawn)
		default:
			x.say(j, Acknowledged)
		}
	default:
	}
}

// advance moves one assignment on; it tells whether anything happened.
func (x *simWorker) advance(j *simJob) bool {
	switch j.phase {
	case simBuffered:
		if !x.connected {
			return false
		}
		j.phase = simDelivered
		x.say(j, Acknowledged)
		return true
	case simDelivered:
		if j.stopping {
			return x.stop(j)
		}
		j.phase, j.since = simRunning, x.w.now
		x.w.executed[j.Assignment] = true
		kills := x.w.behaviour[j.Plan.Actions[j.TaskNo-1]].kind == simKills
		if !kills || x.w.rnd.IntN(2) == 0 {
			x.say(j, Started)
		}
		if kills {
			x.die()
		}
		return true
	case simRunning:
		return x.run(j)
	default:
		return false
	}
}

func (x *simWorker) stop(j *simJob) bool {
	x.drop(j)
	x.say(j, Stopped)
	return true
}

// run is the task's code.
func (x *simWorker) run(j *simJob) bool {
	b := x.w.behaviour[j.Plan.Actions[j.TaskNo-1]]
	if j.stopping && (b.kind == simHangs || j.waiting || x.w.rnd.IntN(3) > 0) {
		return x.stop(j)
	}
	switch b.kind {
	case simHangs:
		return false
	case simBroken:
		x.fail(j, "broken", false, 0)
	case simGivesUp:
		x.fail(j, "hopeless", true, 0)
	case simFlaky:
		if int(j.Attempt) <= b.n {
			x.fail(j, "flaky", false, 0)
			return true
		}
		x.complete(j)
	case simLater:
		if j.Attempt == 1 {
			x.fail(j, "busy", false, 3*second)
			return true
		}
		x.complete(j)
	case simParent:
		return x.runParent(j, b)
	default:
		x.complete(j)
	}
	return true
}

func (x *simWorker) complete(j *simJob) {
	j.phase = simDone
	j.result = *x.report(j, Succeeded)
	j.result.Output = Payload{Inline: slices.Clone(j.Assignment[:])}
	x.send(j)
}

func (x *simWorker) fail(j *simJob, kind string, never bool, after int64) {
	j.phase = simDone
	j.result = *x.report(j, FailedAttempt)
	j.result.Error, j.result.NeverRetry, j.result.RetryAfter = &TaskError{Kind: kind}, never, after
	x.send(j)
}

// runParent starts the children, awaits them, and completes.
func (x *simWorker) runParent(j *simJob, b simBehaviour) bool {
	link := ParentLink{Run: j.Run, Task: j.Plan.Workflow.Tasks[j.TaskNo-1].Name, Assignment: j.Assignment}
	switch {
	case j.calls > 0 || j.asked == 2:
		return false
	case j.asked == 3:
		x.complete(j)
		return true
	case j.asked == 1:
		j.asked = 2
		j.awaits++
		awaits := j.awaits
		to := x.w.ref(nil)
		x.w.done[to] = func(e Effect) {
			no := e.(*Reply).Refusal //nolint:forcetypeassert // checked by reply
			switch {
			case awaits != j.awaits: // the answer to a call that the worker has given up
			case no != nil && no.Reason == "AWAIT_REPLACED":
			case no != nil:
				x.orphaned(j)
			default:
				j.asked, j.waiting = 3, false
			}
		}
		j.waiting = true
		x.w.push(&AwaitRuns{To: to, Tenant: simTenant, IDs: slices.Clone(j.children), Parent: link})
		return true
	}
	j.asked, j.calls, j.children = 1, b.n, make([]flow.ID, b.n)
	j.tries++
	tries := j.tries
	for i := range b.n {
		link.Key = string(rune('a' + i))
		to := x.w.ref(func(e Effect) {
			r := e.(*TriggerReply) //nolint:forcetypeassert // a trigger's answer
			if tries != j.tries {
				return
			}
			j.calls--
			j.children[i] = r.ID
			if r.Refusal != nil {
				x.orphaned(j)
			}
		})
		parent := link
		x.w.push(&Trigger{To: to, Tenant: simTenant, Hash: []byte(link.Key), Fresh: j.tries == 1, Plan: b.plan, Priority: 4, Parent: &parent})
	}
	return true
}

// orphaned is a task whose engine knows it no more, or wants it stopped: it ends by itself or by the order to stop.
func (x *simWorker) orphaned(j *simJob) {
	if j.phase != simRunning || x.find(j.Assignment) != j {
		return
	}
	j.exempt, j.calls = true, 0
	x.fail(j, "orphaned", false, 0)
}
