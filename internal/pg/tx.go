package pg

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// rollbackTimeout bounds the rollback of a transaction whose caller has gone away. A connection that cannot even roll back is closed,
// which ends the transaction on the server.
const rollbackTimeout = 5 * time.Second

// Beginner starts transactions: a *pgxpool.Pool, a *pgxpool.Conn or a *pgx.Conn.
type Beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// InTx runs fn in a read-write transaction: committed when fn returns nil, rolled back when it returns an error or panics, even if ctx
// has ended meanwhile. It returns fn's own error untouched, and errors of begin and commit as they came: ask Outcome or Fault what they
// mean. After an Outcome of KindUnknown the work may have been committed.
func InTx(ctx context.Context, db Beginner, fn func(tx pgx.Tx) error) error {
	return run(ctx, db, pgx.TxOptions{}, fn)
}

// InSnapshot runs fn in a read-only transaction in which every statement sees the same instant.
func InSnapshot(ctx context.Context, db Beginner, fn func(tx pgx.Tx) error) error {
	return run(ctx, db, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, fn)
}

// InTenant runs fn in a read-only transaction as the role tenon_reader, which sees the rows of one tenant and no others. It is the only
// way to a reader's view: outside of it row-level security shows that role nothing. The role and the setting end with the transaction.
func InTenant(ctx context.Context, db Beginner, tenantID int64, fn func(tx pgx.Tx) error) error {
	// One round trip. The id is a number, so there is nothing to quote.
	begin := "begin read only; select set_config('tenon.tenant_id', '" + strconv.FormatInt(tenantID, 10) + "', true); set local role tenon_reader"
	return run(ctx, db, pgx.TxOptions{BeginQuery: begin}, fn)
}

func run(ctx context.Context, db Beginner, options pgx.TxOptions, fn func(tx pgx.Tx) error) (err error) {
	tx, err := db.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		// The caller's context may be over; the connection must not go back to the pool inside a transaction.
		rollbackCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		if rollbackErr := tx.Rollback(rollbackCtx); rollbackErr != nil && !errors.Is(rollbackErr, pgx.ErrTxClosed) {
			err = errors.Join(err, rollbackErr)
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	committed = true // From here on the outcome is Commit's; a rollback could only hide it.
	return tx.Commit(ctx)
}
