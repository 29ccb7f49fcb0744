package pieces

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience bounds every wait for something to come true.
const patience = 30 * time.Second

// house is an install whose identity service runs in the first process.
type house struct {
	*apptest.Install

	t        *testing.T
	pool     *pgxpool.Pool
	identity *apptest.Process
	owner    authn.Principal
}

func setup(t *testing.T, services ...string) *house {
	t.Helper()
	database := testkit.DatabaseURL(t)
	pool, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	h := &house{t: t, pool: pool, Install: apptest.NewInstall(t, database)}
	h.identity = h.Process(services...)
	h.owner = apptest.Tenant(t, h.identity.App, "acme")
	return h
}

// client reaches the install through one process, as a developer, or as a worker where worker is set.
func (h *house) client(address string, worker bool) *tenon.Client {
	h.t.Helper()
	role := authz.RoleDeveloper
	if worker {
		role = ""
	}
	_, secret := apptest.Token(h.t, h.identity.App, h.owner, role, time.Hour)
	c, err := tenon.NewClient(tenon.WithAddress(address), tenon.WithToken(secret), tenon.WithLogger(testkit.Logger(h.t)))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// work runs a worker until the test ends, or until the returned stop.
func (h *house) work(c *tenon.Client, opts ...tenon.WorkerOption) {
	h.t.Helper()
	worker, err := c.NewWorker(opts...)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
	})
}

// until asks again until it is true.
func (h *house) until(what string, true func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for !true() {
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// shards counts the shards by their owners.
func (h *house) shards() map[string]int {
	h.t.Helper()
	rows, err := h.pool.Query(h.t.Context(), "SELECT coalesce(owner::text, 'nobody'), count(*) FROM shards WHERE owner IS NULL OR expires_at > now() GROUP BY 1")
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	counts := make(map[string]int)
	for rows.Next() {
		var owner string
		var n int
		if err := rows.Scan(&owner, &n); err != nil {
			h.t.Fatal(err)
		}
		counts[owner] = n
	}
	return counts
}

func double() *tenon.Workflow[int, int] {
	return tenon.NewTask("double", func(_ tenon.Context, n int) (int, error) { return 2 * n, nil })
}
