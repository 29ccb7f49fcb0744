package engine

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// tasksThrough takes n tasks of one kind from their trigger to their end, as the owner of a busy shard sees them.
func tasksThrough(s *Shard, plan *flow.Plan, now time.Time, first, n int) {
	input := Payload{Inline: []byte(`{"num":1}`)}
	hash := make([]byte, 32)
	triggers := make([]Input, n)
	for i := range triggers {
		var entropy [10]byte
		binary.BigEndian.PutUint64(entropy[:], uint64(first+i)) //nolint:gosec // counts up
		id := flow.MakeID(now.UnixMilli(), entropy)
		triggers[i] = &Trigger{To: Ref{Call: 1, Index: int32(i)}, Tenant: 1, ID: id, Hash: hash, Fresh: true, Plan: plan, Input: input} //nolint:gosec // few
	}
	out := s.Step(now, triggers)
	var reports []Input
	for _, e := range out.Effects {
		if a, ok := e.(*Assign); ok {
			reports = append(reports, &Report{
				Tenant: 1, Worker: a.Worker, Session: a.Session, Assignment: a.Assignment, Run: a.Run, TaskNo: a.TaskNo, Generation: a.Generation, Attempt: a.Attempt,
				Kind: Succeeded, Output: input,
			})
		}
	}
	s.Step(now, []Input{&Committed{Seq: out.Seq}})
	out = s.Step(now, reports)
	s.Step(now, []Input{&Committed{Seq: out.Seq}})
}

func busyShard(tb testing.TB) (*Shard, *flow.Plan) {
	tb.Helper()
	plan, faults := flow.NewPlan(&flow.Workflow{Name: "noop", Class: flow.Standard, Tasks: []flow.Task{{
		Name: "noop", Queue: "noop", ExecutionTimeout: time.Minute, MaxLost: 3,
	}}})
	if len(faults) > 0 {
		tb.Fatal(faults)
	}
	plan.WorkflowID, plan.Version = 1, 1
	s := New(Config{}, [32]byte{})
	now := time.UnixMicro(1_800_000_000_000_000)
	s.LoadTenant(now, 1)
	s.Step(now, []Input{&TenantLoaded{Tenant: 1, Asked: 1, Timers: TimersLoaded{Tenant: 1, Last: true}}})
	s.Step(now, []Input{&OpenSession{Tenant: 1, Worker: flow.ID{1}, Session: 1, Dispatcher: "d", Actions: []string{"noop/noop"}, Slots: 2000}})
	return s, plan
}

// A task costs the core a bounded number of allocations: they were a third of the server's time.
func TestAllocationsOfATask(t *testing.T) {
	s, plan := busyShard(t)
	now := time.UnixMicro(1_800_000_000_000_000)
	const batch, most = 1000, 17
	first := 0
	per := testing.AllocsPerRun(20, func() {
		now = now.Add(30 * time.Millisecond)
		tasksThrough(s, plan, now, first, batch)
		first += batch
	}) / batch
	if per > most {
		t.Errorf("%.1f allocations for a task, its trigger and its report included, want at most %d", per, most)
	}
}

// BenchmarkTask is what the core costs for a task of a busy shard, from trigger to end.
func BenchmarkTask(b *testing.B) {
	s, plan := busyShard(b)
	now := time.UnixMicro(1_800_000_000_000_000)
	const batch = 1000
	b.ReportAllocs()
	done := 0
	for b.Loop() {
		if done%batch == 0 {
			now = now.Add(30 * time.Millisecond)
			tasksThrough(s, plan, now, done, batch)
		}
		done++
	}
}
