package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/obs"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/internal/presence"
	"github.com/tenon-run/tenon/internal/rpc"
	"github.com/tenon-run/tenon/services/dispatcher"
	"github.com/tenon-run/tenon/services/identity"
	"github.com/tenon-run/tenon/services/registry"
	"github.com/tenon-run/tenon/services/scheduler"
)

// Version is the release, set by the linker.
var Version = "dev" //nolint:gochecknoglobals // set by -ldflags

// App is a process of a Tenon install: some or all of its services on one port. A service that it does not run is nil here; calls to it are
// passed on.
type App struct {
	cfg         Config
	instance    uuid.UUID
	pool        *pgxpool.Pool // requests and loops
	commits     *pgxpool.Pool // the engine's
	bus         *bus.NATS
	presence    *presence.Presence
	peers       *peers
	plans       *definition.Plans
	authorizer  *authz.Authorizer
	revocations *authn.Revocations
	verifier    *authn.Verifier
	server      *rpc.Server
	loopback    *http.Transport // the dashboard's way to the API
	stopTracing func(context.Context) error

	Identity   *identity.Service
	Registry   *registry.Service
	Scheduler  *scheduler.Service
	Dispatcher *dispatcher.Service
}

// New prepares the database's schema where it may, refuses a database that is not durable, and wires everything. Run makes it work; Close ends
// what New began.
func New(ctx context.Context, cfg Config) (app *App, err error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, instance: uuid.New()}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if err := a.database(ctx); err != nil {
		return nil, err
	}
	if err := a.connect(); err != nil {
		return nil, err
	}
	if err := a.guard(ctx); err != nil {
		return nil, err
	}
	if err := a.mount(ctx); err != nil {
		return nil, err
	}
	a.addChecks()
	return a, nil
}

// database refuses one that is not durable before it touches it.
func (a *App) database(ctx context.Context) (err error) {
	if a.pool, err = pg.Open(ctx, pg.Config{URL: a.cfg.DatabaseURL}); err != nil {
		return err
	}
	if err := pg.CheckDurability(ctx, a.pool); err != nil {
		return err
	}
	return db.Prepare(ctx, a.cfg.DatabaseURL)
}

func (a *App) connect() (err error) {
	if a.bus, err = bus.New(a.cfg.NATS, a.cfg.Log); err != nil {
		return err
	}
	if a.plans, err = definition.NewPlans(definition.PlansConfig{DB: a.pool, Bus: a.bus, Log: a.cfg.Log}); err != nil {
		return err
	}
	a.presence, err = presence.New(presence.Config{
		Bus: a.bus, Log: a.cfg.Log, Self: presence.Process{Instance: a.instance.String(), Services: a.cfg.Services, Address: a.cfg.Advertise},
	})
	if err != nil {
		return err
	}
	a.peers = newPeers(a.presence, a.cfg)
	return nil
}

// guard makes the server with what stands before every call.
func (a *App) guard(ctx context.Context) (err error) {
	if a.authorizer, err = authz.New(); err != nil {
		return err
	}
	if a.revocations, err = authn.NewRevocations(authn.RevocationsConfig{Pool: a.pool, Bus: a.bus, Log: a.cfg.Log}); err != nil {
		return err
	}
	if a.verifier, err = authn.NewVerifier(authn.Config{Pool: a.pool, Revocations: a.revocations}); err != nil {
		return err
	}
	provider, stop, err := obs.StartTracing(ctx, obs.TraceConfig{Service: "tenond", Version: Version, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	a.stopTracing = stop
	a.server, err = rpc.New(rpc.Config{
		Verifier: a.verifier, Authorizer: a.authorizer, Log: a.cfg.Log, TracerProvider: provider, TrustedProxies: a.cfg.TrustedProxies, Peers: a.peers,
	})
	return err
}

// Address is where this machine reaches the server, for example "http://127.0.0.1:8080".
func (a *App) Address() string { return a.cfg.ownAddress() }

// Handler is the whole server, for callers in the same process.
func (a *App) Handler() http.Handler { return a.server.Handler() }

// Run works until the context ends, then stops in the reverse order: calls first, then what serves them. ready is called once calls are answered.
func (a *App) Run(ctx context.Context, ready func()) error {
	group := loop.NewGroup(a.cfg.Log)
	group.AddService(loop.Service{Name: "presence", Run: a.presence.Run})
	group.AddService(loop.Service{Name: "revocations", Run: a.revocations.RunReady})
	group.Add("token uses", func(ctx context.Context) error { return a.verifier.NoteUses(ctx, a.cfg.Log) })
	if a.Identity != nil {
		group.Add("identity", a.Identity.Run)
	}
	if a.Scheduler != nil {
		group.Add("scheduler", a.Scheduler.Run)
	}
	if a.Dispatcher != nil {
		group.Add("dispatcher", a.Dispatcher.Run)
	}
	group.AddService(loop.Service{Name: "server", Run: func(ctx context.Context, started func()) error {
		defer context.AfterFunc(ctx, a.presence.Leave)()
		started()
		a.presence.Join()
		if ready != nil {
			go ready()
		}
		return a.server.Run(ctx, a.cfg.Listener, a.cfg.TLS)
	}})
	if err := group.Run(ctx); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

// Close ends what New began. Call it after Run has returned.
func (a *App) Close() {
	if a.loopback != nil {
		a.loopback.CloseIdleConnections()
	}
	if a.peers != nil {
		a.peers.transport.CloseIdleConnections()
	}
	if a.plans != nil {
		a.plans.Close()
	}
	if a.bus != nil {
		a.bus.Close()
	}
	for _, pool := range []*pgxpool.Pool{a.pool, a.commits} {
		if pool != nil {
			pool.Close()
		}
	}
	if a.stopTracing != nil {
		const most = 5 * time.Second
		ctx, cancel := context.WithTimeout(context.Background(), most)
		defer cancel()
		if err := a.stopTracing(ctx); err != nil {
			a.cfg.Log.Warn("app: traces not flushed", "error", err)
		}
	}
}

// ownCertificate is the TLS configuration of a client in this process: it talks to this server's certificate and to no other, whatever names
// that carries.
func ownCertificate(server *tls.Config) *tls.Config {
	if server == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the certificate itself.
		VerifyConnection: func(state tls.ConnectionState) error {
			own, err := server.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				return fmt.Errorf("read our own certificate: %w", err)
			}
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, own.Certificate[0]) {
				return errors.New("the server at our own address has another certificate than ours")
			}
			return nil
		},
	}
}

// Services lists what this process runs.
func (a *App) Services() []string { return a.cfg.Services }
