package db_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestPrepareMigratesWhereItMay(t *testing.T) {
	t.Parallel()
	owner := testkit.EmptyDatabaseURL(t)
	behind, ok := errors.AsType[*db.Behind](db.Check(t.Context(), owner))
	if !ok || len(behind.Missing) < 2 || behind.Missing[0] != 1 {
		t.Fatalf("an empty database: %+v", behind)
	}
	for range 2 {
		if err := db.Prepare(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
		if err := db.Check(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPrepareWithoutTheRightToMigrate(t *testing.T) {
	t.Parallel()
	owner := testkit.DatabaseURL(t)
	pool := testkit.Pool(t, owner)
	server := testkit.ServerURL(t, owner)
	if err := db.Prepare(t.Context(), server); err != nil {
		t.Fatalf("a current schema: %v", err)
	}
	exec(t, pool, "insert into goose_db_version (version_id, is_applied) values (99999, true)")
	if err := db.Prepare(t.Context(), server); err != nil {
		t.Fatalf("a schema of a later release: %v", err)
	}
	exec(t, pool, "delete from goose_db_version where version_id = 2")
	err := db.Prepare(t.Context(), server)
	behind, ok := errors.AsType[*db.Behind](err)
	if !ok || len(behind.Missing) != 1 || behind.Missing[0] != 2 {
		t.Fatalf("a schema that is behind: %v", err)
	}
	for _, part := range []string{"migrations 2 are missing", "tenond migrate", "owns", behind.Role} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestPrepareOfAForeignEmptyDatabase(t *testing.T) {
	t.Parallel()
	testkit.DatabaseURL(t) // makes the roles
	owner := testkit.EmptyDatabaseURL(t)
	exec(t, testkit.Pool(t, owner), "revoke create on schema public from public")
	server := testkit.ServerURL(t, owner)
	if _, ok := errors.AsType[*db.Behind](db.Prepare(t.Context(), server)); !ok {
		t.Error("a role that may make no tables was let to")
	}
	if err := db.Migrate(t.Context(), server); err == nil || !strings.Contains(err.Error(), "name the one that owns") {
		t.Errorf("migrate: %v", err)
	}
}

// What the reader's role may read is walled by a policy, and the engine's role may use everything but the record of migrations.
func TestEveryTableHasItsWall(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	exec(t, pool, "create table later (x int generated always as identity)") // as a later migration would
	rows, err := pool.Query(t.Context(), `
		select c.relname, c.relrowsecurity, has_any_column_privilege('tenon_reader', c.oid, 'SELECT'),
			has_table_privilege('tenon_reader', c.oid, 'INSERT') or has_table_privilege('tenon_reader', c.oid, 'UPDATE') or has_table_privilege('tenon_reader', c.oid, 'DELETE'),
			has_table_privilege('tenon_engine', c.oid, 'SELECT'), has_table_privilege('tenon_engine', c.oid, 'INSERT') and
				has_table_privilege('tenon_engine', c.oid, 'UPDATE') and has_table_privilege('tenon_engine', c.oid, 'DELETE'),
			(select count(*) from pg_policy p where p.polrelid = c.oid and 'tenon_reader'::regrole = any (p.polroles) and p.polcmd = 'r'
				and pg_get_expr(p.polqual, p.polrelid) like '%id = current_tenant()%')
		from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	read := 0
	for rows.Next() {
		var name string
		var walled, reads, writes, engineReads, engineWrites bool
		var policies int
		if err := rows.Scan(&name, &walled, &reads, &writes, &engineReads, &engineWrites, &policies); err != nil {
			t.Fatal(err)
		}
		if writes {
			t.Errorf("tenon_reader may write %s", name)
		}
		if reads {
			read++
		}
		if reads && (!walled || policies != 1) {
			t.Errorf("tenon_reader may read %s, which has no policy by tenant: enable row level security and create one", name)
		}
		if !engineReads || engineWrites != (name != "goose_db_version") {
			t.Errorf("tenon_engine may read %s: %v, write it: %v", name, engineReads, engineWrites)
		}
	}
	if err := rows.Err(); err != nil || read < 10 {
		t.Errorf("%d tables are read by tenon_reader, %v", read, err)
	}
	var partitions int
	if err := pool.QueryRow(t.Context(), "select count(*) from pg_class where relispartition and has_table_privilege('tenon_reader', oid, 'SELECT')").Scan(&partitions); err != nil || partitions != 0 {
		t.Errorf("tenon_reader may read %d partitions past their parent's policy, %v", partitions, err)
	}
}
