package pg

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/internal/fault"
)

// ReasonNotDurable is the reason of CheckDurability's refusal.
const ReasonNotDurable = "DATABASE_NOT_DURABLE"

// Querier reads rows: a pool, a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// CheckDurability refuses a Postgres that may lose or tear what it has acknowledged: fsync, synchronous_commit and full_page_writes must
// all be on (any synchronous_commit but "off" will do). The error is FailedPrecondition, names the settings and says how to set them.
func CheckDurability(ctx context.Context, db Querier) error {
	rows, err := db.Query(ctx, `select name, setting from pg_settings
		where name in ('fsync', 'synchronous_commit', 'full_page_writes') and setting = 'off' order by name`)
	if err != nil {
		return Fault(err)
	}
	off, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var name, setting string
		err := row.Scan(&name, &setting)
		return name, err
	})
	if err != nil {
		return Fault(err)
	}
	if len(off) == 0 {
		return nil
	}
	return fault.FailedPrecondition(ReasonNotDurable,
		"Postgres runs with %s = off, so that it may lose work it has acknowledged: run ALTER SYSTEM SET %s = on (for role and database settings ALTER ROLE and ALTER DATABASE ... RESET), then SELECT pg_reload_conf(), and start again",
		strings.Join(off, " and "), strings.Join(off, " = on; ALTER SYSTEM SET "))
}
