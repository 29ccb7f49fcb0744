package engine

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

func TestWorkOfADeadDispatcherIsOfferedAgain(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	b.says(one[*Assign](b, b.worker(1, p)), Started)
	b.do(&LoseDispatcher{Dispatcher: "another"})
	b.wait(time.Minute)
	b.wants(id, 0, flow.Running)
	b.do(&LoseDispatcher{Dispatcher: "d"})
	b.wait(10*time.Second - time.Microsecond)
	b.wants(id, 0, flow.Running)
	b.do(&LoseDispatcher{Dispatcher: "d"}) // evidence again, which must not begin the grace anew
	b.wait(time.Microsecond)
	b.wants(id, 0, flow.Queued)
	b.wantsAttempts("lost")
}

func TestWorkersOfADeadDispatcherComeBackWithTheirWork(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.trigger(p)
	b.do(&LoseDispatcher{Dispatcher: "d"})
	none[*Assign](b, b.wait(time.Second))
	b.session(b.work, 2, 1, []Held{held(a, true)}, p)
	b.wait(time.Minute)
	b.wants(id, 0, flow.Running)
	b.says(a, Succeeded)
	b.wants(id, 0, flow.Completed)
	b.wantsAttempts()
}

func TestADispatcherFindsOutThatItsSessionsAreLost(t *testing.T) {
	b := newBench(t)
	other := flow.ID{2}
	b.worker(1)
	b.session(other, 7, 1, nil)
	mine, ended, never := SessionKey{b.work, 1}, SessionKey{other, 6}, SessionKey{flow.ID{3}, 1}
	check := func(want ...SessionKey) {
		t.Helper()
		in := &CheckSessions{To: b.ref(nil), Tenant: simTenant, Sessions: []SessionKey{mine, ended, {other, 7}, never}}
		got := one[*SessionsReply](b, b.do(in)).Missing
		if len(got) != len(want) {
			t.Fatalf("missing are %v, expected %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("missing are %v, expected %v", got, want)
			}
		}
	}
	check(ended, never)
	b.lose(b.work, 1, false)
	check(mine, ended, never)
	b.do(&LoseDispatcher{Dispatcher: "d"})
	check(mine, ended, SessionKey{other, 7}, never)
}

func TestWhatAWorkerIsSaidToHaveIsAskedAbout(t *testing.T) {
	for name, c := range map[string]struct {
		says  ReportKind
		state flow.State
		again bool
	}{
		"it does not have it": {Withdrawn, flow.Assigned, false}, // under another assignment
		"it runs":             {Started, flow.Running, false},
		"it has it":           {Acknowledged, flow.Running, true}, // and may not know that the owner has not heard of its start
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			p := b.plan(oneTask(flow.Task{}))
			id := b.trigger(p)
			a := one[*Assign](b, b.worker(1, p))
			b.says(a, Started)
			b.session(b.work, 2, 1, []Held{held(a, true)}, p)
			none[*Withdraw](b, b.wait(5*time.Second-time.Microsecond))
			ask := one[*Withdraw](b, b.wait(time.Microsecond))
			if ask.Assignment != a.Assignment || ask.Session != 2 {
				t.Fatalf("asked for %+v", ask)
			}
			late := reportOf(a, Acknowledged) // of the session before: it tells nothing of this one
			b.sends(late)
			answer := reportOf(a, c.says)
			answer.Session = 2
			b.sends(answer)
			b.wants(id, 0, c.state)
			if got := len(all[*Withdraw](b.wait(5 * time.Second))); (got > 0) != c.again && c.says != Withdrawn {
				t.Fatalf("asked %d times again", got)
			}
			b.wantsAttempts()
		})
	}
}

func TestAnOvertakenOpeningChangesNothing(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	open := func(opening int64, held ...Held) *Reply {
		t.Helper()
		in := &OpenSession{To: b.ref(nil), Tenant: simTenant, Worker: b.work, Session: 1, Dispatcher: "d", Slots: 1, Actions: p.Actions, Held: held, Opening: opening}
		return one[*Reply](b, b.do(in))
	}
	if r := open(5, held(a, true)); r.Refusal != nil {
		t.Fatalf("refused: %+v", r.Refusal)
	}
	if r := open(5); r.Refusal != nil {
		t.Fatalf("the same request once more was refused: %+v", r.Refusal)
	}
	b.wants(id, 0, flow.Running)
	if r := open(4); r.Refusal == nil || r.Refusal.Reason != "SESSION_STALE" {
		t.Fatalf("an older request was answered with %+v", r.Refusal)
	}
	b.wants(id, 0, flow.Running)
	b.lose(b.work, 1, false)
	open(5, held(a, true)) // a late copy: the stream is gone all the same
	b.wait(10 * time.Second)
	b.wants(id, 0, flow.Queued)
}

func TestAWorkersLastWordOutlivesAnOlderList(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	id := b.trigger(p)
	a := one[*Assign](b, b.worker(1, p))
	b.says(a, Started)
	b.lose(b.work, 1, true)
	b.wantsAttempts("lost")
	b.says(a, Stopped) // it had lost touch, and the owner has given the work up already
	out := b.session(b.work, 2, 1, []Held{held(a, true)}, p)
	if s := one[*Stop](b, out); s.Assignment != a.Assignment {
		t.Fatalf("told to stop is %v", s.Assignment)
	}
	again := one[*Assign](b, out)
	b.says(again, Succeeded)
	b.wants(id, 0, flow.Completed)
}
