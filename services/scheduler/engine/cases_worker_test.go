package engine

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// A task may kill its worker before the worker has said that the task arrived. Once may be chance; then it counts.
func TestATaskThatKillsItsWorkerBeforeAWordEndsFailed(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{MaxLost: 2}))
	id := b.trigger(p)
	for i := range byte(4) {
		worker := flow.ID{9, i}
		one[*Assign](b, b.session(worker, 1, 1, nil, p))
		b.lose(worker, 1, true)
	}
	if r := b.wants(id, 0, flow.Failed); r.Error == nil || r.Error.Kind != flow.KindWorkerLost {
		t.Fatalf("the task ended with %+v", r.Error)
	}
}

func TestLostAttemptsSpendNoRetry(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{MaxLost: 2}))
	id := b.trigger(p)
	for session := int64(1); session <= 2; session++ {
		a := one[*Assign](b, b.session(b.work, session, 1, nil, p))
		b.says(a, Started)
		b.lose(b.work, session, false)
		b.wait(10*time.Second - time.Microsecond)
		b.wants(id, 0, flow.Running)
		b.wait(time.Microsecond)
		b.wants(id, 0, flow.Queued)
	}
	a := one[*Assign](b, b.session(b.work, 3, 1, nil, p))
	if a.Attempt != 1 {
		t.Fatalf("after two losses attempt %d was sent", a.Attempt)
	}
	b.says(a, Succeeded)
	if r := b.wants(id, 0, flow.Completed); r.Lost != 2 {
		t.Fatalf("%d losses are counted", r.Lost)
	}
	b.wantsAttempts("lost", "lost")
}

func TestATaskThatAlwaysKillsItsWorkerFails(t *testing.T) {
	for name, said := range map[string]ReportKind{"after the start": Started, "before it says so": Acknowledged} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			p := b.plan(oneTask(flow.Task{MaxLost: 3, Retry: retries(100)}))
			id := b.trigger(p)
			for session := int64(1); session <= 4; session++ {
				b.says(one[*Assign](b, b.session(b.work, session, 1, nil, p)), said)
				b.lose(b.work, session, true)
			}
			b.wantsKind(id, 0, flow.Failed, flow.KindWorkerLost)
		})
	}
}

func TestAWithdrawnAssignmentKeepsItsRank(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	first, second := b.trigger(p), b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	none[*Withdraw](b, b.wait(5*time.Second-time.Microsecond))
	if w := one[*Withdraw](b, b.wait(time.Microsecond)); w.Assignment != a.Assignment {
		t.Fatalf("withdrew %v", w.Assignment)
	}
	none[*Assign](b, b.wait(time.Second))
	again := one[*Assign](b, b.says(a, Withdrawn))
	if again.Run != first || again.Attempt != 1 || again.Assignment == a.Assignment {
		t.Fatalf("after the withdrawal came %+v", again)
	}
	if next := one[*Assign](b, b.says(again, Succeeded)); next.Run != second {
		t.Fatalf("then came %v", next.Run)
	}
	if r := b.row(first, 0); r.Lost != 0 {
		t.Fatalf("%d losses are counted", r.Lost)
	}
}

func TestAnAcknowledgedAssignmentIsNotWithdrawn(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	b.trigger(p)
	b.says(one[*Assign](b, b.worker(1, p)), Acknowledged)
	none[*Withdraw](b, b.wait(time.Minute))
}

func TestAnUnacknowledgedAssignmentOfAnEndedSessionIsFree(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	b.worker(1, p)
	b.lose(b.work, 1, true)
	if r := b.wants(id, 0, flow.Queued); r.Lost != 0 {
		t.Fatalf("%d losses are counted", r.Lost)
	}
	b.wantsAttempts()
}

func TestAResultOfASupersededAssignmentChangesNothing(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	old := one[*Assign](b, b.worker(1, p))
	b.says(old, Started)
	b.lose(b.work, 1, true)
	other := flow.ID{2}
	a := one[*Assign](b, b.session(other, 1, 1, nil, p))
	b.says(a, Started)
	if v := one[*VerdictReply](b, b.says(old, Succeeded)); v.Verdict != Superseded {
		t.Fatalf("the old result was answered with %d", v.Verdict)
	}
	b.wants(id, 0, flow.Running)
	b.says(a, Succeeded)
	if r := b.wants(id, 0, flow.Completed); r.AssignmentID != a.Assignment {
		t.Fatalf("%v won", r.AssignmentID)
	}
	if v := one[*VerdictReply](b, b.fails(old, "late")); v.Verdict != Superseded {
		t.Fatalf("the old result was answered with %d after the end", v.Verdict)
	}
	b.wantsAttempts("lost", "superseded", "superseded")
}

func TestALateResultOfALostAssignmentCountsWhileNothingElseWasSent(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.lose(b.work, 1, true)
	b.wants(id, 0, flow.Queued)
	if v := one[*VerdictReply](b, b.says(a, Succeeded)); v.Verdict != Accepted {
		t.Fatalf("answered with %d", v.Verdict)
	}
	b.wants(id, 0, flow.Completed)
}

func TestADoubledResultIsAccepted(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{Tasks: []flow.Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}}})
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	twice := func(a *Assign) {
		t.Helper()
		b.says(a, Succeeded)
		if v := one[*VerdictReply](b, b.says(a, Succeeded)); v.Verdict != Accepted {
			t.Fatalf("the doubled result of task %d was answered with %d", a.TaskNo, v.Verdict)
		}
	}
	out := b.says(a, Succeeded)
	twice(a)
	twice(one[*Assign](b, out))
	b.wants(id, 0, flow.Completed)
	b.wantsAttempts()
}

func TestADrainingSessionGetsNothing(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	b.worker(1, p)
	b.do(&DrainWorker{To: b.ref(nil), Tenant: simTenant, Worker: b.work, Session: 1})
	b.trigger(p)
	none[*Assign](b, b.wait(time.Minute))
	in := &OpenSession{To: b.ref(nil), Tenant: simTenant, Worker: flow.ID{2}, Session: 1, Dispatcher: "d", Slots: 1, Actions: p.Actions, Draining: true}
	none[*Assign](b, b.do(in))
	one[*Assign](b, b.session(flow.ID{3}, 1, 1, nil, p))
}

func TestASessionServesItsActionsAndQueuesOnly(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{Name: "w", Tasks: []flow.Task{{Name: "a", Queue: "fast"}, {Name: "b", Queue: "slow"}}})
	other := b.plan(flow.Workflow{Name: "other", Tasks: []flow.Task{{Name: "a", Queue: "fast"}}})
	b.trigger(p)
	b.trigger(other)
	in := &OpenSession{To: b.ref(nil), Tenant: simTenant, Worker: b.work, Session: 1, Dispatcher: "d", Slots: 10, Actions: p.Actions, Queues: []string{"fast"}}
	if a := one[*Assign](b, b.do(in)); a.TaskNo != 1 || a.Plan != p {
		t.Fatalf("the session got %+v", a)
	}
}

func TestAnOlderSessionIsRefusedAndANewerOneClosesIt(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	b.session(b.work, 5, 1, nil, p)
	old := &OpenSession{To: b.ref(nil), Tenant: simTenant, Worker: b.work, Session: 4, Dispatcher: "d", Slots: 1}
	if r := one[*Reply](b, b.do(old)); r.Refusal == nil || r.Refusal.Reason != "SESSION_STALE" {
		t.Fatalf("the older session was answered with %+v", r.Refusal)
	}
	if c := one[*Close](b, b.session(b.work, 6, 1, nil, p)); c.Session != 5 {
		t.Fatalf("session %d was closed", c.Session)
	}
	b.lose(b.work, 5, true) // the old stream's end comes late
	b.trigger(p)
	if a := all[*Assign](b.effects); len(a) != 1 || a[0].Session != 6 {
		t.Fatalf("assigned: %+v", a)
	}
}

func TestOldNewsOfAnOlderSessionRevivesNothing(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.session(b.work, 2, 0, nil, p) // the worker does not have it any more
	b.wants(id, 0, flow.Queued)
	for _, kind := range []ReportKind{Acknowledged, Started} {
		if v := one[*VerdictReply](b, b.says(a, kind)); v.Verdict != Superseded {
			t.Fatalf("report %d was answered with %d", kind, v.Verdict)
		}
		b.wants(id, 0, flow.Queued)
	}
}

func held(a *Assign, started bool) Held {
	return Held{Assignment: a.Assignment, Run: a.Run, TaskNo: a.TaskNo, Generation: a.Generation, Attempt: a.Attempt, Started: started, Running: second}
}

func TestAWorkerBackWithinItsGraceKeepsItsWork(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{ExecutionTimeout: time.Minute}))
	id := b.trigger(p)
	b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.lose(b.work, 1, false)
	b.wait(9 * time.Second)
	none[*Assign](b, b.session(b.work, 2, 1, []Held{held(a, true), held(a, true)}, p))
	b.wait(20 * time.Second)
	b.wants(id, 0, flow.Running)
	one[*Assign](b, b.says(a, Succeeded)) // the slot is free for the other run
	if r := b.wants(id, 0, flow.Completed); r.Lost != 0 {
		t.Fatalf("%d losses are counted", r.Lost)
	}
}

func TestAHeldAssignmentOfAFinishedRunIsStoppedAndTakesNoSlot(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	done := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Succeeded)
	b.wants(done, 0, flow.Completed)
	b.lose(b.work, 1, true)
	next := b.trigger(p)
	other := *a
	other.Assignment = flow.ID{99}
	out := b.session(b.work, 2, 1, []Held{held(&other, true)}, p)
	if s := one[*Stop](b, out); s.Assignment != other.Assignment || s.Reason != reasonSuperseded {
		t.Fatalf("the stop is %+v", s)
	}
	if a := one[*Assign](b, out); a.Run != next {
		t.Fatalf("the slot went to %v", a.Run)
	}
}

func TestGraceStartsAnewWithEachLoss(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.lose(b.work, 1, false)
	b.wait(6 * time.Second)
	b.session(b.work, 1, 1, []Held{held(a, true)}, p)
	b.lose(b.work, 1, false)
	b.wait(6 * time.Second)
	b.wants(id, 0, flow.Running)
	b.wait(4 * time.Second)
	b.wants(id, 0, flow.Queued)
}

func TestAfterATakeOverUnwrittenAssignmentsAreBroughtBack(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.takeOver()
	none[*Assign](b, b.session(b.work, 1, 1, []Held{held(a, true)}, p))
	none[*Assign](b, b.wait(30*time.Second))
	b.wants(id, 0, flow.Running)
	b.says(a, Succeeded)
	b.wants(id, 0, flow.Completed)
	b.wantsAttempts()
}

func TestAfterATakeOverARecordedAssignmentWaitsForItsWorker(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.wait(time.Second)
	b.takeOver()
	other := flow.ID{2}
	none[*Assign](b, b.session(other, 1, 1, nil, p))
	none[*Assign](b, b.wait(9*time.Second))
	if again := one[*Assign](b, b.wait(time.Second)); again.Run != id || again.Attempt != 1 {
		t.Fatalf("after the grace came %+v", again)
	}
	b.wantsAttempts("lost")
}

func TestALateResultOfARecordedAndLostAssignmentIsTaken(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.wait(time.Second)
	b.takeOver()
	b.wait(10 * time.Second)
	b.wants(id, 0, flow.Queued)
	if v := one[*VerdictReply](b, b.says(a, Succeeded)); v.Verdict != Accepted {
		t.Fatalf("answered with %d", v.Verdict)
	}
	b.wants(id, 0, flow.Completed)
}

func TestAResultThatOutlivedItsOwnerIsTaken(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.takeOver()
	if v := one[*VerdictReply](b, b.says(a, Succeeded)); v.Verdict != Accepted {
		t.Fatalf("answered with %d", v.Verdict)
	}
	b.wants(id, 0, flow.Completed)
}

func TestAForeignTenantCannotTouchAnAssignment(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	in := reportOf(a, Succeeded)
	in.To, in.Tenant = b.ref(nil), simTenant+1
	if v := one[*VerdictReply](b, b.do(in)); v.Verdict != Superseded {
		t.Fatalf("the foreign report was answered with %d", v.Verdict)
	}
	open := &OpenSession{To: b.ref(nil), Tenant: simTenant + 1, Worker: flow.ID{9}, Session: 1, Dispatcher: "d", Slots: 1, Held: []Held{held(a, true)}}
	b.do(open)
	b.wants(id, 0, flow.Running)
	b.says(a, Succeeded)
	b.wants(id, 0, flow.Completed)
}

func TestNoNewOwnerStartsAChildTwice(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{Tasks: []flow.Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}}})
	b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.inbox = append(b.inbox, func() Input { in := reportOf(a, Succeeded); in.To = b.ref(nil); return in }())
	b.step(b.inbox...)
	if n := len(all[*Assign](b.effects)); n != 1 {
		t.Fatalf("%d assignments were let out before the parent's commit", n)
	}
	b.takeOver() // before the commit
	b.session(b.work, 1, 1, []Held{held(a, true)}, p)
	b.says(a, Succeeded)
	next := one[*Assign](b, b.wait(time.Second))
	if next.TaskNo != 2 {
		t.Fatalf("then came %+v", next)
	}
}
