package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/pg"
)

// URLVariable names a Postgres for tests, instead of the one that testkit starts. Its role needs CREATEDB and CREATEROLE.
const URLVariable = "TENON_TEST_DATABASE_URL"

// Database returns a pool of at most eight connections on a migrated database of the test's own, dropped at its end. The role is not a
// superuser; it owns the tables and may become tenon_engine and tenon_reader.
func Database(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Pool(t, DatabaseURL(t))
}

// commonConnections is the size of the pool that tests share.
const commonConnections = 16

// SharedDatabase is Database for tests that keep to tenants of their own: all of a package that ask get one pool on one database, and wait for the making
// of one only once. It is there until the package's tests have ended.
func SharedDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := shared.commonPool(t.Context())
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	return pool
}

// DatabaseURL is Database for tests that open their own connections. They close them before they end; what is left open is cut off.
func DatabaseURL(t testing.TB) string {
	t.Helper()
	return create(t, true)
}

// EmptyDatabaseURL is DatabaseURL without migrations.
func EmptyDatabaseURL(t testing.TB) string {
	t.Helper()
	return create(t, false)
}

// Pool opens a pool of at most eight connections that is closed at the test's end.
func Pool(t testing.TB, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), pg.Config{URL: address, MaxConns: 8, ApplicationName: "tenon-test"})
	if err != nil {
		t.Fatalf("open pool: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// create makes a database for the test, as a copy of the migrated template or empty.
func create(t testing.TB, migrated bool) string {
	t.Helper()
	server, err := shared.get(t.Context(), migrated)
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	name := "tenon_test_" + strings.ToLower(rand.Text())
	template := "template0"
	if migrated {
		template = server.template
	}
	if err := server.admin(t.Context(), "create database "+name+" template "+template); err != nil {
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := server.drop(ctx, name); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	address, err := withDatabase(server.url, name)
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	return address
}

// drop removes a database. Autovacuum may be at work in it, which only a superuser may end: it is done soon.
func (s *testServer) drop(ctx context.Context, name string) error {
	const pause = 50 * time.Millisecond
	for {
		err := s.admin(ctx, "drop database if exists "+name+" with (force)")
		refused, isServer := errors.AsType[*pgconn.PgError](err)
		if !isServer || refused.Code != insufficientPrivilege {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

const insufficientPrivilege = "42501"

// admin runs one statement on the server's own database. Creating databases goes one at a time: Postgres refuses to copy a template
// that another session is just copying or connected to.
func (s *testServer) admin(ctx context.Context, statement string) error {
	s.one.Lock()
	defer s.one.Unlock()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return pg.Fault(err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // Nothing is pending.
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// withDatabase returns the address with another database name.
func withDatabase(address, name string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme == "" {
		return "", fmt.Errorf("%s must be a postgres:// address", URLVariable)
	}
	parsed.Path = "/" + name
	return parsed.String(), nil
}
