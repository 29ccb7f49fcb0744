package cost

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Statistics reads what Postgres counts of one database. It needs the extensions pg_stat_statements (loaded at Postgres's start) and
// pg_walinspect, so Postgres 15 or newer with its contrib modules and a superuser.
type Statistics struct {
	inside   *pgx.Conn // in the measured database, for its tables' counts
	outside  *pgx.Conn // elsewhere in the cluster, so that waiting is not measured
	database string
	settle   time.Duration
}

// Counts are sums since some beginning.
type Counts struct {
	RowWrites    int64 // rows inserted, updated and deleted in the database's own tables
	Transactions int64
	Statements   int64
	LSN          string // up to where the WAL is on disk
}

// Quiet keeps a session's own statements out of the counts; it needs a superuser.
const Quiet = "set pg_stat_statements.track = 'none'"

// Open connects as a superuser to the database to be measured and to another one of the same cluster, where it makes the extensions in a schema of
// their own. settle is how long Settled waits, 0 for as long as it takes. The caller calls Close.
func Open(ctx context.Context, measured, other string, settle time.Duration) (*Statistics, error) {
	inside, err := pgx.Connect(ctx, measured)
	if err != nil {
		return nil, err
	}
	s := &Statistics{inside: inside, database: inside.Config().Database, settle: cmp.Or(settle, settled)}
	if s.outside, err = pgx.Connect(ctx, other); err != nil {
		s.Close(ctx)
		return nil, err
	}
	for _, statement := range []string{
		"create schema if not exists bench_statistics",
		"create extension if not exists pg_stat_statements schema bench_statistics",
		"create extension if not exists pg_walinspect schema bench_statistics",
		"set search_path = bench_statistics",
		"select count(*) from pg_stat_statements", // fails unless it was loaded at the start
	} {
		if _, err := s.outside.Exec(ctx, statement); err != nil {
			s.Close(ctx)
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	if _, err := s.inside.Exec(ctx, Quiet); err != nil {
		s.Close(ctx)
		return nil, err
	}
	return s, nil
}

// Close closes the connections.
func (s *Statistics) Close(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	_ = s.inside.Close(ctx) // nothing is pending
	if s.outside != nil {
		_ = s.outside.Close(ctx) // as above
	}
}

// Read reads the counts as they stand. Those of rows and transactions lag: see Settled.
func (s *Statistics) Read(ctx context.Context) (c Counts, err error) {
	err = s.outside.QueryRow(ctx, `select d.xact_commit + d.xact_rollback, pg_current_wal_flush_lsn()::text,
			(select coalesce(sum(s.calls), 0)::bigint from pg_stat_statements s where s.dbid = d.datid)
		from pg_stat_database d where d.datname = $1`, s.database).Scan(&c.Transactions, &c.LSN, &c.Statements)
	if err != nil {
		return c, err
	}
	err = s.inside.QueryRow(ctx, `select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables`).Scan(&c.RowWrites)
	return c, err
}

// settled is how long after its last transaction a backend has passed all its counts on: an idle one does so after ten seconds.
const settled = 11 * time.Second

// Settled reads the counts once everything that ended before an instant is in them, unless less time was given for it.
func (s *Statistics) Settled(ctx context.Context, end time.Time) (Counts, error) {
	timer := time.NewTimer(time.Until(end.Add(s.settle)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return Counts{}, context.Cause(ctx)
	case <-timer.C:
		return s.Read(ctx)
	}
}

// WALBytes is what was written to the WAL between two readings, without full-page images.
func (s *Statistics) WALBytes(ctx context.Context, from, to Counts) (bytes int64, err error) {
	err = s.outside.QueryRow(ctx, `select coalesce(sum(record_size), 0)::bigint from pg_get_wal_stats($1::pg_lsn, $2::pg_lsn)`, from.LSN, to.LSN).Scan(&bytes)
	return bytes, err
}

// Forget begins the counts of statements anew.
func (s *Statistics) Forget(ctx context.Context) error {
	_, err := s.outside.Exec(ctx, "select pg_stat_statements_reset(0, (select oid from pg_database where datname = $1), 0)", s.database)
	return err
}

// Named is what the statements of one name in db/queries took since Forget, in one of the roles that send them.
type Named struct {
	Name         string
	Calls        int64
	Milliseconds float64
}

// ByName reads the sums of statements by their names; those without one are "other".
func (s *Statistics) ByName(ctx context.Context) ([]Named, error) {
	rows, err := s.outside.Query(ctx, `select coalesce(substring(query from '^-- name: (\w+)'), 'other'), calls, total_exec_time
		from pg_stat_statements where dbid = (select oid from pg_database where datname = $1)`, s.database)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Named])
}

// Top describes the statements that took the most time since Forget, one a line: milliseconds, calls, rows, WAL bytes, the text's beginning.
func (s *Statistics) Top(ctx context.Context) (string, error) {
	const most = 25
	rows, err := s.outside.Query(ctx, `select format('%s ms %s calls %s rows %s WAL bytes  %s', round(total_exec_time + total_plan_time), calls, rows, wal_bytes,
			left(regexp_replace(query, '\s+', ' ', 'g'), 200))
		from pg_stat_statements where dbid = (select oid from pg_database where datname = $1) order by total_exec_time desc limit $2`, s.database, most)
	if err != nil {
		return "", err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(lines, "\n") + "\n", err
}
