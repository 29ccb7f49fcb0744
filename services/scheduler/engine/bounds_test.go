package engine

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

const (
	manyRuns   = 5000
	boundRuns  = 50
	boundPages = 40
)

func newBounded(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, simWorld: newSimWorld(t, Config{Window: boundPages, MaxRuns: boundRuns}, 1), work: flow.ID{1}}
	b.manual = true
	return b
}

func (b *bench) triggerMany(p *flow.Plan, n int) {
	b.t.Helper()
	for n > 0 {
		var in []Input
		for range min(n, 500) {
			id := b.id()
			in = append(in, &Trigger{To: b.ref(nil), Tenant: simTenant, ID: id, Hash: id[:], Fresh: true, Plan: p, Priority: 4})
		}
		n -= len(in)
		b.do(in...)
	}
}

func (b *bench) wantsResident(most int) {
	b.t.Helper()
	b.step(&Committed{Seq: b.shard.seq})
	if n := len(b.shard.runs); n > most {
		b.t.Fatalf("P8: %d runs in memory, at most %d are allowed", n, most)
	}
}

// TestMemoryIsBoundedByWindowsNotByTheLine queues many runs and works them off in order, through evictions and refills.
func TestMemoryIsBoundedByWindowsNotByTheLine(t *testing.T) {
	b := newBounded(t)
	p := b.plan(oneTask(flow.Task{}))
	b.triggerMany(p, manyRuns)
	b.wantsResident(boundRuns + boundPages)
	const slots = 20
	b.worker(slots, p)
	last, done := int64(0), 0
	for todo := all[*Assign](b.effects); len(todo) > 0; {
		var in []Input
		for _, a := range todo {
			if rank := b.row(a.Run, 0).Rank; rank <= last {
				t.Fatalf("P11: rank %d after %d", rank, last)
			} else {
				last = rank
			}
			r := reportOf(a, Succeeded)
			r.To = b.ref(nil)
			in = append(in, r)
		}
		done += len(todo)
		todo = all[*Assign](b.do(in...))
		if done%500 == 0 {
			b.wantsResident(boundRuns + boundPages + slots)
		}
	}
	if done != manyRuns || len(b.store.history) != manyRuns || len(b.shard.runs) > 0 {
		t.Fatalf("%d assigned, %d finished, %d left in memory", done, len(b.store.history), len(b.shard.runs))
	}
	if n := len(b.shard.timers) + len(b.shard.candidates) + len(b.shard.gone) + len(b.shard.left); n > 4*sweepSlack {
		t.Fatalf("P8: %d outdated entries are left in memory", n)
	}
}

// TestMemoryIsBoundedWhileRunsSleep sends many runs into a far retry, and has all of them back in time.
func TestMemoryIsBoundedWhileRunsSleep(t *testing.T) {
	b := newBounded(t)
	p := b.plan(oneTask(flow.Task{Retry: retries(1)}))
	const sleepers, slots = 1000, 100
	b.worker(slots, p)
	b.triggerMany(p, sleepers)
	failed := 0
	for todo := all[*Assign](b.effects); len(todo) > 0; {
		var in []Input
		for _, a := range todo {
			r := reportOf(a, FailedAttempt)
			r.To, r.RetryAfter = b.ref(nil), 3600*second+int64(failed)*second/10
			in = append(in, r)
			failed++
		}
		todo = all[*Assign](b.do(in...))
	}
	if failed != sleepers {
		t.Fatalf("%d attempts failed", failed)
	}
	b.wantsResident(boundRuns + boundPages)
	for range 20 { // nothing is due for an hour
		b.wait(time.Minute)
	}
	b.wantsResident(boundRuns + boundPages)
	b.wait(2399 * time.Second)
	done, most := 0, 0
	for range sleepers {
		for _, a := range all[*Assign](b.wait(time.Second / 2)) {
			if a.Attempt != 2 {
				t.Fatalf("attempt %d was sent", a.Attempt)
			}
			b.says(a, Succeeded)
			done++
		}
		most = max(most, len(b.shard.runs))
	}
	if done != sleepers || len(b.store.live) > 0 {
		t.Fatalf("%d of %d came back, %d runs are open", done, sleepers, len(b.store.live))
	}
	if bound := boundRuns + boundPages + timersKept/int(second/10); most > bound {
		t.Fatalf("P8: up to %d runs in memory, at most %d are allowed", most, bound)
	}
}

// TestAFullPageOfTimersAtOneInstantPasses has more runs time out at one instant than a page of timers holds.
func TestAFullPageOfTimersAtOneInstantPasses(t *testing.T) {
	b := newBounded(t)
	p := b.plan(oneTask(flow.Task{ScheduleTimeout: time.Hour}))
	b.triggerMany(p, 500)
	b.wantsResident(boundRuns + boundPages)
	b.wait(time.Hour - time.Second)
	if n := len(b.store.live); n != 500 {
		t.Fatalf("%d runs wait before their timeout", n)
	}
	steps := b.shard.seq
	b.wait(2 * time.Second)
	if n := len(b.store.live); n > 0 {
		t.Fatalf("%d runs have passed their timeout", n)
	}
	if n := b.shard.seq - steps; n > 2000 {
		t.Fatalf("%d steps for 500 timers", n)
	}
}

// TestAWindowEmptiedByCancelsIsFilledAgain leaves no other reason to look for the next page.
func TestAWindowEmptiedByCancelsIsFilledAgain(t *testing.T) {
	b := newBounded(t)
	p := b.plan(oneTask(flow.Task{}))
	b.triggerMany(p, 3*boundPages)
	for len(b.shard.tenants[simTenant].laneList[0].items) > 0 {
		items := b.shard.tenants[simTenant].laneList[0].items
		var in []Input
		for _, w := range items {
			in = append(in, &CancelRun{To: b.ref(nil), Tenant: simTenant, ID: w.ID})
		}
		b.do(in...)
	}
	if n := len(b.store.live); n > 0 {
		t.Fatalf("%d runs stand behind an empty window", n)
	}
}

// TestAPageThatBecameOldIsReadAgain: the window loses its tail while the page behind it is read.
func TestAPageThatBecameOldIsReadAgain(t *testing.T) {
	b := newBounded(t)
	p := b.plan(oneTask(flow.Task{}))
	b.triggerMany(p, 3*boundPages)
	b.worker(boundPages*3/4, p) // the window runs low and asks
	open := all[*Assign](b.effects)
	var in []Input
	for _, a := range open[:5] {
		r := reportOf(a, Succeeded)
		r.To = b.ref(nil)
		in = append(in, r)
	}
	b.step(in...)
	for len(b.pending) > 0 {
		b.commit()
	}
	for len(b.reads) > 0 {
		b.read(0) // on its way
	}
	in = nil
	for range boundPages {
		id := b.id()
		in = append(in, &Trigger{To: b.ref(nil), Tenant: simTenant, ID: id, Hash: id[:], Fresh: true, Plan: p, Priority: 9})
	}
	b.step(in...)
	b.flush()
	for todo := all[*Assign](b.effects)[5:]; len(todo) > 0; {
		next := []Input{}
		for _, a := range todo {
			r := reportOf(a, Succeeded)
			r.To = b.ref(nil)
			next = append(next, r)
		}
		todo = all[*Assign](b.do(next...))
	}
	if n := len(b.store.live); n > 0 {
		t.Fatalf("%d runs are left behind", n)
	}
}

// TestRowsOfOneRankAreNotTornApartByAPage: ranks of different priorities may be equal, and a page may end between them.
func TestRowsOfOneRankAreNotTornApartByAPage(t *testing.T) {
	b := newBounded(t)
	p := b.plan(oneTask(flow.Task{}))
	const priorities, each = 7, 30
	for priority := range int16(priorities) {
		var in []Input
		for range each {
			id := b.id()
			in = append(in, &Trigger{To: b.ref(nil), Tenant: simTenant, ID: id, Hash: id[:], Fresh: true, Plan: p, Priority: priority})
		}
		b.do(in...)
		b.now += b.cfg.Ageing
	}
	done, last := 0, int64(0)
	b.worker(5, p)
	for todo := all[*Assign](b.effects); len(todo) > 0; done++ {
		a := todo[0]
		if rank := b.row(a.Run, 0).Rank; rank < last {
			t.Fatalf("P11: rank %d after %d", rank, last)
		} else {
			last = rank
		}
		todo = append(todo[1:], all[*Assign](b.says(a, Succeeded))...)
	}
	if done != priorities*each {
		t.Fatalf("%d of %d were assigned", done, priorities*each)
	}
}

// TestATimerThatLeavesWhileAPageIsReadIsNotMissed lets a run leave memory between the reading of a page of timers and its arrival.
func TestATimerThatLeavesWhileAPageIsReadIsNotMissed(t *testing.T) {
	b := newBounded(t)
	slow := b.plan(oneTask(flow.Task{ScheduleTimeout: 2 * time.Hour}))
	soon := b.plan(flow.Workflow{Name: "soon", Tasks: []flow.Task{{Retry: retries(1)}}})
	const sleepers = 60
	b.worker(sleepers, soon)
	b.triggerMany(soon, sleepers)
	todo := all[*Assign](b.effects)
	for _, a := range todo {
		b.says(a, Started)
	}
	b.triggerMany(slow, 30)
	b.wait(10 * time.Minute)
	b.triggerMany(slow, 30) // some of their timers are beyond the window now
	b.wantsResident(boundRuns + sleepers)
	tenant := b.shard.tenants[simTenant]
	if tenant.refillAt == 0 {
		t.Fatalf("every timer is in memory")
	}
	for b.now < tenant.refillAt {
		b.now = b.wake
		b.step()
		for len(b.pending) > 0 {
			b.commit()
		}
	}
	if !tenant.timersLoading || len(b.reads) == 0 {
		t.Fatalf("no page of timers is being read")
	}
	for len(b.reads) > 0 {
		b.read(0) // before the new runs are there
	}
	answers := b.answers
	b.answers = nil
	for i, a := range todo {
		r := reportOf(a, FailedAttempt)
		r.RetryAfter = (3600 + int64(i)) * second
		b.sends(r)
	}
	b.wantsResident(boundRuns)
	b.answers = answers
	b.flush()
	if n := len(all[*Assign](b.wait(time.Hour + sleepers*time.Second))); n != sleepers {
		t.Fatalf("%d of %d retries came: %s", n, sleepers, b.openRows())
	}
}

// TestEndedRunsAreForgottenBelowTheCapToo works off many runs while there is room for all.
func TestEndedRunsAreForgottenBelowTheCapToo(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	b.worker(1, p)
	for range manyRuns {
		id := b.trigger(p)
		todo := all[*Assign](b.effects)
		b.effects = nil
		b.says(todo[0], Succeeded)
		b.wants(id, 0, flow.Completed)
	}
	if n := max(len(b.shard.candidates), len(b.shard.timers), len(b.shard.gone), len(b.shard.left)); n > 2*sweepSlack {
		t.Fatalf("P8: %d entries of ended runs are in memory", n)
	}
}
