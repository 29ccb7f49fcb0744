package lease_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func owner(t *testing.T, pool *pgxpool.Pool) *lease.Store {
	t.Helper()
	return &lease.Store{Pool: pool, Owner: flow.ID(uuid.New()), Log: testkit.Logger(t)}
}

func take(t *testing.T, s *lease.Store, shard int32, gone flow.ID) (lease.Lease, bool) {
	t.Helper()
	l, ok, err := s.Take(t.Context(), shard, gone)
	if err != nil {
		t.Fatal(err)
	}
	return l, ok
}

func TestAShardHasOneOwner(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	a, b := owner(t, pool), owner(t, pool)
	first, ok := take(t, a, 3, flow.ID{})
	if !ok || !first.Clean {
		t.Fatalf("a free shard: %+v, %v", first, ok)
	}
	if _, ok := take(t, b, 3, flow.ID{}); ok {
		t.Fatal("the shard of a living owner was taken")
	}
	if _, ok := take(t, b, 3, b.Owner); ok {
		t.Fatal("a shard was taken on evidence against somebody else")
	}
	again, ok := take(t, a, 3, flow.ID{})
	if !ok || again.Epoch != first.Epoch+1 || again.Clean {
		t.Fatalf("the owner's own take: %+v, %v", again, ok)
	}
	taken, ok := take(t, b, 3, a.Owner)
	if !ok || taken.Epoch != again.Epoch+1 || taken.Clean {
		t.Fatalf("on evidence: %+v, %v", taken, ok)
	}
	own, all, err := a.Renew(t.Context())
	if err != nil || len(own) != 0 || all[3].Owner != b.Owner || all[3].Free || !all[4].Free {
		t.Fatalf("the old owner keeps %v of %+v, %v", own, all[:5], err)
	}
}

func TestReleasedShardsAreFreeAtOnce(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	a, b := owner(t, pool), owner(t, pool)
	var mine []lease.Lease
	for shard := range int32(3) {
		l, _ := take(t, a, shard, flow.ID{})
		mine = append(mine, l)
	}
	if err := a.Release(t.Context(), mine[:1], true); err != nil {
		t.Fatal(err)
	}
	if err := a.Release(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	for shard, clean := range []bool{true, false, false} {
		if l, ok := take(t, b, int32(shard), flow.ID{}); !ok || l.Clean != clean {
			t.Errorf("shard %d: %+v, %v; want clean %v", shard, l, ok, clean)
		}
	}
}

// A release that is late must not give back what its process owns under a later epoch, whose assignments it knows nothing of.
func TestALateReleaseLeavesALaterEpochAlone(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	a, b := owner(t, pool), owner(t, pool)
	first, _ := take(t, a, 6, flow.ID{})
	again, _ := take(t, a, 6, flow.ID{})
	if err := a.Release(t.Context(), []lease.Lease{first}, true); err != nil {
		t.Fatal(err)
	}
	if l, ok := take(t, b, 6, flow.ID{}); ok {
		t.Fatalf("the shard of a living owner was taken: %+v", l)
	}
	if err := a.Release(t.Context(), []lease.Lease{again}, true); err != nil {
		t.Fatal(err)
	}
	if l, ok := take(t, b, 6, flow.ID{}); !ok || !l.Clean {
		t.Errorf("a shard given back: %+v, %v", l, ok)
	}
}

// An owner that was stopped in the middle of a commit holds the shard's lock for ever. Its backend is ended, once the shard may be taken at all.
func TestBackendsOfAStoppedOwnerAreEnded(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	a, b := owner(t, pool), owner(t, pool)
	take(t, a, 5, flow.ID{})
	stopped, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stopped.Release()
	if _, err := stopped.Exec(t.Context(), "BEGIN; SELECT pg_advisory_xact_lock_shared(7320, 5)"); err != nil {
		t.Fatal(err)
	}
	if _, ok := take(t, b, 5, flow.ID{}); ok {
		t.Fatal("the shard of a living owner was taken")
	}
	if err := stopped.Ping(t.Context()); err != nil {
		t.Fatalf("the backend of a living owner was ended: %v", err)
	}
	if _, ok := take(t, b, 5, a.Owner); !ok {
		t.Fatal("the shard of a stopped owner was not taken")
	}
	if err := stopped.Ping(t.Context()); err == nil {
		t.Error("the backend that held the lock lives on")
	}
}
