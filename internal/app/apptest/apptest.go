// Package apptest starts a whole server for a test: every service on a database of its own, one free port, a tenant and tokens. Only tests import it.
package apptest

import (
	"context"
	"crypto/rand"
	"net"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/testkit"
	"github.com/tenon-run/tenon/services/identity"
)

// Server is a running server with one tenant.
type Server struct {
	*app.App
	// Address is "http://127.0.0.1:port".
	Address string
	// Owner is the tenant's owner, for calls to app.App.Identity; it signs in as Email("acme") with Password.
	Owner    authn.Principal
	Password string
	// DatabaseURL is its database, for what the API does not show.
	DatabaseURL string
}

// Start runs a server until the test ends. Its workers' grace is two seconds.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartOn(t, testkit.DatabaseURL(t))
}

// StartOn is Start on a migrated database of the caller's.
func StartOn(t testing.TB, database string) *Server {
	t.Helper()
	log := testkit.Logger(t)
	conn, err := testkit.NATS(t).Conn(bus.Options("test", log)...)
	must(t, err)
	t.Cleanup(conn.Close)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	const grace, passwordKiB = 2 * time.Second, 8192
	a, err := app.New(t.Context(), app.Config{
		DatabaseURL: database, NATS: conn, Listener: listener, MasterKey: key, Log: log, Grace: grace, PasswordMemory: passwordKiB,
	})
	must(t, err)
	t.Cleanup(a.Close)
	ready := make(chan struct{})
	task := loop.Start(context.WithoutCancel(t.Context()), "server", func(ctx context.Context) error { return a.Run(ctx, func() { close(ready) }) })
	t.Cleanup(func() {
		const most = 20 * time.Second
		ctx, cancel := context.WithTimeout(context.Background(), most)
		defer cancel()
		must(t, task.Stop(ctx))
	})
	select {
	case <-ready:
	case <-task.Done():
		t.Fatal(task.Err())
	}
	owner, password := tenant(t, a, "acme")
	return &Server{App: a, Address: a.Address(), Owner: owner, Password: password, DatabaseURL: database}
}

// Tenant makes a user with a tenant of its own and returns the user as its owner.
func Tenant(t testing.TB, a *app.App, slug string) authn.Principal {
	t.Helper()
	owner, _ := tenant(t, a, slug)
	return owner
}

// Email is the address of a tenant's owner.
func Email(slug string) string { return slug + "@example.com" }

func tenant(t testing.TB, a *app.App, slug string) (owner authn.Principal, password string) {
	t.Helper()
	password = rand.Text()
	session, err := a.Identity.SignUp(t.Context(), Email(slug), password, slug)
	must(t, err)
	owner = authn.Principal{Kind: authn.KindUser, UserID: session.User.ID, Role: authz.RoleUser}
	made, err := a.Identity.CreateTenant(t.Context(), owner, slug, "")
	must(t, err)
	owner.TenantID, owner.Tenant, owner.Role = made.Number, made.ID, authz.RoleOwner
	return owner, password
}

// Token makes an API token with a role, or a worker token where the role is empty.
func (s *Server) Token(t testing.TB, owner authn.Principal, role string, lifetime time.Duration) (identity.Token, string) {
	t.Helper()
	kind := authn.KindAPI
	if role == "" {
		kind = authn.KindWorker
	}
	token, secret, err := s.Identity.CreateToken(t.Context(), owner, identity.NewToken{Name: "test", Kind: kind, Role: role, Lifetime: lifetime})
	must(t, err)
	return token, secret
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
