package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/internal/testkit"
)

func TestTenantsCommands(t *testing.T) {
	url := testkit.DatabaseURL(t)
	t.Setenv("DATABASE_URL", url)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	const insert = `WITH t AS (INSERT INTO tenants (public_id, slug, display_name) VALUES ($1, 'acme', 'Acme') RETURNING id) INSERT INTO tenant_shards SELECT id, 7 FROM t`
	if _, err := conn.Exec(t.Context(), insert, uuid.New()); err != nil {
		t.Fatal(err)
	}
	tenants := func(args ...string) string {
		var out bytes.Buffer
		cmd := tenantsCommand()
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			return explain(err)
		}
		return out.String()
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"shard", "acme"}, "tenant acme is in shard 7"},
		{[]string{"move", "acme", "--shard", "12"}, "tenant acme moved from shard 7 to shard 12"},
		{[]string{"shard", "acme"}, "tenant acme is in shard 12"},
		{[]string{"move", "acme"}, `required flag(s) "shard" not set`},
		{[]string{"move", "acme", "--shard", "64"}, `shard "64" does not exist`},
		{[]string{"move", "nobody", "--shard", "1"}, `tenant "nobody" does not exist`},
	} {
		if got := tenants(c.args...); !strings.Contains(got, c.want) {
			t.Errorf("tenants %s says %q, want %q in it", strings.Join(c.args, " "), got, c.want)
		}
	}
	t.Setenv("DATABASE_URL", "")
	if got := tenants("shard", "acme"); !strings.Contains(got, "DATABASE_URL") {
		t.Errorf("without a database: %q", got)
	}
}
