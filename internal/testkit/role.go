package testkit

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/internal/pg"
)

// ServerURL returns the database's address for a login role of the test's own that is what production gives a server: a member of tenon_engine and
// tenon_reader, no superuser, and owner of nothing. The role is dropped at the test's end, when what was connected as it must be closed.
func ServerURL(t testing.TB, ownerURL string) string {
	t.Helper()
	name, password := "tenon_test_server_"+strings.ToLower(rand.Text()), rand.Text()
	asOwner(t, ownerURL, "create role "+name+" login password '"+password+"' in role tenon_engine, tenon_reader") // letters and digits: nothing to quote
	t.Cleanup(func() { asOwner(t, ownerURL, "drop role "+name) })
	parsed, err := url.Parse(ownerURL)
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	parsed.User = url.UserPassword(name, password)
	return parsed.String()
}

// asOwner also works while the test is being cleaned up, when its context has ended.
func asOwner(t testing.TB, ownerURL, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, ownerURL)
	if err != nil {
		t.Fatalf("test role: %v", pg.Fault(err))
	}
	defer conn.Close(ctx) //nolint:errcheck // Nothing is pending.
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Errorf("test role: %v", err)
	}
}
