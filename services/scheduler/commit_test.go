package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/testkit"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// The statement for the common case writes what the general one writes.
func TestShortStatementWritesTheSame(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	q := schedulerq.New(pool)
	read := func() []map[string]any {
		t.Helper()
		rows, err := pool.Query(t.Context(), "DELETE FROM live RETURNING *")
		if err != nil {
			t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowToMap)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	must := func(_ int64, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	queued := plainRows()
	for i := range queued {
		if !justQueued(queued[i]) {
			t.Fatalf("row %d is not taken for the common case", i)
		}
	}
	must(q.InsertLive(t.Context(), insertParams(queued)))
	want := read()
	must(q.InsertQueued(t.Context(), queuedParams(queued)))
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("InsertQueued writes otherwise (-want +got):\n%s", diff)
	}
}

// A row that differs from the common case in anything that its statement does not write goes with the general one.
func TestOnlyPlainRowsAreWrittenShort(t *testing.T) {
	t.Parallel()
	id := flow.ID(uuid.New())
	for name, change := range map[string]func(*engine.Row){
		"DAG": func(r *engine.Row) { r.Single = false }, "state": func(r *engine.Row) { r.State = flow.BackingOff }, "generation": func(r *engine.Row) { r.Generation = 2 },
		"attempt": func(r *engine.Row) { r.Attempt = 2 }, "lost": func(r *engine.Row) { r.Lost = 1 }, "queued later": func(r *engine.Row) { r.QueuedAt++ },
		"started": func(r *engine.Row) { r.StartedAt = 1 }, "ended": func(r *engine.Row) { r.EndedAt = 1 }, "assignment": func(r *engine.Row) { r.AssignmentID = id },
		"worker": func(r *engine.Row) { r.WorkerID = id }, "session": func(r *engine.Row) { r.Session = 1 }, "stopping": func(r *engine.Row) { r.StopReason = 1 },
		"parent": func(r *engine.Row) { r.ParentRun = id }, "children": func(r *engine.Row) { r.ChildRuns = 1 }, "output": func(r *engine.Row) { r.Output.Inline = []byte("1") },
		"error": func(r *engine.Row) { r.Error = &engine.TaskError{} }, "labels": func(r *engine.Row) { r.Labels = []byte("{}") }, "revision": func(r *engine.Row) { r.Revision = 2 },
	} {
		queued := plainRows()
		if change(queued[0]); justQueued(queued[0]) {
			t.Errorf("a new row with another %s is taken for the common case", name)
		}
	}
}

// plainRows are runs as they are triggered.
func plainRows() (rows []*engine.Row) {
	now := time.Now().UnixMicro()
	for i, r := range []engine.Row{
		{Input: engine.Payload{Inline: []byte(`{"n":1}`)}, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", DueAt: now + 5, DeadlineAt: now + 9},
		{Input: engine.Payload{Ref: flow.ID(uuid.New())}},
		{Input: engine.Payload{Inline: []byte("null")}},
	} {
		r.RunKey = engine.RunKey{Tenant: 7, ID: flow.ID(uuid.Must(uuid.NewV7()))}
		r.Single, r.Class, r.WorkflowID, r.Version, r.State, r.Generation, r.Attempt, r.Priority = true, flow.Standard, 3, 2, flow.Queued, 1, 1, int16(i) //nolint:gosec // few
		r.Lane, r.Rank, r.CreatedAt, r.QueuedAt, r.RequestHash, r.Revision = 1<<63+uint64(i), now, now, now, []byte{1, 2, byte(i)}, 1                     //nolint:gosec // few
		rows = append(rows, &r)
	}
	return rows
}
