package pg_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// table returns a pool on an empty database with a table to work on.
func table(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := testkit.Pool(t, testkit.EmptyDatabaseURL(t))
	mustExec(t, pool, "create table things (id int primary key, size int check (size > 0), parent int references things)")
	return pool
}

func mustExec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	var n int
	if err := pool.QueryRow(t.Context(), "select count(*) from things").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func insert(ctx context.Context, tx pgx.Tx, id int) error {
	_, err := tx.Exec(ctx, "insert into things values ($1, 1)", id)
	return err
}

func TestInTxCommits(t *testing.T) {
	t.Parallel()
	pool := table(t)
	if err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return insert(t.Context(), tx, 1) }); err != nil {
		t.Fatal(err)
	}
	if got := count(t, pool); got != 1 {
		t.Errorf("%d rows, want 1", got)
	}
}

func TestInTxRollsBack(t *testing.T) {
	t.Parallel()
	pool := table(t)
	mine := errors.New("mine")
	err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return errors.Join(insert(t.Context(), tx, 1), mine) })
	if !errors.Is(err, mine) {
		t.Errorf("got %v, want fn's error", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = pg.InTx(t.Context(), pool, func(tx pgx.Tx) error {
			if err := insert(t.Context(), tx, 2); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	ctx, cancel := context.WithCancel(t.Context())
	err = pg.InTx(ctx, pool, func(tx pgx.Tx) error {
		defer cancel()
		return errors.Join(insert(ctx, tx, 3), mine)
	})
	if err == nil || !errors.Is(err, mine) {
		t.Errorf("got %v, want fn's error alone", err)
	}
	if got := count(t, pool); got != 0 {
		t.Errorf("%d rows, want 0", got)
	}
	if idle := pool.Stat().AcquiredConns(); idle != 0 {
		t.Errorf("%d connections were not given back", idle)
	}
}

func TestInSnapshotIsReadOnly(t *testing.T) {
	t.Parallel()
	pool := table(t)
	err := pg.InSnapshot(t.Context(), pool, func(tx pgx.Tx) error { return insert(t.Context(), tx, 1) })
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("got %v, want a refusal to write", err)
	}
}

func TestInTenant(t *testing.T) {
	t.Parallel()
	pool := table(t)
	mustExec(t, pool, `create table notes (tenant_id bigint, note text); insert into notes values (1, 'mine'), (2, 'theirs');
		alter table notes enable row level security; grant select on notes to tenon_reader;
		create policy own on notes to tenon_reader using (tenant_id = nullif(current_setting('tenon.tenant_id', true), '')::bigint)`)
	read := func(tx pgx.Tx) (notes []string, role string, err error) {
		err = tx.QueryRow(t.Context(), "select coalesce(array_agg(note), '{}'), current_user from notes").Scan(&notes, &role)
		return notes, role, err
	}
	for tenant, want := range map[int64]string{1: "[mine]", 2: "[theirs]", 3: "[]"} {
		err := pg.InTenant(t.Context(), pool, tenant, func(tx pgx.Tx) error {
			notes, role, err := read(tx)
			if fmt.Sprint(notes) != want || role != "tenon_reader" {
				t.Errorf("tenant %d sees %v as %s, want %s as tenon_reader", tenant, notes, role, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// The role and the setting have ended with the transaction, and without the setting the reader sees nothing.
	err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		if _, role, err := read(tx); err != nil || role == "tenon_reader" {
			t.Errorf("the role outlived its transaction: %s, %v", role, err)
		}
		if _, err := tx.Exec(t.Context(), "set local role tenon_reader"); err != nil {
			return err
		}
		notes, _, err := read(tx)
		if len(notes) != 0 {
			t.Errorf("a reader without a tenant sees %v", notes)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = pg.InTenant(t.Context(), pool, 1, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "insert into notes values (1, 'x')")
		return err
	})
	if err == nil {
		t.Error("a reader can write")
	}
}

func TestReaderOf(t *testing.T) {
	t.Parallel()
	pool := table(t)
	mustExec(t, pool, `create table notes (tenant_id bigint, note text); insert into notes values (1, 'mine'), (2, 'theirs');
		alter table notes enable row level security; grant select on notes to tenon_reader;
		create policy own on notes to tenon_reader using (tenant_id = nullif(current_setting('tenon.tenant_id', true), '')::bigint);
		create function write_note() returns int language sql as $$ insert into notes values (1, 'x') returning 1 $$`)
	const query = "select coalesce(array_agg(note), '{}'), current_user from notes"
	var notes []string
	var role string
	for range 3 { // the statements are prepared by then, for whoever came first
		for tenant, want := range map[int64]string{1: "[mine]", 2: "[theirs]", 3: "[]"} {
			err := pg.ReaderOf(pool, tenant).QueryRow(t.Context(), query).Scan(&notes, &role)
			if err != nil || fmt.Sprint(notes) != want || role != "tenon_reader" {
				t.Errorf("tenant %d sees %v as %s, %v; want %s as tenon_reader", tenant, notes, role, err, want)
			}
		}
		if err := pool.QueryRow(t.Context(), query).Scan(&notes, &role); err != nil || role == "tenon_reader" {
			t.Errorf("the role outlived its query: %s, %v", role, err)
		}
		var tenant string
		if err := pool.QueryRow(t.Context(), "select current_setting('tenon.tenant_id', true) || current_setting('transaction_read_only')").Scan(&tenant); err != nil || tenant != "off" {
			t.Errorf("the tenant outlived its query: %q, %v", tenant, err)
		}
	}
	var n int
	if err := pg.ReaderOf(pool, 1).QueryRow(t.Context(), "select write_note()").Scan(&n); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("got %v, want a refusal to write", err)
	}
	if err := pg.ReaderOf(pool, 1).QueryRow(t.Context(), "select 1 from notes where note = 'none'").Scan(&n); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("got %v, want no rows", err)
	}
	if err := pg.ReaderOf(pool, 1).QueryRow(t.Context(), "select from where").Scan(&n); err == nil {
		t.Error("a statement that cannot be read is taken")
	}
	rows, err := pg.ReaderOf(pool, 2).Query(t.Context(), "select note from notes")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || fmt.Sprint(got) != "[theirs]" {
		t.Errorf("rows %v, %v", got, err)
	}
	if busy := pool.Stat().AcquiredConns(); busy != 0 {
		t.Errorf("%d connections were not given back", busy)
	}
}

// TestOutcomeOfRealErrors provokes each kind on a real server.
func TestOutcomeOfRealErrors(t *testing.T) {
	t.Parallel()
	pool := table(t)
	mustExec(t, pool, `insert into things values (1, 1);
		create function fence() returns void language plpgsql as $$ begin raise exception '3,5' using errcode = 'TN001'; end $$`)
	for name, test := range map[string]struct {
		sql  string
		kind pg.Kind
		code fault.Code
	}{
		"fence":        {"select fence()", pg.KindFence, fault.CodeAborted},
		"out of range": {"select 'hunter2'::int", pg.KindData, fault.CodeInvalid},
		"check":        {"insert into things values (2, -1)", pg.KindData, fault.CodeInvalid},
		"unique":       {"insert into things values (1, 1)", pg.KindData, fault.CodeAlreadyExists},
		"foreign key":  {"insert into things values (2, 1, 99)", pg.KindData, fault.CodeFailedPrecondition},
		"timeout":      {"set local statement_timeout = 10; select pg_sleep(30)", pg.KindTransient, fault.CodeUnavailable},
		"no table":     {"select * from nothing", pg.KindBroken, fault.CodeInternal},
		"killed":       {"select pg_terminate_backend(pg_backend_pid())", pg.KindUnknown, fault.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), test.sql)
				return err
			})
			if got := pg.Outcome(err); got != test.kind {
				t.Errorf("Outcome(%v) = %v, want %v", err, got, test.kind)
			}
			if got := fault.Of(pg.Fault(err)).Code; got != test.code {
				t.Errorf("Fault(%v) is %v, want %v", err, got, test.code)
			}
			if text := fault.Detail(pg.Fault(err)); strings.Contains(text, "hunter2") {
				t.Errorf("a value is repeated in %q", text)
			}
			if lost, ok := pg.Fenced(err); ok != (test.kind == pg.KindFence) || ok && lost != "3,5" {
				t.Errorf("Fenced = %q, %v", lost, ok)
			}
			if got := pg.IsUniqueViolation(err, "things_pkey"); got != (name == "unique") {
				t.Errorf("IsUniqueViolation = %v", got)
			}
		})
	}
}

func TestOutcomeOfConnectionErrors(t *testing.T) {
	t.Parallel()
	fatal := &pgconn.PgError{Severity: "FATAL", Code: "57P01"}
	for name, test := range map[string]struct {
		err  error
		want pg.Kind
	}{
		"none":                 {nil, pg.KindOK},
		"connection lost":      {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), pg.KindUnknown},
		"cancelled":            {fmt.Errorf("exec: %w", context.Canceled), pg.KindUnknown},
		"deadline":             {context.DeadlineExceeded, pg.KindUnknown},
		"terminated":           {fatal, pg.KindUnknown},
		"completion unknown":   {&pgconn.PgError{Severity: "ERROR", Code: "40003"}, pg.KindUnknown},
		"connection exception": {&pgconn.PgError{Severity: "ERROR", Code: "08006"}, pg.KindUnknown},
		"serialization":        {&pgconn.PgError{Severity: "ERROR", Code: "40001"}, pg.KindTransient},
		"deadlock":             {&pgconn.PgError{Severity: "ERROR", Code: "40P01"}, pg.KindTransient},
		"disk full":            {&pgconn.PgError{Severity: "ERROR", Code: "53100"}, pg.KindTransient},
		"read only":            {&pgconn.PgError{Severity: "ERROR", Code: "25006"}, pg.KindTransient},
		"no rows":              {pgx.ErrNoRows, pg.KindBroken},
		"ours":                 {errors.New("anything"), pg.KindBroken},
	} {
		if got := pg.Outcome(test.err); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if !fault.Is(pg.Fault(pgx.ErrNoRows), fault.CodeNotFound) || pg.Fault(nil) != nil {
		t.Error("Fault of no rows or of nil is wrong")
	}
	mine := fault.NotFound("run", "1")
	if got := pg.Fault(fmt.Errorf("x: %w", mine)); !errors.Is(got, mine) {
		t.Error("a fault does not come back untouched")
	}
}

func TestCleanStripsData(t *testing.T) {
	t.Parallel()
	clean := pg.Clean(&pgconn.PgError{Code: "23505", Message: "duplicate key", Detail: "Key (name)=(hunter2)", Hint: "hunter2", Where: "hunter2", ConstraintName: "c"})
	left, ok := errors.AsType[*pgconn.PgError](clean)
	if !ok || !pg.IsUniqueViolation(clean, "c") {
		t.Fatalf("Clean makes something else of it: %v", clean)
	}
	if text := fmt.Sprintf("%+v", *left); strings.Contains(text, "hunter2") { // of the fields: Error() has few of them
		t.Errorf("Clean leaves %s", text)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	address := testkit.EmptyDatabaseURL(t)
	pool, err := pg.Open(t.Context(), pg.Config{URL: address, MaxConns: 3, ApplicationName: "opened", StatementTimeout: 7 * time.Second, LockTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for name, want := range map[string]string{
		"application_name": "opened", "statement_timeout": "7s", "lock_timeout": "0", "idle_in_transaction_session_timeout": "1min", "timezone": "UTC",
	} {
		var got string
		if err := pool.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	if got := pool.Config().MaxConns; got != 3 {
		t.Errorf("MaxConns = %d", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config pg.Config
		reason string
	}{
		"no address":  {pg.Config{}, "DATABASE_URL_MISSING"},
		"bad address": {pg.Config{URL: "postgres://u:hunter2@host:port/x"}, "DATABASE_URL_INVALID"},
		"nobody home": {pg.Config{URL: "postgres://u:hunter2@127.0.0.1:1/x"}, pg.ReasonUnreachable},
		"max conns":   {pg.Config{URL: "postgres://h/x", MaxConns: -1}, "DATABASE_CONFIG"},
		"min idle":    {pg.Config{URL: "postgres://h/x", MaxConns: 1, MinIdleConns: 2}, "DATABASE_CONFIG"},
	} {
		_, err := pg.Open(t.Context(), test.config)
		if !fault.HasReason(err, test.reason) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %s without the password", name, err, test.reason)
		}
	}
}

func TestCheckDurability(t *testing.T) {
	t.Parallel()
	address := testkit.EmptyDatabaseURL(t)
	pool := testkit.Pool(t, address)
	if err := pg.CheckDurability(t.Context(), pool); err != nil {
		t.Errorf("a durable server is refused: %v", err)
	}
	weak := testkit.Pool(t, address+"&synchronous_commit=off")
	err := pg.CheckDurability(t.Context(), weak)
	if !fault.HasReason(err, pg.ReasonNotDurable) || !strings.Contains(err.Error(), "synchronous_commit = off") {
		t.Errorf("got %v, want a refusal that names synchronous_commit", err)
	}
}
