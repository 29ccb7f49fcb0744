// Package apptest starts a whole server for a test: every service on a database of its own, one free port, a tenant and tokens. Only tests import it.
package apptest

import (
	"context"
	"crypto/rand"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/embedded"
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

// Start runs a server until the test ends, with a config that change has changed. Its workers' grace is two seconds.
func Start(t testing.TB, change ...func(*app.Config)) *Server {
	t.Helper()
	return StartOn(t, testkit.DatabaseURL(t), change...)
}

// StartOn is Start on a migrated database of the caller's.
func StartOn(t testing.TB, database string, change ...func(*app.Config)) *Server {
	t.Helper()
	install := NewInstall(t, database)
	p := install.ProcessWith(func(cfg *app.Config) {
		for _, f := range change {
			f(cfg)
		}
	})
	owner, password := tenant(t, p.App, "acme")
	return &Server{App: p.App, Address: p.Address(), Owner: owner, Password: password, DatabaseURL: database}
}

// Install is what the processes of an install share: a database, a NATS server and a master key.
type Install struct {
	t        testing.TB
	database string
	nats     *embedded.NATS
	key      []byte
}

// NewInstall makes an install without processes, on a migrated database.
func NewInstall(t testing.TB, database string) *Install {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &Install{t: t, database: database, nats: testkit.NATS(t), key: key}
}

// Process is one process of an install. It lives in the test's own, with a connection of its own to NATS.
type Process struct {
	*app.App

	// Stop ends it in order, as SIGTERM does. It may be called again.
	Stop func()
}

// Process starts one that runs these services, all without any, and stops it at the test's end.
func (i *Install) Process(services ...string) *Process {
	i.t.Helper()
	return i.ProcessWith(func(*app.Config) {}, services...)
}

// ProcessWith is Process with a config that change has changed.
func (i *Install) ProcessWith(change func(*app.Config), services ...string) *Process {
	i.t.Helper()
	t, log := i.t, testkit.Logger(i.t)
	conn, err := i.nats.Conn(bus.Options("test", log)...)
	must(t, err)
	t.Cleanup(conn.Close)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	const grace, passwordKiB = 2 * time.Second, 8192
	cfg := app.Config{
		DatabaseURL: i.database, NATS: conn, Listener: listener, MasterKey: i.key, Log: log, Services: services, Grace: grace, PasswordMemory: passwordKiB,
	}
	change(&cfg)
	a, err := app.New(t.Context(), cfg)
	must(t, err)
	ready := make(chan struct{})
	task := loop.Start(context.WithoutCancel(t.Context()), "server", func(ctx context.Context) error { return a.Run(ctx, func() { close(ready) }) })
	stop := sync.OnceFunc(func() {
		const most = 20 * time.Second
		ctx, cancel := context.WithTimeout(context.Background(), most)
		defer cancel()
		must(t, task.Stop(ctx))
		a.Close()
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case <-task.Done():
		t.Fatal(task.Err())
	}
	return &Process{App: a, Stop: stop}
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
	return Token(t, s.App, owner, role, lifetime)
}

// Token makes an API token with a role, or a worker token where the role is empty. The app runs the identity service.
func Token(t testing.TB, a *app.App, owner authn.Principal, role string, lifetime time.Duration) (identity.Token, string) {
	t.Helper()
	kind := authn.KindAPI
	if role == "" {
		kind = authn.KindWorker
	}
	token, secret, err := a.Identity.CreateToken(t.Context(), owner, identity.NewToken{Name: "test", Kind: kind, Role: role, Lifetime: lifetime})
	must(t, err)
	return token, secret
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
