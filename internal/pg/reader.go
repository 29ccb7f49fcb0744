package pg

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// asReader does for the transaction that it stands in what InTenant does.
const asReader = `SELECT set_config('transaction_read_only', 'on', true), set_config('tenon.tenant_id', $1, true), set_config('role', 'tenon_reader', true)`

// TenantReader is InTenant for single queries: each is a read-only transaction of its own, made in one round trip instead of three. It is a database
// for sqlc. The rows of a query must be closed.
type TenantReader struct {
	pool     *pgxpool.Pool
	tenantID string
}

// ReaderOf is a reader of one tenant's rows.
func ReaderOf(pool *pgxpool.Pool, tenantID int64) TenantReader {
	return TenantReader{pool, strconv.FormatInt(tenantID, 10)}
}

// Query sends a query.
func (r TenantReader) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	batch := &pgx.Batch{}
	batch.Queue(asReader, r.tenantID)
	batch.Queue(sql, args...)
	results := conn.SendBatch(ctx, batch)
	end := sync.OnceFunc(func() {
		_ = results.Close() // it repeats the error that the rows tell
		conn.Release()
	})
	if _, err := results.Exec(); err != nil {
		end()
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		end()
		return nil, err
	}
	return readerRows{rows, end}, nil
}

// QueryRow sends a query for one row.
func (r TenantReader) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := r.Query(ctx, sql, args...)
	return readerRow{rows, err}
}

// Exec refuses: a reader only reads.
func (r TenantReader) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errors.New("pg: a reader of a tenant's rows executes nothing")
}

// readerRows gives the connection back when they are closed.
type readerRows struct {
	pgx.Rows

	end func()
}

// Close implements pgx.Rows.
func (r readerRows) Close() {
	r.Rows.Close()
	r.end()
}

type readerRow struct {
	rows pgx.Rows
	err  error
}

// Scan implements pgx.Row.
func (r readerRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
