package scheduler_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler"
)

// list reads all pages of a filter.
func (b *bundle) list(f scheduler.Filter) (ids []flow.ID) {
	b.t.Helper()
	f.PageSize = 2
	for range 100 {
		views, next, err := b.svc.List(b.ctx, f)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, v := range views {
			ids = append(ids, v.Top().ID)
		}
		if next.IsZero() {
			return ids
		}
		f.Before = next
	}
	b.t.Fatal("the list has no end")
	return nil
}

// outcomes makes runs of the workflow "single": two completed, one failed, one running and not written as such, one queued; newest first.
func (b *bundle) outcomes() (w *worker, ids []flow.ID) {
	b.t.Helper()
	w = b.worker(1, "single/only")
	for _, end := range []string{"completed", "failed", "completed", "running", "queued"} {
		id := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
		ids = append([]flow.ID{id}, ids...)
		if end == "queued" {
			continue
		}
		a := w.next()
		switch end {
		case "completed":
			w.complete(a, "1")
			b.final(id)
		case "failed":
			w.report(a, busv1.ReportKind_REPORT_KIND_FAILED, func(r *busv1.ReportItem) { r.NeverRetry = true })
			b.final(id)
		case "running":
			w.report(a, busv1.ReportKind_REPORT_KIND_STARTED, nil)
		}
	}
	return w, ids
}

func TestListFindsExactlyWhatTheFilterSays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, ids := b.outcomes()
	chain := b.trigger(scheduler.NewRun{Workflow: "chain"})[0].ID
	for name, c := range map[string]struct {
		filter scheduler.Filter
		want   []flow.ID
	}{
		"all":              {scheduler.Filter{}, append([]flow.ID{chain}, ids...)},
		"workflow":         {scheduler.Filter{Workflow: "single"}, ids},
		"queued":           {scheduler.Filter{States: []flow.State{flow.Queued}}, []flow.ID{chain, ids[0]}},
		"running":          {scheduler.Filter{States: []flow.State{flow.Running}}, []flow.ID{ids[1]}},
		"open":             {scheduler.Filter{Workflow: "single", States: []flow.State{flow.Running, flow.Queued}}, ids[:2]},
		"failed":           {scheduler.Filter{States: []flow.State{flow.Failed, flow.TimedOut}}, []flow.ID{ids[3]}},
		"failed chains":    {scheduler.Filter{Workflow: "chain", States: []flow.State{flow.Failed}}, nil},
		"completed":        {scheduler.Filter{Workflow: "single", States: []flow.State{flow.Completed}}, []flow.ID{ids[2], ids[4]}},
		"ended":            {scheduler.Filter{States: []flow.State{flow.Completed, flow.Failed}}, ids[2:]},
		"range of ids":     {scheduler.Filter{From: ids[3], Until: ids[1]}, ids[2:4]},
		"created before":   {scheduler.Filter{CreatedBefore: time.Now().Add(-time.Hour)}, nil},
		"queued or failed": {scheduler.Filter{Workflow: "single", States: []flow.State{flow.Failed, flow.Queued}}, []flow.ID{ids[0], ids[3]}},
	} {
		if got := b.list(c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %d runs %v, want %v", name, len(got), got, c.want)
		}
	}
}

// A run that is open again is not listed as what it was, and one that has ended again only as what it is.
func TestAReplayedRunIsListedAsItIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(1, "single/only")
	id := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
	w.report(w.next(), busv1.ReportKind_REPORT_KIND_FAILED, func(r *busv1.ReportItem) { r.NeverRetry = true })
	b.final(id)
	failed := scheduler.Filter{States: []flow.State{flow.Failed}}
	if got := b.list(failed); len(got) != 1 {
		t.Fatalf("%d failed runs, want 1", len(got))
	}
	if _, err := b.svc.Replay(b.ctx, id, nil); err != nil {
		t.Fatal(err)
	}
	if got := b.list(failed); len(got) != 0 {
		t.Error("a run that runs again is listed as failed")
	}
	w.complete(w.next(), "1")
	b.final(id)
	if got := b.list(failed); len(got) != 0 {
		t.Error("a run that has completed by its replay is listed as failed")
	}
	if got := b.list(scheduler.Filter{States: []flow.State{flow.Completed}}); !slices.Equal(got, []flow.ID{id}) {
		t.Errorf("completed: %v", got)
	}
	if got := b.list(scheduler.Filter{}); !slices.Equal(got, []flow.ID{id}) {
		t.Errorf("a replayed run is listed %d times", len(got))
	}
}

func TestStatsCountWhatTheListShows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.outcomes()
	for _, p := range b.plans {
		_, err := b.pool.Exec(b.ctx, "INSERT INTO workflows (tenant_id, id, public_id, name, newest_version) OVERRIDING SYSTEM VALUE VALUES ($1, $2, gen_random_uuid(), $3, 1)",
			b.tenant, p.WorkflowID, p.Workflow.Name)
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, workflow := range []string{"", "single"} {
		s, err := b.svc.Stats(b.ctx, workflow, scheduler.Window{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Queued != 1 || s.Running != 1 || s.LowerBound || s.Ended != (scheduler.Counts{Completed: 2, Failed: 1}) || len(s.Points) != 60 {
			t.Errorf("workflow %q: %d queued, %d running, ended %+v in %d points", workflow, s.Queued, s.Running, s.Ended, len(s.Points))
		}
		var sum int64
		for _, p := range s.Points {
			sum += p.Completed + p.Failed
		}
		if sum != 3 {
			t.Errorf("the series sums up to %d", sum)
		}
	}
	if s, err := b.svc.Stats(b.ctx, "chain", scheduler.Window{}); err != nil || s.Queued+s.Running+s.Ended.Completed != 0 {
		t.Errorf("another workflow: %+v, %v", s, err)
	}
	now := time.Now()
	for name, w := range map[string]scheduler.Window{
		"backwards": {From: now, To: now.Add(-time.Hour)}, "too long": {From: now.Add(-200 * time.Hour), To: now, Step: time.Hour},
		"too fine": {From: now.Add(-26 * time.Hour), To: now}, "odd step": {Step: 90 * time.Second},
	} {
		if _, err := b.svc.Stats(b.ctx, "", w); !fault.Is(err, fault.CodeInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h, err := b.svc.Health(b.ctx, "single", 0)
	if err != nil || h.Ended != (scheduler.Counts{Completed: 2, Failed: 1}) || h.Sampled || h.RunP50 < 0 || h.RunP95 < h.RunP50 || h.QueueP95 < 0 {
		t.Errorf("health: %+v, %v", h, err)
	}
	names, healths, err := b.svc.Healths(b.ctx, []string{"single", "chain", "unknown"}, 0)
	if err != nil || !slices.Equal(names, []string{"single"}) || healths[0] != *h {
		t.Errorf("healths of %v: %+v, %v; want what the workflow's own health says: %+v", names, healths, err, *h)
	}
	if names, _, err := b.svc.Healths(b.ctx, []string{"single"}, time.Nanosecond); err != nil || len(names) != 0 {
		t.Errorf("healths within no time: %v, %v", names, err)
	}
	queues, err := b.svc.Queues(b.ctx, 10)
	if err != nil || len(queues) != 1 || queues[0].Name != "single" || queues[0].Waiting != 1 || queues[0].Workers != 1 || queues[0].FreeSlots != 0 || queues[0].QueuedAt == 0 {
		t.Errorf("queues: %+v, %v", queues, err)
	}
}

func TestBulkAnswersForEachRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, ids := b.outcomes()
	unknown := flow.MakeID(time.Now().UnixMilli(), [10]byte{1})
	errs, err := b.svc.CancelMany(b.ctx, []flow.ID{ids[0], unknown, ids[1]}, "")
	if err != nil || errs[0] != nil || !fault.Is(errs[1], fault.CodeNotFound) || errs[2] != nil {
		t.Errorf("cancel: %v, %v", errs, err)
	}
	if got := b.list(scheduler.Filter{States: []flow.State{flow.Cancelled}}); !slices.Equal(got, ids[:1]) {
		t.Errorf("cancelled: %v, want the one that waited", got)
	}
	errs = b.svc.ReplayMany(b.ctx, []flow.ID{unknown, ids[3], ids[1]})
	if !fault.Is(errs[0], fault.CodeNotFound) || errs[1] != nil || errs[2] == nil {
		t.Errorf("replay: %v; want NotFound, nil, and a refusal of a run that is open", errs)
	}
	worker := authn.With(b.ctx, authn.Principal{Kind: authn.KindWorker, TenantID: b.tenant, Role: "worker"})
	if _, err := b.svc.CancelMany(worker, ids, ""); !fault.Is(err, fault.CodePermissionDenied) {
		t.Errorf("a worker cancels what is no child of its own: %v", err)
	}
}

// watch collects a stream's messages until the test's end.
func (b *bundle) watch(token string) (messages chan scheduler.RunChanges, stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.ctx)
	messages = make(chan scheduler.RunChanges, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.svc.WatchAll(ctx, "", nil, token, func(c scheduler.RunChanges) error { messages <- c; return nil }) // it ends with ctx
	}()
	stop = func() { cancel(); <-done }
	b.t.Cleanup(stop)
	return messages, stop
}

// until reads messages up to the one that shows a run in a state, and returns its token.
func until(t *testing.T, messages chan scheduler.RunChanges, id flow.ID, state flow.State) string {
	t.Helper()
	patience := time.After(10 * time.Second)
	for {
		select {
		case m := <-messages:
			for _, v := range m.Views {
				if v.Top().ID == id && v.Status() == state {
					return m.Token
				}
			}
		case <-patience:
			t.Fatalf("the stream never showed the run as %s", state)
		}
	}
}

func TestAStreamOfChangesLosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(1, "single/only")
	messages, stop := b.watch("")
	if first := <-messages; !first.Reset || first.Token == "" {
		t.Fatalf("the first message is %+v, want reset", first)
	}
	id := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
	a := w.next()
	w.report(a, busv1.ReportKind_REPORT_KIND_STARTED, nil)
	token := until(t, messages, id, flow.Running)
	stop()
	w.complete(a, "1")
	b.final(id)
	other := b.trigger(scheduler.NewRun{Workflow: "chain"})[0].ID
	messages, stop = b.watch(token)
	until(t, messages, id, flow.Completed)
	stop()
	messages, _ = b.watch(token)
	until(t, messages, other, flow.Queued)
	stranger, _ := b.watch("AAAA")
	if first := <-stranger; !first.Reset {
		t.Errorf("a token that nobody made is taken: %+v", first)
	}
}

// logged stores lines as a dispatcher does, and says so.
func (b *bundle) logged(run, assignment flow.ID, from int64, messages ...string) {
	b.t.Helper()
	for i, m := range messages {
		_, err := b.pool.Exec(b.t.Context(), `INSERT INTO logs (tenant_id, class, run_id, logged_at, assignment_id, sequence, task_no, generation, attempt, level, message)
			VALUES ($1, $2, $3, $4, $5, $6, 1, 1, 1, $7, $8)`, b.tenant, int16(flow.Standard), run, from+int64(i), assignment, int64(i)+from, i%4+1, m)
		if err != nil {
			b.t.Fatal(err)
		}
	}
	data, err := proto.Marshal(&busv1.LogNotices{Runs: []*busv1.LogNotice{{RunId: run[:], From: from}}})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.bus.Publish("tenon.logs."+strconv.FormatInt(b.tenant, 10), data); err != nil {
		b.t.Fatal(err)
	}
}

func TestLogsAreSearchedAndTailed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(1, "single/only")
	id := b.trigger(scheduler.NewRun{Workflow: "single"})[0].ID
	a := w.next()
	one, two := flow.ID(uuid.New()), flow.ID(uuid.New())
	b.logged(id, one, 1000, "Alpha", "beta", "ALPHABET", "gamma")
	lines, next, err := b.svc.Logs(b.ctx, id, scheduler.LogPage{Text: "alpha", PageSize: 10})
	if err != nil || len(lines) != 2 || next != nil {
		t.Errorf("search: %d lines, next %v, %v; want 2", len(lines), next, err)
	}
	if lines, _, err := b.svc.Logs(b.ctx, id, scheduler.LogPage{MinLevel: 3, PageSize: 10}); err != nil || len(lines) != 2 {
		t.Errorf("by level: %d lines, %v; want 2", len(lines), err)
	}
	got := make(chan scheduler.LogLines, 100)
	done := make(chan error, 1)
	go func() {
		done <- b.svc.WatchLogs(b.ctx, id, scheduler.LogPage{}, func(l scheduler.LogLines) error { got <- l; return nil })
	}()
	want := func(texts ...string) {
		t.Helper()
		for len(texts) > 0 {
			select {
			case m := <-got:
				for _, l := range m.Lines {
					if len(texts) == 0 || l.Message != texts[0] {
						t.Fatalf("line %q came, want %q", l.Message, texts)
					}
					texts = texts[1:]
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("lines %q never came", texts)
			}
		}
	}
	want("Alpha", "beta", "ALPHABET", "gamma")
	b.logged(id, two, 900, "from another attempt, with a clock behind")
	want("from another attempt, with a clock behind")
	w.complete(a, "1")
	b.logged(id, one, 2000, "last words")
	want("last words")
	if err := <-done; err != nil {
		t.Errorf("the tail of a final run ended with %v", err)
	}
}

// Row-level security and the tenant's own subjects keep a stranger out of every new read.
func TestAnotherTenantSeesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, ids := b.outcomes()
	var other int64
	if err := b.pool.QueryRow(b.ctx, "INSERT INTO tenants (public_id, slug, display_name) VALUES ($1, 'other', 'Other') RETURNING id", uuid.New()).Scan(&other); err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.Exec(b.ctx, "INSERT INTO tenant_shards VALUES ($1, 7)", other); err != nil {
		t.Fatal(err)
	}
	b.ctx = authn.With(b.ctx, authn.Principal{Kind: authn.KindAPI, TenantID: other, Role: "owner"})
	if got := b.list(scheduler.Filter{}); len(got) != 0 {
		t.Errorf("%d runs of another tenant", len(got))
	}
	if s, err := b.svc.Stats(b.ctx, "", scheduler.Window{}); err != nil || s.Queued+s.Running+s.Ended.Completed+s.Ended.Failed != 0 {
		t.Errorf("stats of another tenant: %+v, %v", s, err)
	}
	if q, err := b.svc.Queues(b.ctx, 10); err != nil || len(q) != 0 {
		t.Errorf("queues of another tenant: %v, %v", q, err)
	}
	errs, err := b.svc.CancelMany(b.ctx, ids, "")
	for i, e := range append(errs, b.svc.ReplayMany(b.ctx, ids)...) {
		if err != nil || !fault.Is(e, fault.CodeNotFound) {
			t.Errorf("run %d of another tenant: %v, %v", i, e, err)
		}
	}
	err = b.svc.WatchLogs(b.ctx, ids[0], scheduler.LogPage{}, func(scheduler.LogLines) error { return nil })
	if !fault.Is(err, fault.CodeNotFound) {
		t.Errorf("log of another tenant: %v", err)
	}
}
