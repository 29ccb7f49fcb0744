package lease_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestATenantsEpochsRiseWhereverItMoves(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	var tenant int64
	if err := pool.QueryRow(t.Context(), "INSERT INTO tenants (public_id, slug, display_name) VALUES ($1, 'acme', 'Acme') RETURNING id", uuid.New()).Scan(&tenant); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "INSERT INTO tenant_shards VALUES ($1, 3)", tenant); err != nil {
		t.Fatal(err)
	}
	a, b := owner(t, pool), owner(t, pool)
	for range 5 {
		take(t, a, 3, flow.ID{})
	}
	here, _ := take(t, a, 3, flow.ID{})
	before, _ := take(t, b, 4, flow.ID{})
	if from, err := b.MoveTenant(t.Context(), tenant, 4); err != nil || from != 3 {
		t.Fatalf("moved from %d: %v", from, err)
	}
	own, _, err := a.Renew(t.Context())
	if err != nil || len(own) != 1 || own[0].Epoch <= here.Epoch {
		t.Errorf("the old owner's epoch goes on: %+v, %v", own, err)
	}
	there, _, err := b.Renew(t.Context())
	if err != nil || len(there) != 1 || there[0].Epoch <= before.Epoch || there[0].Epoch <= own[0].Epoch {
		t.Errorf("the new owner's epoch is %+v, %v", there, err)
	}
	// A shard that nobody owns is not clean any more: what the tenant's owner has sent may not be recorded.
	if _, err := b.MoveTenant(t.Context(), tenant, 9); err != nil {
		t.Fatal(err)
	}
	if l, ok := take(t, a, 9, flow.ID{}); !ok || l.Clean || l.Epoch <= there[0].Epoch {
		t.Errorf("the shard was taken as %+v, %v", l, ok)
	}
	if from, err := b.MoveTenant(t.Context(), tenant, 9); err != nil || from != 9 {
		t.Errorf("a move to where it is: %d, %v", from, err)
	}
	if _, err := b.MoveTenant(t.Context(), tenant, 64); !fault.Is(err, fault.CodeNotFound) {
		t.Errorf("a shard that does not exist: %v", err)
	}
	if _, err := b.MoveTenant(t.Context(), tenant+1, 3); !fault.Is(err, fault.CodeNotFound) {
		t.Errorf("a tenant that does not exist: %v", err)
	}
}

// A stopped owner holds its lock in the middle of a commit; the move ends its backend as a take-over does.
func TestAMoveDoesNotWaitForAStoppedOwner(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	var tenant int64
	if err := pool.QueryRow(t.Context(), "INSERT INTO tenants (public_id, slug, display_name) VALUES ($1, 'acme', 'Acme') RETURNING id", uuid.New()).Scan(&tenant); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "INSERT INTO tenant_shards VALUES ($1, 3)", tenant); err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock_shared(7320, 3)"); err != nil {
		t.Fatal(err)
	}
	if _, err := owner(t, pool).MoveTenant(t.Context(), tenant, 5); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("the stopped owner's commit went through")
	}
}
