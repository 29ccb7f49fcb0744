package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenon-run/tenon/bench/internal/scenario"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// The budgets, in counts that are the same on every machine: those of the design with a little room where batches decide, and what was measured with a
// little room where the design has none. A change that goes beyond one has to say why it is worth it, here.
var budgets = []struct {
	what string
	most float64
}{
	{"rows written per task, in bulk", 3.15},
	{"rows written per task, singly", 3.2},
	{"bytes of WAL per task, in bulk", 1250},
	{"bytes of WAL per task, singly", 1250},
	{"transactions per task, in bulk", 0.011},
	{"transactions per task, singly", 0.17},
	{"statements per task, in bulk", 0.07},
	{"statements per task, singly", 0.8},
	{"statements a minute, idle", 30},
	{"allocations per task in the engine's core", 43},
}

// A task must not cost more than it should. The server, the worker and the client are built as users run them, without the race detector: what is counted
// depends on how much fits into a batch.
func TestATaskStaysWithinItsBudget(t *testing.T) {
	folder := t.TempDir()
	for at := folder; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o711); err != nil { // Postgres's user must pass through
			t.Fatal(err)
		}
	}
	programs, err := built()
	if err != nil {
		t.Fatal(err)
	}
	spent, err := scenario.Spend(t.Context(), scenario.Config{
		Server: programs.Server, Roles: programs.Roles, Folder: folder, DatabaseURL: os.Getenv("DATABASE_URL"), Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
		Sizes: scenario.Sizes{Bulk: 30_000, Single: 3_000},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{
		"rows written per task, in bulk": spent.Bulk.RowWrites, "rows written per task, singly": spent.Single.RowWrites,
		"bytes of WAL per task, in bulk": spent.Bulk.WALBytes, "bytes of WAL per task, singly": spent.Single.WALBytes,
		"transactions per task, in bulk": spent.Bulk.Transactions, "transactions per task, singly": spent.Single.Transactions,
		"statements per task, in bulk": spent.Bulk.Statements, "statements per task, singly": spent.Single.Statements,
		"statements a minute, idle": spent.IdleStatements, "allocations per task in the engine's core": coreAllocations(t),
	}
	for _, b := range budgets {
		value, measured := got[b.what]
		t.Logf("%-45s %10.3f of %v", b.what, value, b.most)
		if !measured || value <= 0 || value > b.most {
			t.Errorf("%s: %.4g, the budget is %v", b.what, value, b.most)
		}
	}
}

// coreAllocations takes a task through the engine's core, from its trigger to the end of its run, and counts what is allocated on the way.
func coreAllocations(t *testing.T) float64 {
	t.Helper()
	const tenant, runs = 1, 2000
	plan, faults := flow.NewPlan(&flow.Workflow{Name: "noop", Class: flow.Standard, Tasks: []flow.Task{{Name: "noop", MaxLost: flow.DefaultMaxLost}}})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	plan.WorkflowID, plan.Version = 1, 1
	core := engine.New(engine.Config{}, [32]byte{})
	now := time.UnixMilli(1_800_000_000_000)
	// step lets everything be stored at once, and gives the assignment that was sent.
	step := func(in ...engine.Input) (sent *engine.Assign) {
		now = now.Add(time.Millisecond)
		out := core.Step(now, in)
		for _, e := range out.Effects {
			if a, ok := e.(*engine.Assign); ok {
				sent = a
			}
		}
		core.Step(now, []engine.Input{&engine.Committed{Seq: out.Seq}})
		return sent
	}
	step(&engine.OpenSession{Tenant: tenant, Worker: flow.ID{1}, Session: 1, Dispatcher: "d", Slots: 10, Actions: plan.Actions})
	step(&engine.TenantLoaded{Tenant: tenant, Timers: engine.TimersLoaded{Tenant: tenant, Last: true}})
	n := 0
	return testing.AllocsPerRun(runs, func() {
		n++
		id := flow.MakeID(now.UnixMilli(), [10]byte{8: byte(n >> 8), 9: byte(n)})
		a := step(&engine.Trigger{Tenant: tenant, ID: id, Hash: id[:], Fresh: true, Plan: plan, Priority: 4})
		if a == nil || a.Run != id {
			panic(fmt.Sprintf("run %d was not assigned: %+v", n, a))
		}
		report := engine.Report{
			Tenant: tenant, Worker: a.Worker, Session: a.Session, Assignment: a.Assignment, Run: a.Run, TaskNo: a.TaskNo, Generation: a.Generation, Attempt: a.Attempt,
		}
		for _, kind := range []engine.ReportKind{engine.Acknowledged, engine.Started, engine.Succeeded} {
			news := report
			news.Kind = kind
			step(&news)
		}
	})
}
