package scheduler

import (
	"context"
	crand "crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// outside is what an owner and its keeper reach: Postgres and goroutines in production, a world of its own in the simulation. What it answers
// later, it answers on the owner's channels.
type outside interface {
	// write commits a batch and waits for its outcome.
	write(ctx context.Context, b *batch) error
	// begin commits a batch; the outcome comes on committed.
	begin(ctx context.Context, b *batch)
	// look reads what a durable step asks for; the answer comes on loaded.
	look(ctx context.Context, s *shard, ask engine.Ask)

	renew(ctx context.Context) (own []lease.Lease, all []lease.Standing, err error)
	takeShard(ctx context.Context, shard int32, gone flow.ID) (lease.Lease, bool, error)
	giveBack(ctx context.Context, leases []lease.Lease, clean bool) error
	openTenants(ctx context.Context, shards []int32) ([]schedulerq.TenantShard, error)
	keepPartitions(ctx context.Context) error

	newCore(cfg engine.Config) core
	after(d time.Duration) <-chan time.Time
	// background runs what the loop must not wait for.
	background(work func())
}

// core is the engine of one shard.
type core interface {
	LoadTenant(now time.Time, tenantID int64) engine.Output
	Step(now time.Time, in []engine.Input) engine.Output
	HandOver(now time.Time) engine.Output
	Settled() bool
}

// postgres is the real outside.
type postgres struct {
	cfg       Config
	log       *slog.Logger
	pool      *pgxpool.Pool // commits
	leases    *lease.Store
	committed chan<- committed
	loaded    chan<- answer
	reads     chan struct{} // tokens
	work      *sync.WaitGroup
}

func newPostgres(o *owner) *postgres {
	return &postgres{
		cfg: o.cfg, log: o.log, pool: o.cfg.Commits, leases: &lease.Store{Pool: o.cfg.Commits, Owner: o.cfg.Instance, Log: o.log},
		committed: o.committed, loaded: o.loaded, reads: make(chan struct{}, maxReads), work: &o.work,
	}
}

func (o *postgres) write(ctx context.Context, b *batch) error { return write(ctx, o.pool, b) }

func (o *postgres) begin(ctx context.Context, b *batch) {
	o.work.Go(func() {
		err := write(context.WithoutCancel(ctx), o.pool, b)
		o.committed <- committed{b, err}
	})
}

func (o *postgres) look(ctx context.Context, s *shard, ask engine.Ask) {
	o.work.Go(func() {
		select {
		case o.reads <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-o.reads }()
		o.read(ctx, s, ask)
	})
}

func (o *postgres) renew(ctx context.Context) ([]lease.Lease, []lease.Standing, error) {
	return o.leases.Renew(ctx)
}

func (o *postgres) takeShard(ctx context.Context, shard int32, gone flow.ID) (lease.Lease, bool, error) {
	return o.leases.Take(ctx, shard, gone)
}

func (o *postgres) giveBack(ctx context.Context, leases []lease.Lease, clean bool) error {
	return o.leases.Release(ctx, leases, clean)
}

func (o *postgres) openTenants(ctx context.Context, shards []int32) ([]schedulerq.TenantShard, error) {
	return schedulerq.New(o.pool).TenantsWithOpenRuns(ctx, shards)
}

func (o *postgres) newCore(cfg engine.Config) core {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	return engine.New(cfg, seed)
}

func (o *postgres) after(d time.Duration) <-chan time.Time { return time.After(d) }

func (o *postgres) background(work func()) { o.work.Go(work) }
