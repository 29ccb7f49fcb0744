// Package db is the one place for SQL: the migrations, the queries that sqlc turns into the q packages, and the call that migrates a
// database. The q packages are imported by their owner alone, sharedq by every service that reads what several need.
package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver that goose speaks through
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the database at the URL to the newest schema. Several processes may call it at once: a session lock lets one work and the
// others find nothing to do. The URL's role must own the tables (or be able to make them).
func Migrate(ctx context.Context, url string) error {
	return onProvider(ctx, url, func(provider *goose.Provider, _ *sql.DB) error { return up(ctx, provider) })
}

// Prepare is what a server calls at its start. A schema that is current (or newer, made by a later release) is left alone, which needs no more than
// the right to read; another one is migrated where the URL's role owns it. Where it does not, the error is a *Behind, which says what to run.
func Prepare(ctx context.Context, url string) error {
	return onProvider(ctx, url, func(provider *goose.Provider, conn *sql.DB) error {
		err := check(ctx, provider, conn)
		behind, ok := errors.AsType[*Behind](err)
		if !ok {
			return err
		}
		if !behind.mayMigrate {
			return behind
		}
		if err = up(ctx, provider); isRefused(err) {
			return behind
		}
		return err
	})
}

// Check returns nil when the schema at the URL is current or newer, and a *Behind when migrations are missing. It changes nothing.
func Check(ctx context.Context, url string) error {
	return onProvider(ctx, url, func(provider *goose.Provider, conn *sql.DB) error { return check(ctx, provider, conn) })
}

// Behind is the error of a database whose schema is older than this program.
type Behind struct {
	// Role is who asked, Missing the versions that have not been applied, in order.
	Role    string
	Missing []int64

	mayMigrate bool
}

// Error says what is missing and what to run.
func (b *Behind) Error() string {
	return fmt.Sprintf("the database's schema is not current: migrations %s are missing. Run `tenond migrate` with DATABASE_URL naming the role that owns "+
		"the tables (the role %q does not), then start the server again", joined(b.Missing), b.Role)
}

// check compares the migrations of this program with those that the database has seen.
func check(ctx context.Context, provider *goose.Provider, conn *sql.DB) error {
	behind := &Behind{}
	var recorded bool
	// Whoever may act as the owner of the record may migrate; where there is none yet, whoever may make tables here.
	err := conn.QueryRowContext(ctx, `SELECT current_user, to_regclass('goose_db_version') IS NOT NULL,
		coalesce((SELECT pg_has_role(current_user, c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = to_regclass('goose_db_version')),
			has_schema_privilege(current_schema(), 'CREATE'), false)`).Scan(&behind.Role, &recorded, &behind.mayMigrate)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	applied := make(map[int64]bool)
	if recorded {
		rows, err := conn.QueryContext(ctx, "SELECT version_id FROM goose_db_version WHERE is_applied")
		if err != nil {
			return fmt.Errorf("read the schema's version: %w", err)
		}
		defer rows.Close() //nolint:errcheck // its error is that of rows.Err
		for rows.Next() {
			var version int64
			if err := rows.Scan(&version); err != nil {
				return fmt.Errorf("read the schema's version: %w", err)
			}
			applied[version] = true
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read the schema's version: %w", err)
		}
	}
	for _, source := range provider.ListSources() {
		if !applied[source.Version] {
			behind.Missing = append(behind.Missing, source.Version)
		}
	}
	if len(behind.Missing) == 0 {
		return nil
	}
	return behind
}

func up(ctx context.Context, provider *goose.Provider) error {
	_, err := provider.Up(ctx)
	switch {
	case isRefused(err):
		return fmt.Errorf("migrate: the role in DATABASE_URL may not change the schema, name the one that owns the tables (or the database): %w", err)
	case err != nil:
		return fmt.Errorf("migrate: %w", err)
	default:
		return nil
	}
}

func isRefused(err error) bool {
	const insufficientPrivilege = "42501"
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == insufficientPrivilege
}

// onProvider opens the database for one use.
func onProvider(ctx context.Context, url string, use func(*goose.Provider, *sql.DB) error) (err error) {
	conn, err := sql.Open("pgx", url)
	if err != nil {
		return fmt.Errorf("open database for migrations: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("read embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("make migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	return use(provider, conn)
}

func joined(versions []int64) string {
	texts := make([]string, len(versions))
	for i, version := range versions {
		texts[i] = strconv.FormatInt(version, 10)
	}
	return strings.Join(texts, ", ")
}
