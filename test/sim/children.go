package sim

import (
	"fmt"
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

func (x *worker) link(j *job, key string) *busv1.Parent {
	return &busv1.Parent{RunId: j.order.GetRunId(), Task: j.order.GetTask(), AssignmentId: j.id[:], ChildKey: key}
}

func (x *worker) ask(j *job, req *busv1.ShardRequest, patience int64, done func(*busv1.ShardReply, error)) {
	c := &call{
		w: x.w, from: &x.process, name: x.name, dir: x.w.client.directory, tenant: x.tenant, req: req, until: x.w.now + patience,
		done: func(reply *busv1.ShardReply, _ int64, err error) {
			if !j.done && x.find(j.id) == j {
				done(reply, err)
			}
		},
		stopped: func() bool { return j.done || x.find(j.id) != j },
	}
	c.start()
}

// startChildren starts a task's children, one call each, and then awaits them.
func (x *worker) startChildren(j *job, b behaviour) {
	j.children, j.calls = make([]flow.ID, b.n), b.n
	for i := range b.n {
		x.startChild(j, b, i, true)
	}
}

func (x *worker) startChild(j *job, b behaviour, i int, fresh bool) {
	key := fmt.Sprintf("k%d", i)
	req := &busv1.ShardRequest{Kind: &busv1.ShardRequest_Trigger{Trigger: &busv1.TriggerRuns{Runs: []*busv1.TriggerRun{{
		RunId: make([]byte, 16), RequestHash: []byte(key), Fresh: fresh, WorkflowId: b.plan.WorkflowID, WorkflowVersion: 1, Priority: 4, Parent: x.link(j, key),
	}}}}}
	x.ask(j, req, callTimeout, func(reply *busv1.ShardReply, err error) {
		switch {
		case err != nil:
			x.w.after(100*millisecond, &x.process, "", func() {
				if !j.done && x.find(j.id) == j {
					x.startChild(j, b, i, false)
				}
			})
		case reply.GetTrigger().GetRuns()[0].GetError() != nil:
			x.fail(j, "orphaned", false)
		default:
			id := flow.ID(reply.GetTrigger().GetRuns()[0].GetRunId())
			x.w.check.acknowledged(engine.RunKey{Tenant: x.tenant, ID: id})
			j.children[i] = id
			if j.calls--; j.calls == 0 {
				x.await(j)
			}
		}
	})
}

func (x *worker) await(j *job) {
	j.waiting = true
	j.asked++
	asked := j.asked
	m := &busv1.AwaitRuns{Parent: x.link(j, "")}
	for _, id := range j.children {
		m.RunIds = append(m.RunIds, slices.Clone(id[:]))
	}
	x.ask(j, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Await{Await: m}}, 10*second, func(reply *busv1.ShardReply, err error) {
		switch {
		case asked != j.asked:
		case err != nil:
			x.w.after(100*millisecond, &x.process, "", func() {
				if asked == j.asked && !j.done && x.find(j.id) == j {
					x.await(j)
				}
			})
		case reply.GetAwait().GetError().GetReason() == "AWAIT_REPLACED":
		case reply.GetAwait().GetError() != nil:
			j.waiting = false
			x.fail(j, "orphaned", false)
		default:
			j.waiting = false
			x.w.check.awaited(x, j)
			x.complete(j)
		}
	})
}
