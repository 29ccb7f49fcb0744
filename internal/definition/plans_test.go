package definition_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/embedded"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/testkit"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// counted counts the queries that reach the database, and may hold one back.
type counted struct {
	sharedq.DBTX
	queries atomic.Int64
	before  func(ctx context.Context) error // nil: nothing
}

func (c *counted) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	c.queries.Add(1)
	if c.before != nil {
		if err := c.before(ctx); err != nil {
			return failedRow{err}
		}
	}
	return c.DBTX.QueryRow(ctx, sql, args...)
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

type plansBundle struct {
	pool   *pgxpool.Pool
	db     *counted
	server *embedded.NATS
	plans  *definition.Plans
	now    *atomic.Int64 // nanoseconds
	tenant int64
}

func setupPlans(t *testing.T, edit func(*definition.PlansConfig)) *plansBundle {
	t.Helper()
	b := &plansBundle{pool: testkit.Database(t), server: testkit.NATS(t), now: &atomic.Int64{}}
	b.db = &counted{DBTX: b.pool}
	cfg := definition.PlansConfig{
		DB: b.db, Bus: testkit.BusOn(t, b.server), Log: testkit.Logger(t),
		Now: func() time.Time { return time.Unix(1_800_000_000, b.now.Load()) },
	}
	if edit != nil {
		edit(&cfg)
	}
	plans, err := definition.NewPlans(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plans.Close)
	b.plans = plans
	b.tenant = b.insertTenant(t, "acme")
	return b
}

func (b *plansBundle) exec(t *testing.T, sql string, args ...any) pgconn.CommandTag {
	t.Helper()
	tag, err := b.pool.Exec(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

func (b *plansBundle) insertTenant(t *testing.T, slug string) (id int64) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), "insert into tenants (public_id, slug, display_name) values (gen_random_uuid(), $1, $1) returning id", slug).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// insert stores a workflow with one version, as the registry would.
func (b *plansBundle) insert(t *testing.T, tenant int64, spec *registryv1.WorkflowSpec) (id int64) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), "insert into workflows (tenant_id, public_id, name, newest_version) values ($1, gen_random_uuid(), $2, 0) returning id",
		tenant, spec.GetName()).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	b.addVersion(t, tenant, id, spec)
	return id
}

func (b *plansBundle) addVersion(t *testing.T, tenant, id int64, spec *registryv1.WorkflowSpec) {
	t.Helper()
	data, err := proto.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, "update workflows set newest_version = newest_version + 1 where tenant_id = $1 and id = $2", tenant, id)
	b.exec(t, `insert into workflow_versions (tenant_id, workflow_id, version, digest, spec)
		select tenant_id, id, newest_version, '', $3 from workflows where tenant_id = $1 and id = $2`, tenant, id, data)
}

func (b *plansBundle) newest(t *testing.T, name string) int {
	t.Helper()
	_, version, err := b.plans.Newest(t.Context(), b.tenant, name)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func TestPlansGet(t *testing.T) {
	t.Parallel()
	b := setupPlans(t, nil)
	spec := valid()
	spec.InputSchemaJson = `{"type": "object"}`
	id := b.insert(t, b.tenant, spec)
	v, err := b.plans.Get(t.Context(), b.tenant, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	if v.Plan.WorkflowID != id || v.Plan.Version != 1 || v.Plan.Workflow.Name != "orders" || len(v.Plan.Children[0]) != 1 {
		t.Errorf("plan %+v", v.Plan)
	}
	if faults := v.Schema.Validate([]byte("1")); len(faults) != 1 {
		t.Errorf("the schema accepts 1: %v", faults)
	}
	again, err := b.plans.Get(t.Context(), b.tenant, id, 1)
	if err != nil || again != v || b.db.queries.Load() != 1 {
		t.Errorf("the second Get gives %p, %v after %d queries, want %p after one", again, err, b.db.queries.Load(), v)
	}
	other := b.insertTenant(t, "other")
	for _, c := range []struct {
		tenant  int64
		version int
	}{{b.tenant, 2}, {other, 1}} {
		if _, err := b.plans.Get(t.Context(), c.tenant, id, c.version); !fault.Is(err, fault.CodeNotFound) {
			t.Errorf("Get(tenant %d, version %d) = %v, want NotFound", c.tenant, c.version, err)
		}
	}
}

func TestPlansAreBounded(t *testing.T) {
	t.Parallel()
	b := setupPlans(t, func(cfg *definition.PlansConfig) { cfg.MaxBytes = 3 << 10 }) // room for two small ones
	id := b.insert(t, b.tenant, valid())
	b.addVersion(t, b.tenant, id, valid())
	b.addVersion(t, b.tenant, id, valid())
	for i, step := range []struct{ version, queries int }{{1, 1}, {2, 2}, {1, 2}, {3, 3}, {1, 3}, {2, 4}} {
		if _, err := b.plans.Get(t.Context(), b.tenant, id, step.version); err != nil {
			t.Fatal(err)
		}
		if got := b.db.queries.Load(); got != int64(step.queries) {
			t.Errorf("step %d: %d queries after version %d, want %d", i, got, step.version, step.queries)
		}
	}
}

// Many callers that want the same version wait for one read.
func TestPlansReadOnce(t *testing.T) {
	t.Parallel()
	b := setupPlans(t, nil)
	id := b.insert(t, b.tenant, valid())
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.db.before = func(context.Context) error {
		once.Do(func() { close(entered) })
		<-release
		return nil
	}
	var wait sync.WaitGroup
	get := func() {
		if _, err := b.plans.Get(t.Context(), b.tenant, id, 1); err != nil {
			t.Error(err)
		}
	}
	wait.Go(get)
	<-entered
	for range 20 {
		wait.Go(get)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.plans.Get(ended, b.tenant, id, 1); err == nil {
		t.Error("a caller whose context has ended waited")
	}
	close(release)
	wait.Wait()
	if got := b.db.queries.Load(); got != 1 {
		t.Errorf("%d queries, want 1", got)
	}
}

// Whoever waits for another caller's read does not fail with that caller.
func TestPlansOutliveACancelledReader(t *testing.T) {
	t.Parallel()
	b := setupPlans(t, nil)
	id := b.insert(t, b.tenant, valid())
	entered := make(chan struct{})
	var first atomic.Bool
	b.db.before = func(ctx context.Context) error {
		if first.CompareAndSwap(false, true) {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := b.plans.Get(ctx, b.tenant, id, 1); err == nil {
			t.Error("the cancelled caller got an answer")
		}
	})
	<-entered
	wait.Go(func() {
		if _, err := b.plans.Get(t.Context(), b.tenant, id, 1); err != nil {
			t.Errorf("the caller that waited: %v", err)
		}
	})
	cancel()
	wait.Wait()
}

func TestPlansTellOfOldRules(t *testing.T) {
	t.Parallel()
	b := setupPlans(t, nil)
	spec := valid()
	spec.Tasks = nil
	id := b.insert(t, b.tenant, spec)
	if _, err := b.plans.Get(t.Context(), b.tenant, id, 1); !fault.HasReason(err, "WORKFLOW_OUTDATED") {
		t.Errorf("a declaration without tasks: %v", err)
	}
	b.exec(t, "update workflow_versions set spec = 'no protobuf'")
	if _, err := b.plans.Get(t.Context(), b.tenant, id, 1); !fault.Is(err, fault.CodeInternal) {
		t.Errorf("bytes that are no protobuf: %v", err)
	}
}

func TestNewest(t *testing.T) {
	t.Parallel()
	b := setupPlans(t, nil)
	for _, name := range []string{"orders", "", "no name", "a\x00b"} {
		if _, _, err := b.plans.Newest(t.Context(), b.tenant, name); !fault.Is(err, fault.CodeNotFound) {
			t.Fatalf("Newest(%q) = %v, want NotFound", name, err)
		}
	}
	id := b.insert(t, b.tenant, valid()) // a name that was unknown a moment ago is found at once
	got, version, err := b.plans.Newest(t.Context(), b.tenant, "orders")
	if err != nil || got != id || version != 1 {
		t.Fatalf("Newest = %d, %d, %v, want %d, 1", got, version, err, id)
	}
	if _, _, err := b.plans.Newest(t.Context(), b.insertTenant(t, "other"), "orders"); !fault.Is(err, fault.CodeNotFound) {
		t.Errorf("another tenant's workflow: %v", err)
	}

	b.addVersion(t, b.tenant, id, valid())
	before := b.db.queries.Load()
	if v := b.newest(t, "orders"); v != 1 || b.db.queries.Load() != before {
		t.Errorf("version %d after %d queries, want the remembered 1", v, b.db.queries.Load()-before)
	}
	b.now.Add(int64(2 * time.Second)) // the hint was lost
	if v := b.newest(t, "orders"); v != 2 {
		t.Errorf("version %d after 2 s, want 2", v)
	}
	b.addVersion(t, b.tenant, id, valid())
	b.plans.Forget(b.tenant, "orders")
	if v := b.newest(t, "orders"); v != 3 {
		t.Errorf("version %d after Forget, want 3", v)
	}
}

// A hint from another process makes the next call read again.
func TestNewestHearsHints(t *testing.T) {
	t.Parallel()
	heard := make(chan struct{}, 1)
	b := setupPlans(t, nil)
	id := b.insert(t, b.tenant, valid())
	listener := testkit.BusOn(t, b.server)
	plans, err := definition.NewPlans(definition.PlansConfig{DB: b.db, Bus: hearing{listener, heard}, Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer plans.Close()
	if _, _, err := plans.Newest(t.Context(), b.tenant, "orders"); err != nil {
		t.Fatal(err)
	}
	b.addVersion(t, b.tenant, id, valid())
	if err := testkit.BusOn(t, b.server).Publish(definition.ChangedSubject(b.tenant), []byte("orders")); err != nil {
		t.Fatal(err)
	}
	<-heard
	if _, v, err := plans.Newest(t.Context(), b.tenant, "orders"); err != nil || v != 2 {
		t.Errorf("version %d, %v after the hint, want 2", v, err)
	}
}

// hearing tells when a subscriber has handled a message.
type hearing struct {
	bus.Bus
	heard chan<- struct{}
}

func (h hearing) Subscribe(subject string, handle func(bus.Msg)) (bus.Subscription, error) {
	return h.Bus.Subscribe(subject, func(msg bus.Msg) {
		handle(msg)
		h.heard <- struct{}{}
	})
}

// A read that began before a change is not remembered after it.
func TestNewestForgetsReadsUnderWay(t *testing.T) {
	t.Parallel()
	b := setupPlans(t, nil)
	id := b.insert(t, b.tenant, valid())
	b.db.before = func(context.Context) error {
		b.plans.Forget(b.tenant, "orders")
		return nil
	}
	b.newest(t, "orders")
	b.db.before = nil
	b.addVersion(t, b.tenant, id, valid())
	if v := b.newest(t, "orders"); v != 2 {
		t.Errorf("version %d, want 2", v)
	}
}

func TestNewestIsBounded(t *testing.T) {
	t.Parallel()
	b := setupPlans(t, func(cfg *definition.PlansConfig) { cfg.MaxNames = 2 })
	for i := range 3 {
		spec := valid()
		spec.Name = fmt.Sprintf("w%d", i)
		b.insert(t, b.tenant, spec)
		b.newest(t, spec.GetName())
	}
	before := b.db.queries.Load()
	b.newest(t, "w2")
	b.newest(t, "w0")
	if got := b.db.queries.Load() - before; got != 1 {
		t.Errorf("%d queries, want one for the name that was forgotten", got)
	}
}
