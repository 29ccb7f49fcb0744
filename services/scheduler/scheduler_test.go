package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// Who awaits hears something at once, and then of the end.
func TestAwaitAnswersAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *scheduler.Config) { c.Beat = time.Hour })
	id := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
	var heard []int
	err := b.svc.Await(b.ctx, []flow.ID{id}, nil, func(views []*scheduler.RunView) error {
		heard = append(heard, len(views))
		if len(heard) > 1 {
			return nil
		}
		_, err := b.svc.Cancel(b.ctx, id, "", nil)
		return err
	})
	if err != nil || len(heard) != 2 || heard[0] != 0 || heard[1] != 1 {
		t.Errorf("heard %v, %v; want nothing first, then the run", heard, err)
	}
}

func TestSingleRunFromTriggerToResult(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.trigger(scheduler.NewRun{Workflow: "single", Input: []byte(`{"n": 12345678901234567890}`)})[0].ID
	if v, err := b.svc.Get(b.ctx, id); err != nil || v.Status() != flow.Queued {
		t.Fatalf("a run is not visible the moment its trigger returns: %v, %v", v, err)
	}
	w := b.worker(1, "single/only")
	a := w.next()
	if got := string(a.GetInput().GetJson()); got != `{"n": 12345678901234567890}` {
		t.Errorf("input arrived as %s", got)
	}
	w.report(a, busv1.ReportKind_REPORT_KIND_STARTED, nil)
	if v, err := b.svc.Get(b.ctx, id); err != nil || v.Tasks()[0].State != flow.Running || v.Status() != flow.Running {
		t.Errorf("a started task is not shown as running: %+v, %v", v, err)
	}
	if got := w.complete(a, `"done"`); got != int32(engine.Accepted) {
		t.Errorf("verdict %d", got)
	}
	if got := w.complete(a, `"done"`); got != int32(engine.Accepted) {
		t.Errorf("verdict on the doubled report is %d", got)
	}
	v := b.final(id)
	if v.Status() != flow.Completed || string(v.Tasks()[0].Output.Inline) != `"done"` {
		t.Errorf("run ended as %s with %s", v.Status(), v.Tasks()[0].Output.Inline)
	}
	if live, history := b.count("live"), b.count("history_runs"); live != 0 || history != 1 {
		t.Errorf("%d rows live and %d in history, want 0 and 1", live, history)
	}
}

func TestChainPassesOutputsOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(5, "chain/a", "chain/b", "chain/c")
	id := b.trigger(scheduler.NewRun{Workflow: "chain"})[0].ID
	for _, task := range []string{"a", "b", "c"} {
		a := w.next()
		if a.GetTask() != task {
			t.Fatalf("task %s came, want %s", a.GetTask(), task)
		}
		if task != "a" && string(a.GetParents()[0].GetOutput().GetJson()) != fmt.Sprintf("%q", a.GetParents()[0].GetTask()) {
			t.Errorf("parent of %s gave %s", task, a.GetParents()[0].GetOutput().GetJson())
		}
		w.complete(a, fmt.Sprintf("%q", task))
	}
	if v := b.final(id); v.Status() != flow.Completed || len(v.Tasks()) != 3 {
		t.Errorf("run ended as %s with %d tasks", v.Status(), len(v.Tasks()))
	}
	if live, history := b.count("live"), b.count("history_tasks"); live != 0 || history != 3 {
		t.Errorf("%d rows live and %d task rows in history, want 0 and 3", live, history)
	}
}

func TestAChildNamesTheTaskThatStartedIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(1, "chain/a")
	b.trigger(scheduler.NewRun{Workflow: "chain"})
	a := w.next()
	parent, err := flow.IDFromBytes(a.GetRunId())
	if err != nil {
		t.Fatal(err)
	}
	assignment, err := flow.IDFromBytes(a.GetAssignmentId())
	if err != nil {
		t.Fatal(err)
	}
	child := b.trigger(scheduler.NewRun{Workflow: "single", Parent: &scheduler.Parent{RunID: parent, Task: "a", Assignment: assignment, Key: "k"}})[0]
	if child.Err != nil {
		t.Fatal(child.Err)
	}
	v, err := b.svc.Get(b.ctx, child.ID)
	if err != nil || v.ParentTask != "a" || v.Top().ParentRun != parent {
		t.Errorf("the child names %q of %v: %v", v.ParentTask, v.Top().ParentRun, err)
	}
	views, _, err := b.svc.List(b.ctx, scheduler.Filter{Parent: parent, PageSize: 10})
	if err != nil || len(views) != 1 || views[0].ParentTask != "a" {
		t.Errorf("the list of children shows %d: %v", len(views), err)
	}
}

func TestRunsAreCountedExactly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(10, "single/only")
	for i := range 30 {
		id := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
		a := w.next()
		if i%3 == 0 {
			w.report(a, busv1.ReportKind_REPORT_KIND_FAILED, func(r *busv1.ReportItem) { r.NeverRetry = true })
		} else {
			w.complete(a, "1")
		}
		b.final(id)
		if i == 15 {
			b.stop()
			b.start()
			w = b.worker(10, "single/only")
		}
	}
	rows, err := b.pool.Query(t.Context(), `
		SELECT coalesce(c.state, h.state), coalesce(c.runs, 0), coalesce(h.runs, 0)
		FROM run_counts c FULL JOIN (
			SELECT tenant_id, workflow_id, state, ended_at / 60000000 AS minute, count(*) AS runs FROM history_runs GROUP BY 1, 2, 3, 4
		) h USING (tenant_id, workflow_id, state, minute)`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	total := 0
	for rows.Next() {
		var state string
		var counted, have int
		if err := rows.Scan(&state, &counted, &have); err != nil {
			t.Fatal(err)
		}
		if counted != have {
			t.Errorf("%s: counted %d, history has %d", state, counted, have)
		}
		total += have
	}
	if err := rows.Err(); err != nil || total != 30 {
		t.Errorf("%d runs in history, want 30: %v", total, err)
	}
}

func TestRetryThenReplay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(5, "single/only")
	id := b.trigger(scheduler.NewRun{Workflow: "single", Input: []byte(`7`)})[0].ID
	for range 3 {
		w.report(w.next(), busv1.ReportKind_REPORT_KIND_FAILED, nil)
	}
	if v := b.final(id); v.Status() != flow.Failed || v.Tasks()[0].Attempt != 3 {
		t.Fatalf("run ended as %s after %d attempts", v.Status(), v.Tasks()[0].Attempt)
	}
	if _, err := b.svc.Replay(b.ctx, id, nil); err != nil {
		t.Fatal(err)
	}
	a := w.next()
	if a.GetGeneration() != 2 || a.GetAttempt() != 1 || string(a.GetInput().GetJson()) != "7" {
		t.Errorf("replay sent generation %d attempt %d input %s", a.GetGeneration(), a.GetAttempt(), a.GetInput().GetJson())
	}
	w.complete(a, `true`)
	if v := b.final(id); v.Status() != flow.Completed || v.Top().Generation != 2 {
		t.Errorf("replay ended as %s in generation %d", v.Status(), v.Top().Generation)
	}
	attempts, err := b.svc.Attempts(b.ctx, id)
	if err != nil || len(attempts) != 4 {
		t.Errorf("%d attempts on record, want 4: %+v, %v", len(attempts), attempts, err)
	}
	views, _, err := b.svc.List(b.ctx, scheduler.Filter{PageSize: 10})
	if err != nil || len(views) != 1 || views[0].Top().Generation != 2 {
		t.Errorf("the list shows %d runs: %v", len(views), err)
	}
}

func TestSameIDTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := flow.ID(uuid.Must(uuid.NewV7()))
	first := b.trigger(scheduler.NewRun{ID: id, Workflow: "single", Input: []byte(`1`), FirstSend: true})
	again := b.trigger(scheduler.NewRun{ID: id, Workflow: "single", Input: []byte(`1`)}, scheduler.NewRun{ID: id, Workflow: "single", Input: []byte(`2`)})
	if !first[0].Created || again[0].Created || again[0].Err != nil || again[0].ID != id {
		t.Errorf("same contents: %+v then %+v", first[0], again[0])
	}
	if !fault.Is(again[1].Err, fault.CodeAlreadyExists) {
		t.Errorf("other contents: %+v", again[1])
	}
	w := b.worker(1, "single/only")
	w.complete(w.next(), `0`)
	b.final(id)
	if after := b.trigger(scheduler.NewRun{ID: id, Workflow: "single", Input: []byte(`1`)}); after[0].Created || after[0].Err != nil {
		t.Errorf("a finished run's id: %+v", after[0])
	}
}

func TestCancelRunning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(1, "chain/a", "chain/b", "chain/c")
	id := b.trigger(scheduler.NewRun{Workflow: "chain"})[0].ID
	a := w.next()
	w.report(a, busv1.ReportKind_REPORT_KIND_STARTED, nil)
	v, err := b.svc.Cancel(b.ctx, id, "not wanted", nil)
	if err != nil || v.Tasks()[0].State != flow.Stopping || v.Tasks()[1].State != flow.Cancelled {
		t.Fatalf("after cancel: %+v, %v", v, err)
	}
	if c := <-w.cancels; !slices.Equal(c.GetAssignmentId(), a.GetAssignmentId()) {
		t.Error("another assignment was cancelled")
	}
	w.report(a, busv1.ReportKind_REPORT_KIND_STOPPED, nil)
	if v := b.final(id); v.Status() != flow.Cancelled {
		t.Errorf("run ended as %s", v.Status())
	}
}

func TestRestartLosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var runs []scheduler.NewRun
	for i := range 300 {
		runs = append(runs, scheduler.NewRun{Workflow: []string{"single", "chain"}[i%2]})
	}
	ids := make(map[flow.ID]bool)
	for _, r := range b.trigger(runs...) {
		ids[r.ID] = true
	}
	b.stop()
	b.start()
	w := b.worker(50, "single/only", "chain/a", "chain/b", "chain/c")
	for range 150 + 3*150 {
		w.complete(w.next(), `1`)
	}
	for id := range ids {
		if v := b.final(id); v.Status() != flow.Completed {
			t.Fatalf("run %s ended as %s", id, v.Status())
		}
	}
}

func TestListPagesAndFilters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		b.trigger(scheduler.NewRun{Workflow: "single"}, scheduler.NewRun{Workflow: "chain"})
	}
	w := b.worker(2, "single/only")
	for range 5 {
		w.complete(w.next(), `1`)
	}
	all := make(map[flow.ID]bool)
	f := scheduler.Filter{PageSize: 3}
	for page := 0; ; page++ {
		views, next, err := b.svc.List(b.ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range views {
			if all[v.Top().ID] {
				t.Error("a run stands on two pages")
			}
			all[v.Top().ID] = true
		}
		if next.IsZero() || page > 10 {
			break
		}
		f.Before = next
	}
	if len(all) != 10 {
		t.Errorf("pages hold %d runs, want 10", len(all))
	}
	for filter, want := range map[*scheduler.Filter]int{
		{Workflow: "single", PageSize: 100}:                          5,
		{States: []flow.State{flow.Completed}, PageSize: 100}:        5,
		{States: []flow.State{flow.Queued}, PageSize: 100}:           5,
		{CreatedAfter: time.Now().Add(time.Minute), PageSize: 100}:   0,
		{CreatedBefore: time.Now().Add(-time.Minute), PageSize: 100}: 0,
	} {
		views, _, err := b.svc.List(b.ctx, *filter)
		if err != nil || len(views) != want {
			t.Errorf("%+v lists %d runs, want %d: %v", *filter, len(views), want, err)
		}
	}
}

func TestOtherTenantsRunIsNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
	var other int64
	err := b.pool.QueryRow(t.Context(), "INSERT INTO tenants (public_id, slug, display_name) VALUES ($1, 'other', 'Other') RETURNING id", uuid.New()).Scan(&other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.Exec(t.Context(), "INSERT INTO tenant_shards VALUES ($1, 7)", other); err != nil {
		t.Fatal(err)
	}
	ctx := authn.With(t.Context(), authn.Principal{Kind: authn.KindAPI, TenantID: other, Role: "owner"})
	_, getErr := b.svc.Get(ctx, id)
	_, cancelErr := b.svc.Cancel(ctx, id, "", nil)
	_, replayErr := b.svc.Replay(ctx, id, nil)
	_, _, logErr := b.svc.Logs(ctx, id, scheduler.LogPage{PageSize: 10})
	for name, err := range map[string]error{"get": getErr, "cancel": cancelErr, "replay": replayErr, "logs": logErr} {
		if !fault.Is(err, fault.CodeNotFound) {
			t.Errorf("%s of another tenant's run: %v", name, err)
		}
	}
}

func TestBadItemsSpoilNoOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := flow.MakeID(time.Now().Add(-48*time.Hour).UnixMilli(), [10]byte{1})
	out := b.trigger(
		scheduler.NewRun{Workflow: "single"},
		scheduler.NewRun{Workflow: "nothing"},
		scheduler.NewRun{Workflow: "single", Input: []byte(`{"a":`)},
		scheduler.NewRun{Workflow: "single", Input: []byte("\"a\\u0000b\"")},
		scheduler.NewRun{Workflow: "single", Input: []byte(`"` + strings.Repeat("x", 4<<20) + `"`)},
		scheduler.NewRun{Workflow: "single", ID: old},
		scheduler.NewRun{Workflow: "single", Input: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)},
	)
	wants := []string{"", "NotFound", "run.input_json", "run.input_json", "run.input_json", "run.run_id", ""}
	for i, want := range wants {
		f := fault.Of(out[i].Err)
		switch {
		case want == "" && out[i].Err != nil, want == "NotFound" && !fault.Is(out[i].Err, fault.CodeNotFound):
			t.Errorf("item %d: %v", i, out[i].Err)
		case strings.HasPrefix(want, "run.") && (len(f.Fields) == 0 || f.Fields[0].Path != want):
			t.Errorf("item %d names %+v, want %s: %v", i, f, want, out[i].Err)
		}
	}
	v, err := b.svc.Get(b.ctx, out[6].ID)
	if err != nil || len(v.Top().Input.Inline) != 1<<20+2 {
		t.Errorf("a large input comes back with %d bytes: %v", len(v.Top().Input.Inline), err)
	}
}

// Two schedulers cannot both commit: the one whose epoch was taken is refused, and its callers reach the new owner.
func TestStaleOwnerIsFenced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.trigger(scheduler.NewRun{Workflow: "single"})
	shard := "SELECT epoch FROM shards WHERE id = (SELECT shard FROM tenant_shards WHERE tenant_id = (SELECT tenant_id FROM live LIMIT 1))"
	epoch := func() (epoch int64) {
		if err := b.pool.QueryRow(t.Context(), shard).Scan(&epoch); err != nil {
			t.Fatal(err)
		}
		return epoch
	}
	mine := epoch()
	if _, err := b.pool.Exec(t.Context(), "UPDATE shards SET epoch = epoch + 1"); err != nil {
		t.Fatal(err)
	}
	// The owner meets the fence, takes the shard again under a newer epoch, and the call goes through.
	done := b.trigger(scheduler.NewRun{Workflow: "single"})
	if done[0].Err != nil || !done[0].Created {
		t.Errorf("trigger after the fence: %+v", done[0])
	}
	if now := epoch(); now <= mine+1 {
		t.Errorf("the run was stored by an owner of epoch %d, although the shard was at %d", mine, mine+1)
	}
	if got := b.count("live"); got != 2 {
		t.Errorf("%d rows live, want 2", got)
	}
}
