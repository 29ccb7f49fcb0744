package lease

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
)

const (
	// Duration is how long a lease lasts without renewal.
	Duration = 15 * time.Second
	// lockWait is how long a take waits for the commits of the owner before. After it, their backends are ended.
	lockWait = 500 * time.Millisecond
	// lockTries bounds the takes of one shard whose lock is held again each time.
	lockTries = 3
)

// Lease is one owned shard.
type Lease struct {
	Shard int32
	Epoch int64
	// EngineTime is Postgres's clock at the take or renewal, in microseconds; the owner's clock never runs below it.
	EngineTime int64
	// Clean says, after a take, that the owner before gave the shard back in order, with every assignment recorded.
	Clean bool
}

// Standing is who owns a shard, as a renewal saw it.
type Standing struct {
	Shard int32
	Owner flow.ID // zero: nobody
	Free  bool    // nobody, or one whose lease has run out
}

// Store takes, keeps and gives back shards for one process.
type Store struct {
	Pool  *pgxpool.Pool
	Owner flow.ID // of this start of the process
	Log   *slog.Logger
}

// Take makes the process the owner of a shard under a new epoch, after the last commit of the owner before. It answers false when another
// owner lives; gone names one that is known not to, although its lease has not run out. A process may take a shard that it owns already, to
// fence its own commit of unknown outcome. An owner that was stopped in the middle of a commit holds its lock for ever: after 500 ms its
// backends are ended.
func (s *Store) Take(ctx context.Context, shard int32, gone flow.ID) (lease Lease, ok bool, err error) {
	for try := 1; ; try++ {
		lease, ok, err = s.take(ctx, shard, gone)
		refused, isServer := errors.AsType[*pgconn.PgError](err)
		if !isServer || refused.Code != lockNotAvailable || try == lockTries {
			return lease, ok, pg.Fault(err)
		}
		if err := s.endHolders(ctx, shard); err != nil {
			return lease, false, err
		}
	}
}

func (s *Store) endHolders(ctx context.Context, shard int32) error {
	ended, err := sharedq.New(s.Pool).TerminateHolders(ctx, shard)
	if err != nil {
		return pg.Fault(err)
	}
	s.Log.Warn("lease: a shard's lock was held for too long, the backends that held it were ended", "shard", shard, "waited", lockWait, "backends", ended)
	return nil
}

const lockNotAvailable = "55P03"

func (s *Store) take(ctx context.Context, shard int32, gone flow.ID) (lease Lease, ok bool, err error) {
	err = pg.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		q := sharedq.New(tx)
		takeable, err := q.Takeable(ctx, sharedq.TakeableParams{NewOwner: s.Owner, Gone: gone, Shard: shard})
		if err != nil || !takeable {
			return err
		}
		if _, err := q.BoundLockWait(ctx, strconv.FormatInt(lockWait.Milliseconds(), 10)); err != nil {
			return err
		}
		if err := q.LockShardExclusive(ctx, shard); err != nil {
			return err
		}
		rows, err := q.TakeShard(ctx, sharedq.TakeShardParams{NewOwner: s.Owner, LeaseSeconds: Duration.Seconds(), Shard: shard, Gone: gone})
		if err != nil || len(rows) == 0 {
			return err
		}
		lease, ok = Lease{Shard: shard, Epoch: rows[0].Epoch, EngineTime: rows[0].EngineTime, Clean: rows[0].Clean}, true
		return nil
	})
	if err != nil {
		return Lease{}, false, err
	}
	return lease, ok, nil
}

// Renew keeps every lease of the process and reads who owns the others, in one statement.
func (s *Store) Renew(ctx context.Context) (own []Lease, all []Standing, err error) {
	rows, err := sharedq.New(s.Pool).RenewShards(ctx, sharedq.RenewShardsParams{LeaseSeconds: Duration.Seconds(), TheOwner: s.Owner})
	if err != nil {
		return nil, nil, pg.Fault(err)
	}
	for _, r := range rows {
		standing := Standing{Shard: r.ID, Owner: r.Owner, Free: r.Free}
		if r.Owner == s.Owner {
			own = append(own, Lease{Shard: r.ID, Epoch: r.Epoch, EngineTime: r.EngineTime})
			standing.Free = false
		}
		all = append(all, standing)
	}
	return own, all, nil
}

// Release gives leases of the process back, for others to take the shards at once; with no list, all of them. One whose shard the process has taken again
// since, under another epoch, is left alone. clean says that every assignment is recorded; then the next owner need not wait for the workers to say what
// they run.
func (s *Store) Release(ctx context.Context, leases []Lease, clean bool) error {
	p := sharedq.ReleaseShardsParams{Clean: clean, TheOwner: s.Owner, Shards: []int32{}, Epochs: []int64{}} // nil would be NULL
	for _, l := range leases {
		p.Shards, p.Epochs = append(p.Shards, l.Shard), append(p.Epochs, l.Epoch)
	}
	return pg.Fault(sharedq.New(s.Pool).ReleaseShards(ctx, p))
}
