package sim

import (
	"fmt"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// client is everybody who calls: it triggers, repeats, cancels and replays.
type client struct {
	w         *world
	directory *directory
	left      int // runs to trigger
	runs      []triggered
}

type triggered struct {
	engine.RunKey
	plan     *flow.Plan
	priority int32
}

func newClient(w *world) *client { return &client{w: w, directory: newDirectory(), left: w.sc.Runs} }

func (c *client) begin() {
	c.w.after(c.w.between(0, 500*millisecond), nil, "", c.act)
}

func (c *client) act() {
	w := c.w
	if c.left == 0 && w.healed {
		return
	}
	every := int64(w.sc.Seconds) * second / int64(w.sc.Runs+5)
	if w.healed {
		every = millisecond
	}
	w.after(w.between(0, 2*every), nil, "", c.act)
	if c.left > 0 && w.rnd.IntN(4) > 0 {
		// Bursts make lines.
		for range min(c.left, 1+w.rnd.IntN(1+w.sc.Runs/4)) {
			c.trigger()
		}
		return
	}
	if len(c.runs) == 0 {
		return
	}
	run := c.runs[w.rnd.IntN(len(c.runs))]
	id := run.ID
	switch {
	case w.once(Cancel, 4):
		c.call(run.Tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Cancel{Cancel: &busv1.CancelRun{RunId: id[:]}}}, func(*busv1.ShardReply) {})
	case w.once(Replay, 3):
		c.replay(run)
	case w.once(Repeat, 3):
		c.send(run, false)
	}
}

func (c *client) trigger() {
	w := c.w
	c.left--
	run := triggered{engine.RunKey{Tenant: 1 + w.rnd.Int64N(int64(w.sc.Tenants)), ID: w.runID()}, w.plans[w.rnd.IntN(len(w.plans))], []int32{4, 4, 4, 0, 9}[w.rnd.IntN(5)]}
	c.runs = append(c.runs, run)
	c.send(run, w.faults&Repeat == 0 && w.rnd.IntN(2) == 0) // two calls are not both the first
}

func (c *client) send(run triggered, fresh bool) {
	id := run.ID
	req := &busv1.ShardRequest{Kind: &busv1.ShardRequest_Trigger{Trigger: &busv1.TriggerRuns{Runs: []*busv1.TriggerRun{{
		RunId: id[:], RequestHash: id[:], Fresh: fresh, WorkflowId: run.plan.WorkflowID, WorkflowVersion: 1, Priority: run.priority, Input: &busv1.Payload{Json: []byte("1")},
	}}}}}
	c.call(run.Tenant, req, func(reply *busv1.ShardReply) {
		if no := reply.GetTrigger().GetRuns()[0].GetError(); no != nil {
			c.w.failf("P1: the trigger of run %v was refused: %s %s", id, no.GetReason(), no.GetMessage())
		}
		c.w.check.acknowledged(run.RunKey)
	})
}

func (c *client) replay(run triggered) {
	id := run.ID
	m := &busv1.ReplayRun{RunId: id[:]}
	if c.w.rnd.IntN(2) == 0 {
		m.Tasks = []string{run.plan.Workflow.Tasks[c.w.rnd.IntN(len(run.plan.Workflow.Tasks))].Name}
	}
	before := c.w.check.generations(run.RunKey)
	c.call(run.Tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Replay{Replay: m}}, func(reply *busv1.ShardReply) {
		if reply.GetRun().GetError() == nil && c.w.check.generations(run.RunKey) == before {
			c.w.failf("P1: the replay of run %v was acknowledged and is not stored", id)
		}
	})
}

// call sends a request until it is answered. Every one must be, in the end.
func (c *client) call(tenant int64, req *busv1.ShardRequest, done func(*busv1.ShardReply)) {
	c.w.calls++
	one := &call{w: c.w, name: "client", dir: c.directory, tenant: tenant, req: req, until: forEver, done: func(reply *busv1.ShardReply, _ int64, err error) {
		c.w.calls--
		if err == nil {
			done(reply)
		}
	}}
	one.start()
}

// addPlan makes a workflow of 1 to 6 tasks with any parents and behaviours.
func (w *world) addPlan(i int) {
	n := 1
	if w.rnd.IntN(5) > 1 {
		n = 2 + w.rnd.IntN(5)
	}
	of := &flow.Workflow{Name: fmt.Sprintf("w%d", i), Class: flow.Short}
	if w.rnd.IntN(6) == 0 {
		of.RunTimeout = time.Duration(5+w.rnd.IntN(30)) * time.Second
	}
	for j := range n {
		task := w.task(j)
		for p := range j {
			if w.rnd.IntN(j) < 2 && len(task.Parents) < 3 {
				task.Parents = append(task.Parents, of.Tasks[p].Name)
			}
		}
		of.Tasks = append(of.Tasks, task)
	}
	for j := range of.Tasks {
		task := &of.Tasks[j]
		b := w.chance(task, true)
		if b.kind == parent {
			child := &flow.Workflow{Name: fmt.Sprintf("w%dc%d", i, j), Class: flow.Short, Tasks: []flow.Task{w.task(0)}}
			w.does[flow.ActionName(child.Name, child.Tasks[0].Name)] = w.chance(&child.Tasks[0], false)
			b.plan = w.plan(int64(100*i+2+j), child)
		}
		w.does[flow.ActionName(of.Name, task.Name)] = b
	}
	w.plans = append(w.plans, w.plan(int64(100*i+1), of))
}

func (w *world) plan(id int64, of *flow.Workflow) *flow.Plan {
	p, faults := flow.NewPlan(of)
	if len(faults) > 0 {
		panic(fmt.Sprint("a plan of the world is at fault: ", faults))
	}
	p.WorkflowID, p.Version = id, 1
	w.byID[id] = p
	w.actions = append(w.actions, p.Actions...)
	return p
}

func (w *world) task(j int) flow.Task {
	task := flow.Task{
		Name: fmt.Sprintf("t%d", j), Queue: fmt.Sprintf("q%d", w.rnd.IntN(2)), MaxLost: 1 + w.rnd.IntN(3),
		Retry: flow.Retry{Max: w.rnd.IntN(4), Initial: time.Duration(w.rnd.IntN(1000)) * time.Millisecond, Factor: 2, MaxBackoff: 5 * time.Second},
	}
	if w.rnd.IntN(6) == 0 {
		task.ScheduleTimeout = time.Duration(5+w.rnd.IntN(30)) * time.Second
	}
	if w.rnd.IntN(6) == 0 {
		task.ExecutionTimeout = time.Duration(2+w.rnd.IntN(10)) * time.Second
	}
	return task
}

// chance decides what a task's code does.
func (w *world) chance(task *flow.Task, parents bool) behaviour {
	kinds := []kind{succeeds, succeeds, succeeds, succeeds, succeeds, flaky, flaky, fails, givesUp}
	if w.sc.Faults&Die != 0 {
		kinds = append(kinds, kills)
	}
	if w.sc.Faults&Cancel != 0 {
		kinds = append(kinds, hangs)
	}
	if parents {
		kinds = append(kinds, parent, parent)
	}
	b := behaviour{kind: kinds[w.rnd.IntN(len(kinds))], n: 1 + w.rnd.IntN(3), long: []int64{millisecond, 50 * millisecond, 3 * second}[w.rnd.IntN(3)]}
	if b.kind == hangs && task.ExecutionTimeout == 0 {
		task.ExecutionTimeout = 3 * time.Second
	}
	return b
}
