package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

func TestOneTaskCompletes(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Acknowledged)
	b.says(a, Started)
	b.wants(id, 0, flow.Running)
	done := reportOf(a, Succeeded)
	done.Output = Payload{Inline: []byte("42")}
	if v := one[*VerdictReply](b, b.sends(done)); v.Verdict != Accepted {
		t.Fatalf("the result was answered with %d", v.Verdict)
	}
	r := b.wants(id, 0, flow.Completed)
	if string(r.Output.Inline) != "42" || r.AssignmentID != a.Assignment || r.WorkerID != b.work || r.StartedAt == 0 || r.EndedAt == 0 {
		t.Fatalf("the finished row is %+v", r)
	}
	if len(b.store.live) > 0 || len(b.store.attempts) > 0 {
		t.Fatalf("%d rows are live, %d attempts recorded", len(b.store.live), len(b.store.attempts))
	}
}

func TestAResultWithoutAStartSaysHowLongItRan(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	for name, c := range map[string]struct{ said, ran int64 }{
		"a second":                  {1_000_000, 1_000_000},
		"nothing":                   {0, 0},
		"more than since it waited": {3_600_000_000, 2_000_000},
		"less than nothing":         {-5, 0},
	} {
		id := b.trigger(p)
		b.now += 2_000_000
		a := one[*Assign](b, b.session(flow.ID{2}, b.now, 1, nil, p))
		done := reportOf(a, Succeeded)
		done.Running = c.said
		b.sends(done)
		if r := b.wants(id, 0, flow.Completed); r.EndedAt-r.StartedAt != c.ran {
			t.Errorf("%s: the attempt ran for %d µs, want %d", name, r.EndedAt-r.StartedAt, c.ran)
		}
	}
}

func TestAShortTaskIsWrittenTwiceOnly(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	b.worker(1, p)
	b.step() // nothing under way
	id := b.id()
	a := one[*Assign](b, b.do(&Trigger{To: b.ref(nil), Tenant: simTenant, ID: id, Fresh: true, Plan: p, Priority: 4}))
	b.says(a, Started)
	b.says(a, Succeeded)
	if r := b.wants(id, 0, flow.Completed); r.Revision != 2 {
		t.Fatalf("the row was written %d times", r.Revision)
	}
}

func TestALastingAssignmentIsWritten(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	if live := b.store.live[RunKey{simTenant, id}][0]; live.State != flow.Queued {
		t.Fatalf("before its time the row is %s", live.State)
	}
	b.wait(time.Second)
	live := b.store.live[RunKey{simTenant, id}][0]
	if live.State != flow.Running || live.AssignmentID != a.Assignment || live.WorkerID != b.work || live.Session != 1 || live.Lane != 0 {
		t.Fatalf("the lasting assignment is written as %+v", live)
	}
}

func TestTheSameTriggerTwiceMakesOneRun(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	again := func(hash []byte) *TriggerReply {
		return one[*TriggerReply](b, b.do(&Trigger{To: b.ref(nil), Tenant: simTenant, ID: id, Hash: hash, Plan: p, Priority: 4}))
	}
	check := func(when string) {
		t.Helper()
		if r := again(id[:]); r.Created || r.Refusal != nil || r.ID != id {
			t.Fatalf("%s: the same contents were answered with %+v", when, r)
		}
		if r := again([]byte("other")); r.Refusal == nil || r.Refusal.Code != "already_exists" || r.Refusal.Field != "run.run_id" {
			t.Fatalf("%s: other contents were answered with %+v", when, r)
		}
	}
	check("queued")
	b.says(one[*Assign](b, b.worker(1, p)), Succeeded)
	b.wants(id, 0, flow.Completed)
	check("finished")
	b.takeOver()
	check("finished, after a take-over")
}

func TestTwoTriggersOfOneStepMakeOneRun(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.id()
	in := func() *Trigger {
		return &Trigger{To: b.ref(nil), Tenant: simTenant, ID: id, Hash: id[:], Plan: p, Priority: 4}
	}
	replies := all[*TriggerReply](b.do(in(), in()))
	if len(replies) != 2 || !replies[0].Created || replies[1].Created {
		t.Fatalf("answered with %+v", replies)
	}
}

func TestADAGPassesOutputsAndSkipsAfterAFailure(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{Tasks: []flow.Task{
		{Name: "a"}, {Name: "b", Parents: []string{"a"}}, {Name: "c", Parents: []string{"a"}}, {Name: "d", Parents: []string{"b", "c"}}, {Name: "e", Parents: []string{"d"}},
	}})
	id := b.trigger(p)
	first := one[*Assign](b, b.worker(5, p))
	in := reportOf(first, Succeeded)
	in.Output = Payload{Inline: []byte("1")}
	next := all[*Assign](b.sends(in))
	if len(next) != 2 || string(next[0].Parents[0].Output.Inline) != "1" || next[0].Parents[0].Task != "a" {
		t.Fatalf("after a came %+v", next)
	}
	b.fails(next[0], "broken")
	b.wants(id, 4, flow.Skipped)
	b.wants(id, 5, flow.Skipped)
	b.wants(id, 3, flow.Assigned)
	b.says(next[1], Succeeded)
	b.wantsKind(id, 0, flow.Failed, "broken")
}

func TestTheStartOfADAGIsWrittenWithItsNextChange(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{Tasks: []flow.Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}}})
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	started := b.row(id, 0).StartedAt
	b.says(a, Succeeded)
	if top := b.store.live[RunKey{simTenant, id}][0]; top.State != flow.Running || top.StartedAt != started || started == 0 {
		t.Fatalf("the run is written as %s, started at %d, expected %d", top.State, top.StartedAt, started)
	}
}

func TestRetriesByKind(t *testing.T) {
	policy := retries(2)
	policy.RetryOn, policy.Never = []string{"busy", "worse"}, []string{"worse"}
	for name, c := range map[string]struct {
		kind  string
		never bool
		want  flow.State
	}{
		"listed":             {"busy", false, flow.BackingOff},
		"not listed":         {"other", false, flow.Failed},
		"never wins":         {"worse", false, flow.Failed},
		"the task gave up":   {"busy", true, flow.Failed},
		"kind of its own is": {"", false, flow.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			p := b.plan(oneTask(flow.Task{Retry: policy}))
			id := b.trigger(p)
			in := reportOf(one[*Assign](b, b.worker(1, p)), FailedAttempt)
			in.Error, in.NeverRetry = &TaskError{Kind: c.kind}, c.never
			b.sends(in)
			b.wants(id, 0, c.want)
		})
	}
}

func TestRetriesEndAndSpendAttempts(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{Retry: retries(2)}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	for attempt := int32(1); attempt <= 2; attempt++ {
		if a.Attempt != attempt {
			t.Fatalf("attempt %d was sent as %d", attempt, a.Attempt)
		}
		b.fails(a, "flaky")
		b.wants(id, 0, flow.BackingOff)
		a = one[*Assign](b, b.wait(4*time.Second))
	}
	b.fails(a, "flaky")
	b.wantsKind(id, 0, flow.Failed, "flaky")
	b.wantsAttempts("failed", "failed")
}

func TestATaskMaySayWhenToRetry(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{Retry: retries(1)}))
	b.trigger(p)
	in := reportOf(one[*Assign](b, b.worker(1, p)), FailedAttempt)
	in.RetryAfter = 30 * second
	b.sends(in)
	none[*Assign](b, b.wait(30*time.Second-time.Microsecond))
	one[*Assign](b, b.wait(time.Microsecond))
}

func TestCancelOfARunningTaskHoldsTheSlotUntilItStops(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id, next := b.trigger(p), b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	out := b.cancel(id)
	if s := one[*Stop](b, out); s.Assignment != a.Assignment || s.Reason != reasonCancelled {
		t.Fatalf("the stop is %+v", s)
	}
	b.wants(id, 0, flow.Stopping)
	none[*Assign](b, out)
	none[*Assign](b, b.wait(time.Minute))
	if a := one[*Assign](b, b.says(a, Stopped)); a.Run != next {
		t.Fatalf("the free slot went to %v", a.Run)
	}
	b.wantsKind(id, 0, flow.Cancelled, flow.KindCancelled)
}

func TestAResultAfterTheCancelChangesNothing(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.cancel(id)
	if v := one[*VerdictReply](b, b.says(a, Succeeded)); v.Verdict != Superseded {
		t.Fatalf("the result was answered with %d", v.Verdict)
	}
	b.wants(id, 0, flow.Cancelled)
}

func TestCancelOfWhatWaitsIsImmediate(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{Tasks: []flow.Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}}})
	id := b.trigger(p)
	b.cancel(id)
	for task := range 3 {
		b.wants(id, task, flow.Cancelled)
	}
	if r := one[*Reply](b, b.cancel(id)); r.Refusal != nil {
		t.Fatalf("a second cancel was answered with %+v", r.Refusal)
	}
	if r := one[*Reply](b, b.cancel(b.id())); r.Refusal == nil || r.Refusal.Code != "not_found" {
		t.Fatalf("the cancel of nothing was answered with %+v", r.Refusal)
	}
}

func TestACancelBeatsTheRetryOfATimedOutAttempt(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{ExecutionTimeout: time.Second, Retry: retries(5)}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.wait(time.Second)
	b.wants(id, 0, flow.Stopping)
	b.cancel(id)
	b.says(a, Stopped)
	b.wants(id, 0, flow.Cancelled)
}

func TestExecutionTimeoutSpendsRetries(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{ExecutionTimeout: 2 * time.Second, Retry: retries(1)}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	for range 2 {
		b.says(a, Started)
		none[*Stop](b, b.wait(2*time.Second-time.Microsecond))
		if s := one[*Stop](b, b.wait(time.Microsecond)); s.Reason != reasonTimedOut {
			t.Fatalf("the stop has the reason %d", s.Reason)
		}
		b.wants(id, 0, flow.Stopping)
		b.says(a, Stopped)
		if next := all[*Assign](b.wait(2 * time.Second)); len(next) > 0 {
			a = next[0]
		}
	}
	b.wantsKind(id, 0, flow.TimedOut, flow.KindTimeout)
	b.wantsAttempts("timed_out")
}

func TestScheduleTimeout(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{ScheduleTimeout: 10 * time.Second}))
	id := b.trigger(p)
	b.wait(10*time.Second - time.Microsecond)
	b.wants(id, 0, flow.Queued)
	b.wait(time.Microsecond)
	b.wantsKind(id, 0, flow.TimedOut, flow.KindTimeout)
}

func TestALostTaskHasItsScheduleTimeoutAnew(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{ScheduleTimeout: 10 * time.Second}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.wait(time.Minute)
	b.lose(b.work, 1, true)
	b.wait(time.Second)
	b.wants(id, 0, flow.Queued)
	b.wait(9 * time.Second)
	b.wants(id, 0, flow.TimedOut)
}

func TestRunTimeout(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{RunTimeout: 10 * time.Second, Tasks: []flow.Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}}})
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	one[*Stop](b, b.wait(10*time.Second))
	b.wants(id, 1, flow.Stopping)
	b.wants(id, 2, flow.TimedOut)
	b.says(a, Stopped)
	b.wantsKind(id, 0, flow.TimedOut, flow.KindTimeout)
}

func TestRunTimeoutOfASingleTask(t *testing.T) {
	b := newBench(t)
	w := oneTask(flow.Task{Retry: retries(3)})
	w.RunTimeout = 10 * time.Second
	p := b.plan(w)
	waiting := b.trigger(p)
	b.wait(10 * time.Second)
	b.wantsKind(waiting, 0, flow.TimedOut, flow.KindTimeout)
	running := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	one[*Stop](b, b.wait(10*time.Second))
	b.says(a, Stopped)
	b.wantsKind(running, 0, flow.TimedOut, flow.KindTimeout)
}

func TestHigherPriorityFirstWithAgeing(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	low := b.triggerAt(p, 0)
	b.wait(time.Second)
	mid := b.triggerAt(p, 4)
	high := b.triggerAt(p, 9)
	b.wait(10 * 30 * time.Second) // more than nine steps of priority are worth
	late := b.triggerAt(p, 9)
	var order []flow.ID
	for a := one[*Assign](b, b.worker(1, p)); ; {
		order = append(order, a.Run)
		next := all[*Assign](b.says(a, Succeeded))
		if len(next) == 0 {
			break
		}
		a = next[0]
	}
	if want := []flow.ID{high, mid, low, late}; !slices.Equal(order, want) {
		t.Fatalf("the order was %v, expected %v", order, want)
	}
}

func TestReplayOfOneTaskWithItsDescendants(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{Tasks: []flow.Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}, {Name: "c", Parents: []string{"b"}}, {Name: "d", Parents: []string{"a"}}}})
	id := b.trigger(p)
	open := all[*Assign](b.worker(4, p))
	kept := make(map[int32]flow.ID)
	for len(open) > 0 {
		a := open[0]
		kept[a.TaskNo] = a.Assignment
		open = append(open[1:], all[*Assign](b.says(a, Succeeded))...)
	}
	b.wants(id, 0, flow.Completed)
	a := one[*Assign](b, b.replay(id, "b"))
	if a.TaskNo != 2 || a.Generation != 2 || a.Attempt != 1 {
		t.Fatalf("the replay sent %+v", a)
	}
	b.wants(id, 1, flow.Completed)
	b.wants(id, 3, flow.Blocked)
	b.wants(id, 4, flow.Completed)
	b.wantsAttempts("completed", "completed")
	a = one[*Assign](b, b.says(a, Succeeded))
	b.says(a, Succeeded)
	r := b.wants(id, 0, flow.Completed)
	if r.Generation != 2 || b.row(id, 1).AssignmentID != kept[1] || b.row(id, 2).AssignmentID == kept[2] {
		t.Fatalf("after the replay: generation %d", r.Generation)
	}
	if n := len(b.store.history[RunKey{simTenant, id}]); n != 2 {
		t.Fatalf("%d generations are kept", n)
	}
}

func TestReplayIsRefusedForAnOpenRunAndUnknownNames(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	refusal := func(id flow.ID, tasks ...string) string {
		return one[*Reply](b, b.do(&ReplayRun{To: b.ref(nil), Tenant: simTenant, ID: id, Tasks: tasks})).Refusal.Reason
	}
	if got := refusal(id); got != "RUN_NOT_FINAL" {
		t.Fatalf("an open run: %s", got)
	}
	b.cancel(id)
	if got := refusal(id, "z"); got != "UNKNOWN_TASK" {
		t.Fatalf("an unknown task: %s", got)
	}
	if got := refusal(b.id()); got != "RUN_NOT_FOUND" {
		t.Fatalf("an unknown run: %s", got)
	}
}

func TestReplayBehindAFailedParentSkipsAndEnds(t *testing.T) {
	b := newBench(t)
	p := b.plan(flow.Workflow{Tasks: []flow.Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}, {Name: "c", Parents: []string{"b"}}}})
	id := b.trigger(p)
	b.fails(one[*Assign](b, b.worker(1, p)), "broken")
	b.wants(id, 0, flow.Failed)
	none[*Assign](b, b.replay(id, "b"))
	if r := b.wants(id, 0, flow.Failed); r.Generation != 2 {
		t.Fatalf("generation %d", r.Generation)
	}
	b.wants(id, 2, flow.Skipped)
	b.wants(id, 3, flow.Skipped)
}
