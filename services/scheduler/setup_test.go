package scheduler_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/testkit"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// workflows is a registry of fixed plans.
type workflows map[string]*flow.Plan

func (w workflows) Plan(_ context.Context, _, id int64, _ int) (*flow.Plan, error) {
	for _, p := range w {
		if p.WorkflowID == id {
			return p, nil
		}
	}
	return nil, fault.NotFound("workflow", fmt.Sprint(id))
}

func (w workflows) Resolve(_ context.Context, _ int64, name string, _ int) (*flow.Plan, error) {
	if p := w[name]; p != nil {
		return p, nil
	}
	return nil, fault.NotFound("workflow", name)
}

func (w workflows) CheckInput(context.Context, int64, *flow.Plan, []byte) error { return nil }

func plan(t *testing.T, id int64, name string, tasks ...flow.Task) *flow.Plan {
	t.Helper()
	for i := range tasks {
		if tasks[i].Queue == "" {
			tasks[i].Queue = name
		}
		tasks[i].ExecutionTimeout = time.Minute
		tasks[i].MaxLost = 3
	}
	p, faults := flow.NewPlan(&flow.Workflow{Name: name, Tasks: tasks, Priority: 4, Class: flow.Standard})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	p.WorkflowID, p.Version = id, 1
	return p
}

// bundle is one scheduler on a database of its own, with a tenant.
type bundle struct {
	t      *testing.T
	change []func(*scheduler.Config)
	ctx    context.Context
	pool   *pgxpool.Pool
	bus    *bus.NATS
	svc    *scheduler.Service
	plans  workflows
	tenant int64
	caller *lease.Caller
	stop   func()
}

func setup(t *testing.T, change ...func(*scheduler.Config)) *bundle {
	t.Helper()
	b := &bundle{t: t, change: change, pool: testkit.Database(t), bus: testkit.Bus(t)}
	b.plans = workflows{
		"single": plan(t, 1, "single", flow.Task{Name: "only", Retry: flow.Retry{Max: 2, Initial: time.Millisecond, Factor: 1, MaxBackoff: time.Millisecond}}),
		"chain":  plan(t, 2, "chain", flow.Task{Name: "a"}, flow.Task{Name: "b", Parents: []string{"a"}}, flow.Task{Name: "c", Parents: []string{"b"}}),
	}
	public := uuid.New()
	err := b.pool.QueryRow(t.Context(), "INSERT INTO tenants (public_id, slug, display_name) VALUES ($1, 'acme', 'Acme') RETURNING id", public).Scan(&b.tenant)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.Exec(t.Context(), "INSERT INTO tenant_shards VALUES ($1, 7)", b.tenant); err != nil {
		t.Fatal(err)
	}
	b.ctx = authn.With(t.Context(), authn.Principal{Kind: authn.KindAPI, TenantID: b.tenant, Role: "owner"})
	b.caller = &lease.Caller{Bus: b.bus, Directory: lease.NewDirectory(b.pool)}
	b.start()
	return b
}

// start runs a scheduler until stop, or the test's end.
func (b *bundle) start() {
	b.t.Helper()
	cfg := scheduler.Config{
		Pool: b.pool, Bus: b.bus, Workflows: b.plans, Log: testkit.Logger(b.t), Instance: flow.ID(uuid.New()), Engine: engine.Config{Hold: 1000},
	}
	for _, f := range b.change {
		f(&cfg)
	}
	svc, err := scheduler.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.svc = svc
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(func() { b.stop() })
}

func (b *bundle) trigger(runs ...scheduler.NewRun) []scheduler.Triggered {
	b.t.Helper()
	for i := range runs {
		runs[i].Priority = -1
	}
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	out, err := b.svc.Trigger(ctx, runs)
	if err != nil {
		b.t.Fatal(fault.Detail(err))
	}
	return out
}

// worker is a fake dispatcher with one session: it collects assignments, and reports what the test decides.
type worker struct {
	b           *bundle
	id          flow.ID
	assignments chan *busv1.OrderedAssignment
	cancels     chan *busv1.OrderedCancel
}

func (b *bundle) worker(slots int32, actions ...string) *worker {
	b.t.Helper()
	w := &worker{b: b, id: flow.ID(uuid.New()), assignments: make(chan *busv1.OrderedAssignment, 10_000), cancels: make(chan *busv1.OrderedCancel, 100)}
	name := uuid.NewString()
	sub, err := b.bus.Subscribe("tenon.dispatcher."+name, func(m bus.Msg) {
		order := new(busv1.DispatcherOrder)
		if err := proto.Unmarshal(m.Data, order); err != nil {
			b.t.Error(err)
		}
		for _, s := range order.GetSessions() {
			for _, a := range s.GetAssignments() {
				w.assignments <- a
			}
			for _, c := range s.GetCancels() {
				w.cancels <- c
			}
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(sub.Stop)
	reply := b.call(&busv1.ShardRequest{Kind: &busv1.ShardRequest_OpenSession{OpenSession: &busv1.OpenSession{
		WorkerId: w.id[:], Session: 1, Dispatcher: name, Actions: actions, Slots: slots,
	}}})
	if e := reply.GetSession().GetError(); e != nil {
		b.t.Fatal(e)
	}
	return w
}

func (b *bundle) call(req *busv1.ShardRequest) *busv1.ShardReply {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	reply, _, err := b.caller.Call(ctx, b.tenant, req)
	if err != nil {
		b.t.Fatal(err)
	}
	return reply
}

func (w *worker) next() *busv1.OrderedAssignment {
	w.b.t.Helper()
	select {
	case a := <-w.assignments:
		return a
	case <-time.After(10 * time.Second):
		w.b.t.Fatal("no assignment came")
		return nil
	}
}

func (w *worker) report(a *busv1.OrderedAssignment, kind busv1.ReportKind, change func(*busv1.ReportItem)) int32 {
	w.b.t.Helper()
	item := &busv1.ReportItem{AssignmentId: a.GetAssignmentId(), RunId: a.GetRunId(), TaskNo: a.GetTaskNo(), Generation: a.GetGeneration(), Attempt: a.GetAttempt(), Kind: kind}
	if change != nil {
		change(item)
	}
	reply := w.b.call(&busv1.ShardRequest{Kind: &busv1.ShardRequest_Reports{Reports: &busv1.Reports{WorkerId: w.id[:], Session: 1, Items: []*busv1.ReportItem{item}}}})
	return reply.GetReports().GetVerdicts()[0]
}

func (w *worker) complete(a *busv1.OrderedAssignment, output string) int32 {
	w.b.t.Helper()
	return w.report(a, busv1.ReportKind_REPORT_KIND_COMPLETED, func(i *busv1.ReportItem) { i.Output = &busv1.Payload{Json: []byte(output)} })
}

func (b *bundle) final(id flow.ID) *scheduler.RunView {
	b.t.Helper()
	var out *scheduler.RunView
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	err := b.svc.Await(ctx, []flow.ID{id}, nil, func(views []*scheduler.RunView) error {
		for _, v := range views {
			out = v
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *bundle) count(table string) (n int) {
	b.t.Helper()
	if err := b.pool.QueryRow(b.t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}
