// Package ground prepares what is measured on: Postgres with production's durability and fresh databases, a NATS server and the Tenon server as
// processes of their own, a tenant with tokens. Only the bench's scenarios and its program import it.
package ground

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/internal/embedded"
)

// Postgres is a running Postgres with databases made for this run of the bench.
type Postgres struct {
	server *embedded.Postgres
	owner  string // address of the role that owns the databases
	admin  string // address of a superuser, or the owner's for somebody else's Postgres
	made   []string
}

// StartPostgres starts a Postgres in folder with further settings, or uses the one at address when that is not empty; its role needs CREATEDB, CREATEROLE
// and, for the costs of noop_bulk, superuser's rights.
func StartPostgres(ctx context.Context, folder, address string, further map[string]string, log *slog.Logger) (*Postgres, error) {
	settings := map[string]string{
		"shared_preload_libraries": "pg_stat_statements", "max_connections": "200",
		// The WAL of a turn is read after it: a checkpoint meanwhile must not remove it.
		"wal_keep_size": "4GB",
	}
	maps.Copy(settings, further)
	server, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{
		DatabaseURL: address, DataRoot: filepath.Join(folder, "postgres"), TemplateRoot: templateRoot(), Log: log, Settings: settings,
	})
	if err != nil {
		return nil, err
	}
	p := &Postgres{server: server, owner: server.URL(), admin: server.AdminURL()}
	if p.admin == "" {
		p.admin = p.owner
	}
	return p, nil
}

// templateRoot is where initialised data directories are kept, empty when the user has no cache folder.
func templateRoot() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "tenon", "initdb")
}

// PID is Postgres's first process, 0 for somebody else's.
func (p *Postgres) PID() int { return p.server.PID() }

// Stop drops the databases and stops Postgres.
func (p *Postgres) Stop() error {
	const most = time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	var errs []error
	if p.server.PID() == 0 {
		for _, name := range p.made {
			errs = append(errs, p.exec(ctx, p.owner, "drop database if exists "+name+" with (force)"))
		}
	}
	return errors.Join(append(errs, p.server.Stop(ctx))...)
}

// Create makes an empty database and returns its address.
func (p *Postgres) Create(ctx context.Context, name string) (string, error) {
	name = "bench_" + name + "_" + strings.ToLower(rand.Text())[:10]
	if err := p.exec(ctx, p.owner, "create database "+name); err != nil {
		return "", err
	}
	p.made = append(p.made, name)
	return withDatabase(p.owner, name)
}

// Admin is the address of a superuser in the same database as another address.
func (p *Postgres) Admin(address string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	return withDatabase(p.admin, strings.TrimPrefix(parsed.Path, "/"))
}

// Maintenance is the address of a superuser outside of the databases made here.
func (p *Postgres) Maintenance() string { return p.admin }

// Describe reads Postgres's version and the settings that move the figures.
func (p *Postgres) Describe(ctx context.Context) (map[string]string, error) {
	conn, err := pgx.Connect(ctx, p.owner)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is pending
	rows, err := conn.Query(ctx, `select name, current_setting(name) from pg_settings where name in (
		'server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'wal_compression', 'wal_level', 'wal_sync_method', 'shared_buffers', 'wal_buffers',
		'max_wal_size', 'checkpoint_timeout', 'checkpoint_completion_target', 'effective_cache_size', 'work_mem', 'maintenance_work_mem', 'max_connections',
		'autovacuum', 'autovacuum_naptime', 'jit', 'random_page_cost', 'shared_preload_libraries')`)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		out[name] = value
		return nil
	})
	return out, err
}

func (p *Postgres) exec(ctx context.Context, address, statement string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is pending
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func withDatabase(address, name string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme == "" {
		return "", errors.New("DATABASE_URL must be a postgres:// address")
	}
	parsed.Path = "/" + name
	return parsed.String(), nil
}

// CheckDurable refuses a database whose commits may be lost: one of the three settings off or weakened, for the cluster, the database or any role in
// it, or a table that is not logged, unless it is one of the named.
func CheckDurable(ctx context.Context, address string, unless ...string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is pending
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := conn.QueryRow(ctx, "select current_setting($1)", name).Scan(&value); err != nil {
			return err
		}
		if value != "on" {
			return fmt.Errorf("%s is %q and not on: figures made like that mean nothing, so the bench refuses to run", name, value)
		}
	}
	var overrides, unlogged []string
	err = conn.QueryRow(ctx, `select
		(select array_agg(c) from pg_db_role_setting, unnest(setconfig) as c
			where setdatabase in (0, (select oid from pg_database where datname = current_database()))
			and c ~ '^(fsync|synchronous_commit|full_page_writes)=' and c !~ '=on$'),
		(select array_agg(relname::text) from pg_class
			where relpersistence = 'u' and relkind in ('r', 'm') and relname <> all(coalesce($1::text[], '{}')))`, unless).Scan(&overrides, &unlogged)
	switch {
	case err != nil:
		return err
	case len(overrides) > 0:
		return fmt.Errorf("a role or database runs with %s: the bench refuses to run", strings.Join(overrides, ", "))
	case len(unlogged) > 0:
		return fmt.Errorf("tables are unlogged: %s: the bench refuses to run", strings.Join(unlogged, ", "))
	}
	return nil
}
