package lease

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
)

// Duration is how long a lease lasts without renewal.
const Duration = 15 * time.Second

// Lease is one owned shard.
type Lease struct {
	Shard int32
	Epoch int64
	// EngineTime is Postgres's clock at the take or renewal, in microseconds; the owner's clock never runs below it.
	EngineTime int64
}

// Store takes, keeps and gives back shards for one process.
type Store struct {
	Pool    *pgxpool.Pool
	Owner   flow.ID // of this start of the process
	Address string
}

// Free lists the shards without a living owner.
func (s *Store) Free(ctx context.Context) ([]int32, error) {
	free, err := sharedq.New(s.Pool).FreeShards(ctx)
	return free, pg.Fault(err)
}

// Take makes the process the owner of a shard under a new epoch, after the last commit of the owner before. It answers false when another
// owner lives. A process may take a shard that it owns already, to fence its own commit of unknown outcome.
func (s *Store) Take(ctx context.Context, shard int32) (lease Lease, ok bool, err error) {
	err = pg.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		q := sharedq.New(tx)
		if err := q.LockShardExclusive(ctx, shard); err != nil {
			return err
		}
		rows, err := q.TakeShard(ctx, sharedq.TakeShardParams{NewOwner: s.Owner, Address: s.Address, LeaseSeconds: Duration.Seconds(), Shard: shard})
		if err != nil || len(rows) == 0 {
			return err
		}
		lease, ok = Lease{shard, rows[0].Epoch, rows[0].EngineTime}, true
		return nil
	})
	return lease, ok, pg.Fault(err)
}

// Renew keeps every lease of the process, in one statement.
func (s *Store) Renew(ctx context.Context) ([]Lease, error) {
	rows, err := sharedq.New(s.Pool).RenewShards(ctx, sharedq.RenewShardsParams{LeaseSeconds: Duration.Seconds(), TheOwner: s.Owner})
	if err != nil {
		return nil, pg.Fault(err)
	}
	leases := make([]Lease, len(rows))
	for i, r := range rows {
		leases[i] = Lease{r.ID, r.Epoch, r.EngineTime}
	}
	return leases, nil
}

// Release gives every shard of the process back, for others to take at once.
func (s *Store) Release(ctx context.Context) error {
	return pg.Fault(sharedq.New(s.Pool).ReleaseShards(ctx, s.Owner))
}
