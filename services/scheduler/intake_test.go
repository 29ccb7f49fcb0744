package scheduler

import (
	"context"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/testkit"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// byTenant counts what it is given, as an engine that inserts a run for each trigger.
type byTenant struct{ seq int64 }

func (*byTenant) LoadTenant(time.Time, int64) engine.Output { return engine.Output{} }
func (*byTenant) HandOver(time.Time) engine.Output          { return engine.Output{} }
func (*byTenant) Settled() bool                             { return true }

func (c *byTenant) Step(_ time.Time, in []engine.Input) engine.Output {
	c.seq++
	out := engine.Output{Seq: c.seq}
	for _, i := range in {
		switch i := i.(type) {
		case *engine.Trigger:
			out.Changes = append(out.Changes, &engine.InsertRun{Rows: []engine.Row{{RunKey: engine.RunKey{Tenant: i.Tenant}}}})
			out.Effects = append(out.Effects, &engine.TriggerReply{To: i.To, ID: i.ID})
		case *engine.Report:
			out.Changes = append(out.Changes, &engine.FinishRun{Rows: []engine.Row{{RunKey: engine.RunKey{Tenant: i.Tenant}}}})
			out.Effects = append(out.Effects, &engine.VerdictReply{To: i.To, Verdict: engine.Accepted})
		}
	}
	return out
}

// commits keeps what an owner wants written, and never answers by itself.
type commits struct {
	outside

	begun []*batch
}

func (c *commits) begin(_ context.Context, b *batch) { c.begun = append(c.begun, b) }

// written counts the newest batch's new and finished runs by tenant.
func (c *commits) written() (inserted, finished map[int64]int) {
	inserted, finished = make(map[int64]int), make(map[int64]int)
	for _, p := range c.begun[len(c.begun)-1].parts {
		for _, change := range p.changes {
			switch change := change.(type) {
			case *engine.InsertRun:
				inserted[change.Rows[0].Tenant]++
			case *engine.FinishRun:
				finished[change.Rows[0].Tenant]++
			}
		}
	}
	return inserted, finished
}

// A tenant's bulk calls are spread over batches; another tenant's run and the reports of workers leave with the next one.
func TestBulkCallsHoldUpNobody(t *testing.T) {
	t.Parallel()
	const flooding, quiet = 1, 2
	out := &commits{}
	o := newOwner(Config{Bus: testkit.Bus(t), Log: testkit.Logger(t)}.WithDefaults(), make(chan struct{}))
	out.outside, o.outside = o.outside, out
	s := &shard{id: 1, core: &byTenant{}}
	o.shards[1] = s
	var calls []*call
	ask := func(ctx context.Context, tenant int64, runs, reports int) *call {
		c := &call{shard: s, tenant: tenant, done: make(chan error, 1)}
		o.hearRequest(envelope{shard: s, call: c, ctx: ctx, runs: runs, inputs: func(ref func(int32) engine.Ref) (in []engine.Input) {
			for i := range runs {
				in = append(in, &engine.Trigger{To: ref(int32(i)), Tenant: tenant}) //nolint:gosec // few
			}
			for i := range reports {
				in = append(in, &engine.Report{To: ref(int32(i)), Tenant: tenant}) //nolint:gosec // few
			}
			return in
		}})
		o.startCommit(t.Context())
		calls = append(calls, c)
		return c
	}
	next := func() (inserted, finished map[int64]int) {
		t.Helper()
		before := len(out.begun)
		o.afterCommit(t.Context(), committed{batch: out.begun[before-1]})
		o.startCommit(t.Context())
		if len(out.begun) != before+1 {
			t.Fatalf("%d batches have begun, want %d", len(out.begun), before+1)
		}
		return out.written()
	}
	gone, leave := context.WithCancel(t.Context())
	for range 4 {
		ask(t.Context(), flooding, 600, 0)
	}
	dropped := ask(gone, flooding, 600, 0)
	leave()
	ask(t.Context(), quiet, 1, 0)
	ask(t.Context(), flooding, 0, 50)
	if inserted, _ := out.written(); inserted[flooding] != 600 {
		t.Errorf("the first batch has %v new runs, want the first call alone", inserted)
	}
	if inserted, finished := next(); inserted[flooding] != 1200 || inserted[quiet] != 1 || finished[flooding] != 50 {
		t.Errorf("the second batch has %v new and %v finished runs, want two of the bulk calls, the other tenant's run and the reports", inserted, finished)
	}
	if inserted, _ := next(); inserted[flooding] != 600 {
		t.Errorf("the third batch has %v new runs, want the last call whose caller is there", inserted)
	}
	o.afterCommit(t.Context(), committed{batch: out.begun[2]})
	for i, c := range calls {
		if answered := len(c.done) == 1; answered == (c == dropped) {
			t.Errorf("call %d is answered: %v", i, answered)
		}
	}
}
