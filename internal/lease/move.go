package lease

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
)

// Tenant is a tenant and where it is.
type Tenant struct {
	ID    int64
	Slug  string
	Shard int32
}

// Tenant finds a tenant by its slug. One that does not exist is NotFound.
func (s *Store) Tenant(ctx context.Context, slug string) (Tenant, error) {
	row, err := sharedq.New(s.Pool).TenantBySlug(ctx, slug)
	if errors.Is(err, pgx.ErrNoRows) {
		return Tenant{}, fault.NotFound("tenant", slug)
	}
	if err != nil {
		return Tenant{}, pg.Fault(err)
	}
	return Tenant{ID: row.ID, Slug: slug, Shard: row.Shard}, nil
}

// MoveTenant gives a tenant to another shard while it is at work: under the exclusive locks of both shards, and the epochs of both end, so that no commit of an owner that
// does not know of it succeeds. Their owners take them again, and workers keep their work. It returns the shard that the tenant was in. A tenant or a shard that
// does not exist is NotFound.
func (s *Store) MoveTenant(ctx context.Context, tenantID int64, to int32) (from int32, err error) {
	for try := 1; ; try++ {
		from, err = s.move(ctx, tenantID, to)
		refused, isServer := errors.AsType[*pgconn.PgError](err)
		if !isServer || refused.Code != lockNotAvailable || try == lockTries {
			return from, pg.Fault(err)
		}
		for _, shard := range []int32{from, to} {
			if err := s.endHolders(ctx, shard); err != nil {
				return from, err
			}
		}
	}
}

func (s *Store) move(ctx context.Context, tenantID int64, to int32) (from int32, err error) {
	err = pg.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		q := sharedq.New(tx)
		if from, err = q.ShardOfTenant(ctx, tenantID); errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("tenant", strconv.FormatInt(tenantID, 10))
		}
		if err != nil || from == to {
			return err
		}
		if _, err := q.ShardEpoch(ctx, to); errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("shard", strconv.Itoa(int(to)))
		}
		if _, err := q.BoundLockWait(ctx, strconv.FormatInt(lockWait.Milliseconds(), 10)); err != nil {
			return err
		}
		for _, shard := range []int32{min(from, to), max(from, to)} {
			if err := q.LockShardExclusive(ctx, shard); err != nil {
				return err
			}
		}
		moved, err := q.MoveTenant(ctx, sharedq.MoveTenantParams{ToShard: to, TenantID: tenantID, FromShard: from})
		if err != nil {
			return err
		}
		if moved == 0 {
			return fault.Aborted("TENANT_MOVED", "tenant %d was moved meanwhile: look where it is now", tenantID)
		}
		return q.MoveEpochs(ctx, sharedq.MoveEpochsParams{FromShard: from, ToShard: to})
	})
	return from, err
}
