package scheduler_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler"
)

type labels = map[string]string

// labelled reads the labels of a run, as it is read by itself and as it is listed.
func (b *bundle) labelled(id flow.ID) labels {
	b.t.Helper()
	v, err := b.svc.Get(b.ctx, id)
	if err != nil {
		b.t.Fatal(err)
	}
	views, _, err := b.svc.List(b.ctx, scheduler.Filter{From: id, PageSize: 1000})
	if err != nil || len(views) == 0 || views[len(views)-1].Top().ID != id {
		b.t.Fatalf("run %v is not listed: %v", id, err)
	}
	if listed := views[len(views)-1].Labels(); !maps.Equal(listed, v.Labels()) {
		b.t.Errorf("listed with the labels %v, read with %v", listed, v.Labels())
	}
	return v.Labels()
}

func TestLabelsStayWithTheirRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := labels{"env": "prod", "team/name": `O'Brien "<ö>" & co`, "empty": ""}
	made := b.trigger(
		scheduler.NewRun{Workflow: "single", Labels: want}, scheduler.NewRun{Workflow: "chain", Labels: want}, scheduler.NewRun{Workflow: "single", Labels: labels{}},
	)
	single, chain, none := made[0].ID, made[1].ID, made[2].ID
	check := func(when string) {
		t.Helper()
		for _, id := range []flow.ID{single, chain} {
			if got := b.labelled(id); !maps.Equal(got, want) {
				t.Errorf("%s the labels are %v", when, got)
			}
		}
		if got := b.labelled(none); len(got) != 0 {
			t.Errorf("%s a run without labels has %v", when, got)
		}
		for key, value := range want {
			if got := b.list(scheduler.Filter{Labels: labels{key: value}}); !slices.Equal(got, []flow.ID{chain, single}) {
				t.Errorf("%s %s=%s finds %v", when, key, value, got)
			}
		}
		if got := b.list(scheduler.Filter{Labels: labels{"env": ""}}); len(got) != 0 {
			t.Errorf("%s an empty value finds %v", when, got)
		}
	}
	check("new,")
	if rows := b.count("run_labels"); rows != 6 {
		t.Errorf("%d rows of labels, want 6", rows)
	}
	w := b.worker(10, "single/only", "chain/a", "chain/b", "chain/c")
	for range 5 {
		w.complete(w.next(), "1")
	}
	for _, d := range made {
		b.final(d.ID)
	}
	check("finished,")
	for _, d := range made {
		if _, err := b.svc.Replay(b.ctx, d.ID, nil); err != nil {
			t.Fatal(err)
		}
	}
	check("replayed,")
	for range 5 {
		w.complete(w.next(), "1")
	}
	for _, d := range made {
		b.final(d.ID)
	}
	check("finished again,")
	if rows := b.count("run_labels"); rows != 6 {
		t.Errorf("after a replay %d rows of labels, want 6", rows)
	}
}

func TestAChildHasItsOwnLabels(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker(1, "chain/a")
	b.trigger(scheduler.NewRun{Workflow: "chain", Labels: labels{"of": "the parent"}})
	a := w.next()
	parent, assignment := flow.ID(a.GetRunId()), flow.ID(a.GetAssignmentId())
	child := func(key string, l labels) scheduler.NewRun {
		return scheduler.NewRun{Workflow: "single", Labels: l, Parent: &scheduler.Parent{RunID: parent, Task: "a", Assignment: assignment, Key: key}}
	}
	made := b.trigger(child("k", nil), child("l", labels{"of": "the child"}))
	for i, want := range []labels{nil, {"of": "the child"}} {
		if made[i].Err != nil {
			t.Fatal(made[i].Err)
		}
		if got := b.labelled(made[i].ID); !maps.Equal(got, want) {
			t.Errorf("child %d has the labels %v, want %v", i, got, want)
		}
	}
	if got := b.list(scheduler.Filter{Parent: parent, Labels: labels{"of": "the child"}}); !slices.Equal(got, []flow.ID{made[1].ID}) {
		t.Errorf("among the children the label finds %v", got)
	}
}

// Labels are part of what a caller says of a run: the same id with others is another request.
func TestSameIDWithOtherLabels(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := flow.ID(uuid.Must(uuid.NewV7()))
	run := func(l labels) scheduler.Triggered {
		return b.trigger(scheduler.NewRun{ID: id, Workflow: "single", Labels: l})[0]
	}
	if first, again := run(labels{"a": "1", "b": "2"}), run(labels{"b": "2", "a": "1"}); !first.Created || again.Created || again.Err != nil {
		t.Errorf("the same labels: %+v then %+v", first, again)
	}
	for _, other := range []labels{nil, {"a": "1"}, {"a": "1", "b": "3"}, {"a": "1", "b": "2", "c": ""}} {
		if got := run(other); !fault.Is(got.Err, fault.CodeAlreadyExists) {
			t.Errorf("with %v: %+v", other, got)
		}
	}
}

func TestLabelsOfAnotherTenantAreNotSeen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mine := labels{"env": "prod"}
	b.trigger(scheduler.NewRun{Workflow: "single", Labels: mine})
	var other int64
	if err := b.pool.QueryRow(b.ctx, "INSERT INTO tenants (public_id, slug, display_name) VALUES ($1, 'other', 'Other') RETURNING id", uuid.New()).Scan(&other); err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.Exec(b.ctx, "INSERT INTO tenant_shards VALUES ($1, 7)", other); err != nil {
		t.Fatal(err)
	}
	b.ctx = authn.With(b.ctx, authn.Principal{Kind: authn.KindAPI, TenantID: other, Role: "owner"})
	if got := b.list(scheduler.Filter{Labels: mine}); len(got) != 0 {
		t.Errorf("%d runs of another tenant", len(got))
	}
	own := b.trigger(scheduler.NewRun{Workflow: "single", Labels: mine})[0].ID
	if got := b.list(scheduler.Filter{Labels: mine}); !slices.Equal(got, []flow.ID{own}) {
		t.Errorf("%v, want the tenant's own run alone", got)
	}
}

// The stream tells of runs with the labels alone, and its token goes on over what it did not tell.
func TestAStreamTellsOfLabelledRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	messages := make(chan scheduler.RunChanges, 1000)
	go func() {
		_ = b.svc.WatchAll(b.ctx, "", labels{"env": "prod"}, "", func(c scheduler.RunChanges) error { messages <- c; return nil }) // it ends with the test
	}()
	if first := <-messages; !first.Reset {
		t.Fatalf("the first message is %+v, want reset", first)
	}
	b.trigger(scheduler.NewRun{Workflow: "single", Labels: labels{"env": "dev"}}, scheduler.NewRun{Workflow: "single"})
	id := b.trigger(scheduler.NewRun{Workflow: "single", Labels: labels{"env": "prod", "x": "y"}})[0].ID
	patience := time.After(10 * time.Second)
	for {
		select {
		case m := <-messages:
			for _, v := range m.Views {
				if v.Top().ID != id {
					t.Errorf("told of run %v with the labels %v", v.Top().ID, v.Labels())
				}
			}
			if len(m.Views) > 0 {
				return
			}
		case <-patience:
			t.Fatal("the stream never told of the run")
		}
	}
}

// population is runs of all states with labels from a common to a rare one, newest first.
func (b *bundle) population() (views []*scheduler.RunView) {
	b.t.Helper()
	var runs []scheduler.NewRun
	add := func(n int, workflow string) {
		for i := range n {
			l := labels{"all": "yes", "half": fmt.Sprint(i % 2)}
			if i%37 == 0 {
				l["rare"] = "yes"
			}
			if i%5 == 0 {
				l = nil
			}
			runs = append(runs, scheduler.NewRun{Workflow: workflow, Labels: l})
		}
	}
	add(60, "single")
	var ids []flow.ID
	for _, d := range b.trigger(runs...) {
		ids = append(ids, d.ID)
	}
	w := b.worker(1, "single/only")
	for i := range ids[:50] {
		a := w.next()
		if i%9 == 4 {
			w.report(a, busv1.ReportKind_REPORT_KIND_FAILED, func(r *busv1.ReportItem) { r.NeverRetry = true })
		} else {
			w.complete(a, "1")
		}
	}
	w.report(w.next(), busv1.ReportKind_REPORT_KIND_STARTED, nil)
	runs = nil
	add(60, "chain")
	add(60, "single")
	for i, d := range b.trigger(runs...) {
		if ids = append(ids, d.ID); i%3 == 0 {
			if _, err := b.svc.Cancel(b.ctx, d.ID, "", nil); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	for _, id := range ids {
		v, err := b.svc.Get(b.ctx, id)
		if err != nil {
			b.t.Fatal(err)
		}
		views = append([]*scheduler.RunView{v}, views...)
	}
	return views
}

// Whatever the filter and the size of its pages, they are together what fits it, newest first, each run once.
func TestPagesOfLabelledRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := b.population()
	rapid.Check(t, func(rt *rapid.T) {
		f := scheduler.Filter{
			Labels: rapid.SampledFrom([]labels{
				{"all": "yes"}, {"half": "1"}, {"rare": "yes"}, {"all": "yes", "rare": "yes"}, {"half": "0", "rare": "yes"}, {"all": "no"}, {"half": "0", "rare": ""},
			}).Draw(rt, "labels"),
			Workflow: rapid.SampledFrom([]string{"", "single", "chain"}).Draw(rt, "workflow"),
			States:   rapid.SliceOfNDistinct(rapid.SampledFrom(flow.RunStates()), 0, 3, rapid.ID).Draw(rt, "states"),
			PageSize: rapid.IntRange(1, 40).Draw(rt, "page size"),
		}
		if rapid.Bool().Draw(rt, "from") {
			f.From = all[rapid.IntRange(0, len(all)-1).Draw(rt, "oldest")].Top().ID
		}
		var want, got []flow.ID
		for _, v := range all {
			fits := (f.Workflow == "" || v.Plan.Workflow.Name == f.Workflow) && (len(f.States) == 0 || slices.Contains(f.States, v.Status())) &&
				v.Top().ID.String() >= f.From.String()
			have := v.Labels()
			for key, value := range f.Labels {
				if one, ok := have[key]; !ok || one != value {
					fits = false
				}
			}
			if fits {
				want = append(want, v.Top().ID)
			}
		}
		for pages := 0; ; pages++ {
			views, next, err := b.svc.List(b.ctx, f)
			if err != nil || len(views) > f.PageSize || pages > len(all) {
				rt.Fatalf("page %d has %d runs: %v", pages, len(views), err)
			}
			for _, v := range views {
				got = append(got, v.Top().ID)
			}
			if next.IsZero() {
				break
			}
			f.Before = next
		}
		if !slices.Equal(got, want) {
			rt.Errorf("%d runs, want %d", len(got), len(want))
		}
	})
}

func TestLabelsGoWithTheirPartition(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.trigger(scheduler.NewRun{Workflow: "single", Labels: labels{"env": "prod"}})
	drop := func(before time.Time) {
		t.Helper()
		const width = 3 * 24 * time.Hour // of the class standard
		if _, err := b.pool.Exec(b.ctx, "SELECT drop_partitions(2::smallint, $1, $2)", before.UnixMilli(), width.Milliseconds()); err != nil {
			t.Fatal(err)
		}
	}
	if drop(time.Now()); b.count("run_labels") != 1 {
		t.Error("the label of a run within its retention is gone")
	}
	const aMonth = 30 * 24 * time.Hour
	if drop(time.Now().Add(aMonth)); b.count("run_labels") != 0 {
		t.Error("the label is kept beyond its run's retention")
	}
}
