package engine

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// family is a parent task that is running in the only slot of its worker, and the plan of its children.
type family struct {
	*bench
	id        flow.ID
	parent    *Assign
	childPlan *flow.Plan
	plan      *flow.Plan
}

func newFamily(t *testing.T) *family {
	t.Helper()
	b := newBench(t)
	f := &family{bench: b, plan: b.plan(flow.Workflow{Name: "p", Tasks: []flow.Task{{Retry: retries(1)}}}), childPlan: b.plan(flow.Workflow{Name: "c", Tasks: []flow.Task{{}}})}
	f.id = b.trigger(f.plan)
	f.parent = one[*Assign](b, b.worker(1, f.plan, f.childPlan))
	b.says(f.parent, Started)
	return f
}

func (f *family) await(a *Assign, ids ...flow.ID) []Effect {
	f.t.Helper()
	return f.do(&AwaitRuns{To: f.ref(nil), Tenant: simTenant, IDs: ids, Parent: *link(a, "")})
}

func TestASingleSlotFinishesAParentAndItsChildren(t *testing.T) {
	f := newFamily(t)
	one1, _ := f.child(f.parent, "1", f.childPlan)
	one2, _ := f.child(f.parent, "2", f.childPlan)
	first := one[*Assign](f.bench, f.await(f.parent, one1.ID, one2.ID))
	f.wants(f.id, 0, flow.Waiting)
	second := one[*Assign](f.bench, f.says(first, Succeeded))
	out := f.says(second, Succeeded)
	if r := one[*Reply](f.bench, out); r.Refusal != nil {
		t.Fatalf("the await was answered with %+v", r.Refusal)
	}
	f.wants(f.id, 0, flow.Running)
	f.says(f.parent, Succeeded)
	if r := f.wants(f.id, 0, flow.Completed); r.ChildRuns != 2 {
		t.Fatalf("the parent counts %d children", r.ChildRuns)
	}
	if r := f.row(one1.ID, 0); r.ParentRun != f.id || r.ParentTask != 1 || r.ParentGeneration != 1 || r.ChildKey != "1" {
		t.Fatalf("the child is %+v", r)
	}
}

func TestAParentGoesOnBeforeNewWorkStarts(t *testing.T) {
	f := newFamily(t)
	c, _ := f.child(f.parent, "1", f.childPlan)
	first := one[*Assign](f.bench, f.await(f.parent, c.ID))
	f.triggerAt(f.childPlan, 9)
	out := f.says(first, Succeeded)
	one[*Reply](f.bench, out)
	none[*Assign](f.bench, out)
	one[*Assign](f.bench, f.says(f.parent, Succeeded))
}

func TestAnAwaitOfFinishedChildrenGoesOnAtOnce(t *testing.T) {
	f := newFamily(t)
	c, _ := f.child(f.parent, "1", f.childPlan)
	f.cancel(c.ID)
	if r := one[*Reply](f.bench, f.await(f.parent, c.ID)); r.Refusal != nil {
		t.Fatalf("answered with %+v", r.Refusal)
	}
	f.wants(f.id, 0, flow.Running)
}

func TestAnAwaitOfStrangersIsRefusedInASlotOnly(t *testing.T) {
	f := newFamily(t)
	stranger := f.trigger(f.childPlan)
	f.cancel(stranger)
	f.trigger(f.childPlan) // takes the slot while the stranger is looked up
	out := f.await(f.parent, stranger)
	child := one[*Assign](f.bench, out)
	none[*Reply](f.bench, out)
	if r := one[*Reply](f.bench, f.says(child, Succeeded)); r.Refusal == nil || r.Refusal.Code != "not_found" {
		t.Fatalf("answered with %+v", r.Refusal)
	}
	f.wants(f.id, 0, flow.Running)
}

func TestARetryFindsItsChildrenAndAReplayMakesNewOnes(t *testing.T) {
	f := newFamily(t)
	first, _ := f.child(f.parent, "k", f.childPlan)
	same, _ := f.child(f.parent, "k", f.childPlan)
	if !first.Created || same.Created || same.ID != first.ID {
		t.Fatalf("the same key gave %+v and %+v", first, same)
	}
	f.fails(f.parent, "flaky")
	child := all[*Assign](f.effects)
	f.says(child[len(child)-1], Succeeded)
	retried := one[*Assign](f.bench, f.wait(2*time.Second))
	again, _ := f.child(retried, "k", f.childPlan)
	if again.Created || again.ID != first.ID || again.Refusal != nil {
		t.Fatalf("the retry's child is %+v", again)
	}
	f.says(retried, Succeeded)
	f.wants(f.id, 0, flow.Completed)
	replayed := one[*Assign](f.bench, f.replay(f.id))
	fresh, _ := f.child(replayed, "k", f.childPlan)
	if !fresh.Created || fresh.ID == first.ID {
		t.Fatalf("the replay's child is %+v", fresh)
	}
}

func TestAnUnwrittenParentsChildIsFoundAfterATakeOver(t *testing.T) {
	f := newFamily(t)
	first, _ := f.child(f.parent, "k", f.childPlan)
	f.takeOver() // the parent's assignment is written with its count of children, its worker does not come back
	f.wait(10 * time.Second)
	parent := one[*Assign](f.bench, f.session(flow.ID{2}, 1, 1, nil, f.plan))
	again, _ := f.child(parent, "k", f.childPlan)
	if again.Created || again.ID != first.ID || again.Refusal != nil {
		t.Fatalf("the child is %+v", again)
	}
}

func TestAFinishedChildOfAnUnwrittenAssignmentIsFoundAfterATakeOver(t *testing.T) {
	b := newBench(t)
	child := b.plan(flow.Workflow{Name: "c", Tasks: []flow.Task{{}}})
	p := b.plan(flow.Workflow{Name: "p", Tasks: []flow.Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}}})
	f := &family{bench: b}
	b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	first, _ := f.child(a, "k", child)
	b.cancel(first.ID)
	b.takeOver()
	b.session(flow.ID{2}, 1, 1, nil, p)
	again := one[*Assign](b, b.wait(time.Second))
	if again.Attempt != 1 || again.Assignment == a.Assignment {
		t.Fatalf("after the take-over came %+v", again)
	}
	if r, _ := f.child(again, "k", child); r.Created || r.ID != first.ID || r.Refusal != nil {
		t.Fatalf("the child is %+v", r)
	}
}

func TestOnlyALiveParentHasChildren(t *testing.T) {
	f := newFamily(t)
	stranger := f.trigger(f.childPlan)
	c, _ := f.child(f.parent, "k", f.childPlan)
	cancel := func(id flow.ID) *Refusal {
		return one[*Reply](f.bench, f.do(&CancelRun{To: f.ref(nil), Tenant: simTenant, ID: id, Parent: link(f.parent, "")})).Refusal
	}
	if no := cancel(stranger); no == nil || no.Code != "not_found" {
		t.Fatalf("the cancel of a stranger was answered with %+v", no)
	}
	if no := cancel(c.ID); no != nil {
		t.Fatalf("the cancel of a child was answered with %+v", no)
	}
	f.cancel(stranger)
	if no := cancel(stranger); no == nil || no.Code != "not_found" {
		t.Fatalf("the cancel of a finished stranger was answered with %+v", no)
	}
	f.cancel(f.id)
	if r, _ := f.child(f.parent, "k2", f.childPlan); r.Refusal == nil || r.Refusal.Reason != "PARENT_STOPPING" {
		t.Fatalf("the child of a stopping parent: %+v", r)
	}
	f.says(f.parent, Stopped)
	if r, _ := f.child(f.parent, "k2", f.childPlan); r.Refusal == nil || r.Refusal.Reason != "PARENT_NOT_RUNNING" {
		t.Fatalf("the child of an ended parent: %+v", r)
	}
}

func TestANewerAwaitReplacesTheOlder(t *testing.T) {
	f := newFamily(t)
	c, _ := f.child(f.parent, "1", f.childPlan)
	child := one[*Assign](f.bench, f.await(f.parent, c.ID))
	if r := one[*Reply](f.bench, f.await(f.parent, c.ID)); r.Refusal == nil || r.Refusal.Reason != "AWAIT_REPLACED" {
		t.Fatalf("the older was answered with %+v", r.Refusal)
	}
	if r := one[*Reply](f.bench, f.says(child, Succeeded)); r.Refusal != nil {
		t.Fatalf("the newer was answered with %+v", r.Refusal)
	}
}

func TestAWaitingParentGoesOnInItsWorkersNextSession(t *testing.T) {
	f := newFamily(t)
	c, _ := f.child(f.parent, "1", f.childPlan)
	child := one[*Assign](f.bench, f.await(f.parent, c.ID))
	f.lose(f.work, 1, false)
	none[*Reply](f.bench, f.says(child, Succeeded)[1:])
	out := f.session(f.work, 2, 1, []Held{held(f.parent, true)}, f.plan, f.childPlan)
	if replies := all[*Reply](out); len(replies) != 2 || replies[1].Refusal != nil {
		t.Fatalf("answered with %+v", replies)
	}
	f.wants(f.id, 0, flow.Running)
}
