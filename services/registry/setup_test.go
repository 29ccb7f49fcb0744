package registry_test

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/testkit"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/services/registry"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type bundle struct {
	svc  *registry.Service
	pool *pgxpool.Pool
	bus  *bus.NATS
	ctx  context.Context // of a caller in the first tenant
	// other is the context of a caller in another tenant.
	other    context.Context
	tenantID int64

	mu      sync.Mutex
	changed []string // names that Config.Changed was called with
}

func setup(t *testing.T, edit func(*registry.Config)) *bundle {
	t.Helper()
	b := &bundle{pool: testkit.Database(t), bus: testkit.Bus(t)}
	cfg := registry.Config{Pool: b.pool, Bus: b.bus, Log: testkit.Logger(t), Changed: func(_ int64, name string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed = append(b.changed, name)
	}}
	if edit != nil {
		edit(&cfg)
	}
	svc, err := registry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.svc = svc
	b.ctx, b.tenantID = b.caller(t, "acme")
	b.other, _ = b.caller(t, "other")
	return b
}

func (b *bundle) caller(t *testing.T, slug string) (context.Context, int64) {
	t.Helper()
	var id int64
	err := b.pool.QueryRow(t.Context(), "insert into tenants (public_id, slug, display_name) values (gen_random_uuid(), $1, $1) returning id", slug).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return authn.With(t.Context(), authn.Principal{Kind: authn.KindAPI, TenantID: id, Role: "developer"}), id
}

func spec(name, description string) *registryv1.WorkflowSpec {
	return &registryv1.WorkflowSpec{Name: name, Description: description, Tasks: []*registryv1.TaskSpec{{Name: "only"}}}
}

func (b *bundle) put(t *testing.T, s *registryv1.WorkflowSpec) registry.Workflow {
	t.Helper()
	w, _, err := b.svc.Put(b.ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (b *bundle) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
