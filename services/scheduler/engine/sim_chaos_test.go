package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// simScenario is a run of the world that can be had again.
type simScenario struct {
	Seed    uint64
	Steps   int // of chaos, before everything heals
	Runs    int // triggered at most
	Plans   int
	Window  int
	MaxRuns int
	Workers int
	Slots   int
	Crashes int  // take-overs at most
	Calm    bool // no cancels, replays and lost workers
}

func (sc simScenario) config() Config {
	return Config{AckTimeout: 2 * second, Grace: 5 * second, Window: sc.Window, PerSlot: -1, MaxRuns: sc.MaxRuns}
}

// simChaos drives a world by chance.
type simChaos struct {
	*simWorld
	sc      simScenario
	plans   []*flow.Plan
	actions []string
	runs    []flow.ID
	crashes int
}

// playScenario runs chaos, heals, and waits until every run has ended.
func playScenario(t simT, sc simScenario, recording bool) *simWorld {
	t.Helper()
	w := newSimWorld(t, sc.config(), sc.Seed)
	if recording {
		w.history, w.clean = make(map[[32]byte][]simStep), make(map[[32]byte]bool)
	}
	c := &simChaos{simWorld: w, sc: sc}
	for i := range sc.Plans {
		c.addPlan(i)
	}
	for range sc.Workers {
		w.newWorker(1+w.rnd.IntN(sc.Slots), c.actions)
	}
	for range sc.Steps {
		c.act(w.rnd.IntN(100))
	}
	c.heal()
	c.checkAll()
	return w
}

// addPlan makes a workflow of 1 to 12 tasks with any parents and behaviours.
func (c *simChaos) addPlan(i int) {
	rnd := c.rnd
	n := 1
	if rnd.IntN(5) > 1 {
		n = 2 + rnd.IntN(11)
	}
	w := &flow.Workflow{Name: fmt.Sprintf("w%d", i), Class: flow.Short}
	if rnd.IntN(6) == 0 {
		w.RunTimeout = time.Duration(5+rnd.IntN(30)) * time.Second
	}
	for j := range n {
		task := c.task(j)
		for p := range j {
			if rnd.IntN(j) < 2 && len(task.Parents) < 3 {
				task.Parents = append(task.Parents, w.Tasks[p].Name)
			}
		}
		w.Tasks = append(w.Tasks, task)
	}
	plan := c.plan(int64(100*i+1), w)
	for j := range w.Tasks {
		b := c.chance(plan.Actions[j], &w.Tasks[j])
		if b.kind == simParent {
			child := &flow.Workflow{Name: fmt.Sprintf("w%dc%d", i, j), Class: flow.Short, Tasks: []flow.Task{c.task(0)}}
			b.plan = c.plan(int64(100*i+2+j), child)
			c.chance(b.plan.Actions[0], &child.Tasks[0])
			if c.behaviour[b.plan.Actions[0]].kind == simParent {
				c.behaviour[b.plan.Actions[0]] = simBehaviour{kind: simOK}
			}
			c.behaviour[plan.Actions[j]] = b
		}
	}
	c.plans = append(c.plans, plan)
}

func (c *simChaos) plan(id int64, w *flow.Workflow) *flow.Plan {
	p, faults := flow.NewPlan(w)
	if len(faults) > 0 {
		c.t.Fatalf("plan: %v", faults)
	}
	p.WorkflowID, p.Version = id, 1
	c.store.plans[id] = p
	c.actions = append(c.actions, p.Actions...)
	return p
}

func (c *simChaos) task(j int) flow.Task {
	rnd := c.rnd
	task := flow.Task{
		Name: fmt.Sprintf("t%d", j), Queue: fmt.Sprintf("q%d", rnd.IntN(2)), MaxLost: 1 + rnd.IntN(3),
		Retry: flow.Retry{Max: rnd.IntN(4), Initial: time.Duration(rnd.IntN(1000)) * time.Millisecond, Factor: 2, MaxBackoff: 5 * time.Second},
	}
	if rnd.IntN(6) == 0 {
		task.ScheduleTimeout = time.Duration(5+rnd.IntN(30)) * time.Second
	}
	if rnd.IntN(6) == 0 {
		task.ExecutionTimeout = time.Duration(2+rnd.IntN(10)) * time.Second
	}
	return task
}

// chance decides what a task's code does.
func (c *simChaos) chance(action string, task *flow.Task) simBehaviour {
	kinds := []simKind{simOK, simOK, simOK, simOK, simFlaky, simFlaky, simParent, simLater, simBroken, simGivesUp, simHangs, simKills}
	if c.sc.Calm {
		kinds = kinds[:8]
	}
	b := simBehaviour{kind: kinds[c.rnd.IntN(len(kinds))], n: 1 + c.rnd.IntN(3)}
	if b.kind == simHangs && task.ExecutionTimeout == 0 {
		task.ExecutionTimeout = 3 * time.Second
	}
	c.behaviour[action] = b
	return b
}

func (c *simChaos) newRunID() flow.ID {
	var entropy [10]byte
	for i := range entropy {
		entropy[i] = byte(c.rnd.Uint32())
	}
	return flow.MakeID(c.now/1000, entropy)
}

// act does one thing.
func (c *simChaos) act(what int) {
	c.t.Helper()
	rnd := c.rnd
	switch {
	case what < 10:
		for range 1 + rnd.IntN(4) {
			c.trigger()
		}
	case what < 32:
		c.someInputs()
	case what < 52:
		for range min(len(c.pending), 1+rnd.IntN(3)) {
			c.commit()
		}
	case what < 59:
		if len(c.reads) > 0 {
			c.read(rnd.IntN(len(c.reads)))
		}
	case what < 66:
		if len(c.answers) > 0 {
			i := rnd.IntN(len(c.answers))
			c.push(c.answers[i])
			c.answers = slices.Delete(c.answers, i, i+1)
		}
	case what < 84:
		c.someWork()
	case what < 90:
		c.passTime()
	case what < 92:
		c.inbox = append(c.inbox, c.late...)
		c.late = nil
	case what < 94:
		c.callAgain()
	case !c.sc.Calm:
		c.trouble(what)
	default:
	}
}

func (c *simChaos) someInputs() {
	n := min(len(c.inbox), c.rnd.IntN(6))
	in := slices.Clone(c.inbox[:n])
	c.inbox = c.inbox[n:]
	c.step(in...)
}

func (c *simChaos) passTime() {
	switch c.rnd.IntN(4) {
	case 0:
		c.now = max(c.now, min(c.wake, c.now+10*second))
	case 1:
		c.now += c.rnd.Int64N(second)
	default:
		c.now += c.rnd.Int64N(3000)
	}
	c.someInputs()
}

func (c *simChaos) trigger() {
	if len(c.runs) >= c.sc.Runs {
		return
	}
	id := c.newRunID()
	c.runs = append(c.runs, id)
	c.start(id, c.rnd.IntN(2) == 0)
}

// start triggers a run, and again if its owner dies before the answer.
func (c *simChaos) start(id flow.ID, fresh bool) {
	priority := []int16{4, 4, 4, 0, 9}[int(id[15])%5]
	plan := c.plans[int(id[14])%len(c.plans)]
	c.push(&Trigger{To: c.ref(nil), Tenant: simTenant, ID: id, Hash: id[:], Fresh: fresh, Plan: plan, Priority: priority, Input: Payload{Inline: []byte("1")}})
}

// someWork moves one worker on.
func (c *simChaos) someWork() {
	x := c.workers[c.rnd.IntN(len(c.workers))]
	for range 1 + c.rnd.IntN(4) {
		if len(x.mail) > 0 && c.rnd.IntN(2) == 0 {
			x.readOne()
		}
		if len(x.jobs) > 0 {
			x.advance(x.jobs[c.rnd.IntN(len(x.jobs))])
		}
	}
}

func (c *simChaos) anyRun() (flow.ID, bool) {
	if len(c.runs) == 0 {
		return flow.ID{}, false
	}
	return c.runs[c.rnd.IntN(len(c.runs))], true
}

// callAgain repeats a call, or sends a doubled result.
func (c *simChaos) callAgain() {
	id, ok := c.anyRun()
	if !ok {
		return
	}
	switch c.rnd.IntN(4) {
	case 0:
		c.start(id, false)
	case 1:
		if c.promised[id] {
			to := c.ref(func(e Effect) {
				if r := e.(*TriggerReply); r.Refusal == nil || r.Refusal.Reason != "RUN_EXISTS" { //nolint:forcetypeassert // a trigger's answer
					c.t.Fatalf("other contents under the id of %v were taken", id)
				}
			})
			c.push(&Trigger{To: to, Tenant: simTenant, ID: id, Hash: []byte("other"), Plan: c.plans[0], Priority: 4})
		}
	case 2:
		c.push(&Peek{To: c.ref(nil), Tenant: simTenant, IDs: []flow.ID{id}})
	default:
		x := c.workers[c.rnd.IntN(len(c.workers))]
		for _, j := range x.jobs {
			if j.phase == simDone {
				x.send(j)
				again := j.result
				again.To = c.ref(nil)
				c.pushLate(&again)
				return
			}
		}
	}
}

// trouble is everything that a calm world has not.
func (c *simChaos) trouble(what int) {
	rnd := c.rnd
	id, ok := c.anyRun()
	x := c.workers[rnd.IntN(len(c.workers))]
	switch {
	case what == 94 && ok:
		c.push(&CancelRun{To: c.ref(nil), Tenant: simTenant, ID: id})
	case what == 95 && ok:
		in := &ReplayRun{To: c.ref(nil), Tenant: simTenant, ID: id}
		if found := c.store.newest(RunKey{simTenant, id}); found != nil && rnd.IntN(2) == 0 {
			in.Tasks = []string{found.Plan.Workflow.Tasks[rnd.IntN(len(found.Plan.Workflow.Tasks))].Name}
		}
		c.push(in)
	case what == 96 && !x.dead:
		if x.connected {
			x.breakStream()
		} else {
			x.connect()
		}
	case what == 97:
		if !x.dead && rnd.IntN(2) == 0 {
			x.die()
		}
		c.replaceDead()
	case what == 98 && x.connected && rnd.IntN(3) == 0:
		x.draining = true
		session := x.session
		to := c.ref(func(Effect) { x.drained = x.session == session })
		c.push(&DrainWorker{To: to, Tenant: simTenant, Worker: x.id, Session: x.session})
	case what == 99 && c.crashes < c.sc.Crashes && rnd.IntN(3) == 0:
		c.takeOver()
	default:
	}
}

func (c *simChaos) takeOver() {
	var unanswered []flow.ID
	for _, id := range c.runs {
		if !c.promised[id] {
			unanswered = append(unanswered, id)
		}
	}
	c.crashes++
	if c.rnd.IntN(2) == 0 {
		c.handOver()
	} else {
		c.crash()
	}
	for _, id := range unanswered {
		c.start(id, false)
	}
}

func (c *simChaos) replaceDead() {
	for i := range c.workers {
		if c.workers[i].dead {
			old := c.workers
			c.workers = nil
			fresh := c.newWorker(1+c.rnd.IntN(c.sc.Slots), c.actions)
			c.workers = old
			c.workers[i] = fresh
		}
	}
}

// heal ends all trouble, and drives time by NextWake until every run has ended.
func (c *simChaos) heal() {
	c.t.Helper()
	const rounds = 20_000
	c.newWorker(c.sc.Slots, c.actions) // the others may all be draining
	for range rounds {
		moved := c.flush()
		for _, x := range c.workers {
			if x.draining && !x.dead && len(x.jobs) == 0 {
				x.die()
			}
		}
		c.replaceDead()
		for _, x := range slices.Clone(c.workers) {
			if !x.connected && !x.dead {
				x.connect()
				moved = true
			}
			moved = x.readAll() || moved
			for _, j := range slices.Clone(x.jobs) {
				moved = x.advance(j) || moved
			}
		}
		if moved || len(c.inbox) > 0 {
			continue
		}
		if len(c.store.live) == 0 {
			return
		}
		if c.wake == 0 {
			c.t.Fatalf("P2: %d runs are open, nothing is under way and no timer is set: %s", len(c.store.live), c.openRows())
		}
		c.now = max(c.now+1, c.wake)
		c.step()
	}
	c.t.Fatalf("P2: %d runs are open after %d rounds: %s", len(c.store.live), rounds, c.openRows())
}

func (w *simWorld) openRows() string {
	var out string
	for _, r := range w.store.rows(simTenant, func(r *Row) bool { return !r.State.Final() }, func(r *Row) int64 { return r.CreatedAt }) {
		if len(out) > 1500 {
			return out + "..."
		}
		memory := "not in memory"
		if in := w.shard.runs[r.RunKey]; in != nil {
			memory = string(in.rows[r.TaskNo].State)
		}
		out += fmt.Sprintf("\n%v/%d %s (%s) lane %x rank %d due %d", r.ID, r.TaskNo, r.State, memory, r.Lane, r.Rank, r.DueAt)
	}
	return out
}

// checkAll: nothing acknowledged is lost (P1), every call has had its answer, and runs count their children.
func (c *simChaos) checkAll() {
	c.t.Helper()
	if len(c.open) > 0 {
		for _, in := range c.open {
			c.t.Fatalf("%d calls have had no answer, one of them %#v", len(c.open), in)
		}
	}
	for id := range c.promised {
		if len(c.store.history[RunKey{simTenant, id}]) == 0 {
			c.t.Fatalf("P1: run %v was acknowledged and is lost", id)
		}
	}
	type generation struct {
		run flow.ID
		n   int32
	}
	children := make(map[generation]int32)
	for _, generations := range c.store.history {
		if first := generations[0][0]; !first.ParentRun.IsZero() {
			children[generation{first.ParentRun, first.ParentGeneration}]++
		}
	}
	for key, generations := range c.store.history {
		for _, rows := range generations {
			if want := children[generation{key.ID, rows[0].Generation}]; rows[0].ChildRuns != want {
				c.t.Fatalf("run %v generation %d counts %d children and has %d", key.ID, rows[0].Generation, rows[0].ChildRuns, want)
			}
			c.checkKilled(rows)
		}
	}
	if n := len(c.shard.runs) + len(c.shard.assignments) + len(c.shard.waiting); n > 0 {
		c.t.Fatalf("%d things are left in memory", n)
	}
}

// checkKilled: a task that always kills its worker never completes, and fails for that alone.
func (c *simChaos) checkKilled(rows []Row) {
	plan := c.store.plans[rows[0].WorkflowID]
	for i := range rows {
		if i == 0 && !rows[0].Single {
			continue
		}
		w := &rows[i]
		if c.behaviour[plan.Actions[max(i-1, 0)]].kind != simKills {
			continue
		}
		if w.State == flow.Completed || w.State == flow.Failed && w.Error.Kind != flow.KindWorkerLost {
			c.t.Fatalf("run %v task %d kills its worker and ended %s: %+v", w.ID, i, w.State, w.Error)
		}
	}
}
