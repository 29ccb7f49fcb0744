package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/internal/testkit"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// A server whose role is neither a superuser nor the owner of a table does everything, and the wall between tenants holds against its readers and
// against itself.
func TestServerUnderARoleThatOwnsNothing(t *testing.T) {
	t.Parallel()
	owner := testkit.DatabaseURL(t)
	role := testkit.ServerURL(t, owner)
	server := apptest.StartOn(t, role)
	runEverything(t, server)
	other := apptest.Tenant(t, server.App, "other")
	triggerNothing(t, server, other)

	pool := testkit.Pool(t, role)
	var super, bypass, owns, engine bool
	err := pool.QueryRow(t.Context(), `select rolsuper, rolbypassrls, exists (select from pg_class where pg_has_role(current_user, relowner, 'USAGE')),
		pg_has_role(current_user, 'tenon_engine', 'USAGE') from pg_roles where rolname = current_user`).Scan(&super, &bypass, &owns, &engine)
	if err != nil || super || bypass || owns || !engine {
		t.Fatalf("superuser %v, bypasses policies %v, owns something %v, is the engine %v: %v", super, bypass, owns, engine, err)
	}
	readersSeeTheirTenantAlone(t, pool, server.Owner.TenantID, other.TenantID)
	nothingTakesTheWallDown(t, pool, server.Owner.TenantID)
}

// runEverything uses every service once: sign-in, tokens, members, workflows, a parent with children, lists, a cancel, a replay.
func runEverything(t *testing.T, server *apptest.Server) {
	t.Helper()
	double := tenon.NewTask("double", func(_ tenon.Context, n int) (int, error) { return 2 * n, nil })
	sum := tenon.NewTask("sum", func(ctx tenon.Context, n int) (int, error) {
		ctx.Logger().Info("summing", "n", n)
		doubled, err := tenon.Children(ctx, double, []tenon.Child[int]{{Key: "a", Input: n}, {Key: "b", Input: n}})
		return len(doubled) * n, err
	})
	work(t, client(t, server, ""), tenon.WithWorkflows(double, sum))
	c := client(t, server, authz.RoleDeveloper)
	run := untilKnown(t, func() (*tenon.Run[int], error) { return sum.Trigger(t.Context(), c, 21) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := run.Result(ctx); err != nil || got != 42 {
		t.Fatalf("the result is %d: %v", got, err)
	}
	list, err := c.Runs().ListRuns(ctx, &runsv1.ListRunsRequest{})
	if err != nil || len(list.GetRuns()) != 3 {
		t.Errorf("%d runs are listed, want 3: %v", len(list.GetRuns()), err)
	}
	large, err := c.Runs().Trigger(ctx, &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "double", InputJson: strings.Repeat(" ", 64<<10) + "1"}})
	if err != nil {
		t.Fatalf("an input that stands in a table of its own: %v", err)
	}
	if _, err := c.Runs().CancelRun(ctx, &runsv1.CancelRunRequest{RunId: large.GetRunId()}); err != nil && connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("cancel: %v", err)
	}
	if _, err := c.ReplayRun(ctx, run.ID()); err != nil {
		t.Errorf("replay: %v", err)
	}
	manageAccount(ctx, t, server)
}

// manageAccount signs in over the network, and looks at what only identity does.
func manageAccount(ctx context.Context, t *testing.T, server *apptest.Server) {
	t.Helper()
	transport := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(transport.CloseIdleConnections)
	browser := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
			request.Header().Set("User-Agent", "a browser")
			return next(ctx, request)
		}
	})
	anonymous := identityv1connect.NewIdentityServiceClient(transport, server.Address, connect.WithInterceptors(browser))
	session, err := anonymous.SignIn(ctx, &identityv1.SignInRequest{Email: apptest.Email("acme"), Password: server.Password})
	if err != nil {
		t.Fatal(err)
	}
	call, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set(authn.TenantHeader, "acme")
	me := identityv1connect.NewIdentityServiceClient(transport, server.Address, withToken(session.GetSessionToken()))
	sessions, err := me.ListSessions(call, &identityv1.ListSessionsRequest{})
	if err != nil || len(sessions.GetSessions()) != 2 || sessions.GetSessions()[0].GetUserAgent() != "a browser" || sessions.GetSessions()[0].GetAddress() != "127.0.0.1" {
		t.Errorf("the sessions are %v: %v", sessions, err)
	}
	guest, err := anonymous.SignUp(ctx, &identityv1.SignUpRequest{Email: "guest@example.com", Password: "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := me.AddMember(call, &identityv1.AddMemberRequest{Email: "guest@example.com", Role: identityv1.Role_ROLE_ADMIN}); err != nil {
		t.Errorf("add a member: %v", err)
	}
	if _, err := me.ChangeMemberRole(call, &identityv1.ChangeMemberRoleRequest{UserId: guest.GetUser().GetId(), Role: identityv1.Role_ROLE_VIEWER}); err != nil {
		t.Errorf("change a role: %v", err)
	}
	if _, err := me.RemoveMember(call, &identityv1.RemoveMemberRequest{UserId: guest.GetUser().GetId()}); err != nil {
		t.Errorf("remove a member: %v", err)
	}
	if _, err := me.SignOutOtherSessions(call, &identityv1.SignOutOtherSessionsRequest{}); err != nil {
		t.Errorf("sign out elsewhere: %v", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.Address+"/.well-known/jwks.json", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := transport.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Body.Close() //nolint:errcheck // nothing was written
	if keys.StatusCode != http.StatusOK {
		t.Errorf("the key set: %s", keys.Status)
	}
}

// triggerNothing leaves rows of another tenant: a workflow, and a run that nobody works on.
func triggerNothing(t *testing.T, server *apptest.Server, other authn.Principal) {
	t.Helper()
	_, token := server.Token(t, other, authz.RoleDeveloper, time.Hour)
	_, workerToken := server.Token(t, other, "", time.Hour)
	c, err := tenon.NewClient(tenon.WithAddress(server.Address), tenon.WithToken(token))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w, err := tenon.NewClient(tenon.WithAddress(server.Address), tenon.WithToken(workerToken), tenon.WithLogger(testkit.Logger(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	task := tenon.NewTask("theirs", func(_ tenon.Context, n int) (int, error) { return n, nil })
	work(t, w, tenon.WithWorkflows(task))
	run := untilKnown(t, func() (*tenon.Run[int], error) { return task.Trigger(t.Context(), c, 1) })
	if _, err := run.Result(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// readable lists the tables of the schema that a reader may read at all.
func readable(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	var tables []string
	err := pool.QueryRow(t.Context(), `select array_agg(relname::text order by relname) from pg_class
		where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and has_table_privilege('tenon_reader', oid, 'SELECT')`).Scan(&tables)
	if err != nil || len(tables) < 10 {
		t.Fatalf("readers read %v: %v", tables, err)
	}
	return tables
}

func readersSeeTheirTenantAlone(t *testing.T, pool *pgxpool.Pool, mine, theirs int64) {
	t.Helper()
	rows := map[string]int{}
	for _, table := range readable(t, pool) {
		key := "tenant_id"
		if table == "tenants" {
			key = "id"
		}
		var there, own, foreign int
		count := func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), fmt.Sprintf("select count(*) filter (where %[1]s = $1), count(*) filter (where %[1]s <> $1) from %[2]s", key, table), mine).
				Scan(&own, &foreign)
		}
		if err := pool.QueryRow(t.Context(), fmt.Sprintf("select count(*) from %s where %s = $1", table, key), theirs).Scan(&there); err != nil {
			t.Fatal(err)
		}
		rows[table] = there
		if err := pg.InTenant(t.Context(), pool, mine, count); err != nil || foreign != 0 || (there > 0 && table != "live" && own == 0) {
			t.Errorf("%s: a reader of one tenant sees %d rows of its own and %d of others: %v", table, own, foreign, err)
		}
		err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { // pg.InTenant forgotten
			if _, err := tx.Exec(t.Context(), "set local role tenon_reader"); err != nil {
				return err
			}
			return count(tx)
		})
		if err != nil || own+foreign != 0 {
			t.Errorf("%s: a reader of no tenant sees %d rows: %v", table, own+foreign, err)
		}
	}
	for _, table := range []string{"tenants", "members", "workflows", "history_runs", "workers"} {
		if rows[table] == 0 {
			t.Errorf("the other tenant has no rows in %s to hide", table)
		}
	}
	for _, table := range []string{"users", "user_sessions", "tokens", "signing_keys", "revocations", "shards", "tenant_shards", "goose_db_version"} {
		err := pg.InTenant(t.Context(), pool, mine, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "select from "+table)
			return err
		})
		wantRefused(t, "a reader reads "+table, err)
	}
}

func wantRefused(t *testing.T, what string, err error) {
	t.Helper()
	const insufficientPrivilege = "42501"
	if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != insufficientPrivilege {
		t.Errorf("%s: %v", what, err)
	}
}

func nothingTakesTheWallDown(t *testing.T, pool *pgxpool.Pool, mine int64) {
	t.Helper()
	var owner string
	if err := pool.QueryRow(t.Context(), "select relowner::regrole::text from pg_class where oid = 'live'::regclass").Scan(&owner); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"alter table live disable row level security",
		"drop policy tenant_reads on live",
		"alter policy tenant_reads on live using (true)",
		"create policy mine on live for select to tenon_reader using (true)",
		"alter table live owner to current_user",
		"alter role tenon_reader bypassrls",
		"alter role current_user superuser",
		"create or replace function current_tenant() returns bigint language sql as 'select 1::bigint'",
		"insert into goose_db_version (version_id, is_applied) values (77777, true)",
		"set role " + owner,
	} {
		_, err := pool.Exec(t.Context(), statement)
		wantRefused(t, statement+" as the server", err)
		err = pg.InTenant(t.Context(), pool, mine, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), statement)
			return err
		})
		// In a reader's transaction, which is read-only, some are refused for that.
		if err == nil || (strings.HasPrefix(statement, "set") && !strings.Contains(err.Error(), "permission denied")) {
			t.Errorf("%s as a reader: %v", statement, err)
		}
	}
	// Granting what one may not grant is no error for Postgres: it warns, and grants nothing.
	var granted bool
	if _, err := pool.Exec(t.Context(), "grant select on users to tenon_reader"); err != nil {
		wantRefused(t, "a grant", err)
	}
	if err := pool.QueryRow(t.Context(), "select has_table_privilege('tenon_reader', 'users', 'SELECT')").Scan(&granted); err != nil || granted {
		t.Errorf("the server let readers read users: %v, %v", granted, err)
	}
	err := pg.InTenant(t.Context(), pool, mine, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "set local row_security = off")
		if err == nil {
			_, err = tx.Exec(t.Context(), "select from history_runs")
		}
		return err
	})
	wantRefused(t, "a reader turns the policies off for itself", err)
}
