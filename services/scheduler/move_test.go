package scheduler_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/testkit"
	"github.com/tenon-run/tenon/services/scheduler"
)

// A tenant moves to another shard while a task of it runs and another waits: nothing is lost, nothing runs twice, and calls find the way.
func TestATenantMovesWhileItsRunsGoOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(1, "single/only")
	running := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
	a := w.next()
	waiting := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
	other := b.caller.Directory // knows the old shard
	if shard, _, err := other.Find(t.Context(), b.tenant); err != nil || shard != 7 {
		t.Fatalf("the tenant is in shard %d, %v", shard, err)
	}
	store := &lease.Store{Pool: b.pool, Owner: flow.ID(uuid.New()), Log: testkit.Logger(t)}
	if from, err := store.MoveTenant(t.Context(), b.tenant, 12); err != nil || from != 7 {
		t.Fatalf("moved from shard %d: %v", from, err)
	}
	after := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
	// The result finds the new owner, which knows nothing of the assignment, and takes it: nothing else was sent for the task.
	if verdict := w.complete(a, `"before"`); verdict != 1 {
		t.Fatalf("the result was answered with %d", verdict)
	}
	if v := b.final(running); v.Status() != flow.Completed || string(v.Tasks()[0].Output.Inline) != `"before"` {
		t.Errorf("the run that ran ended as %s", v.Status())
	}
	if shard, _, err := other.Find(t.Context(), b.tenant); err != nil || shard != 12 {
		t.Errorf("calls look for the tenant in shard %d: %v", shard, err)
	}
	again := b.worker(1, "single/only")
	for _, id := range []flow.ID{waiting, after} {
		next := again.next()
		if got, err := flow.IDFromBytes(next.GetRunId()); err != nil || got != id {
			t.Fatalf("run %v was sent, want %v: %v", got, id, err)
		}
		again.complete(next, "1")
		b.final(id)
	}
	if attempts := b.count("attempts"); attempts != 0 {
		t.Errorf("%d attempts were lost", attempts)
	}
	if _, err := store.MoveTenant(t.Context(), b.tenant, 7); err != nil { // and back
		t.Fatal(err)
	}
	b.trigger(scheduler.NewRun{Workflow: "single"})
	if open := b.count("live"); open != 1 {
		t.Errorf("%d runs are open", open)
	}
}
