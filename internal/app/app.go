package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/db"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/obs"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/internal/rpc"
	"github.com/tenon-run/tenon/services/dispatcher"
	"github.com/tenon-run/tenon/services/dispatcher/dispatcherrpc"
	"github.com/tenon-run/tenon/services/identity"
	"github.com/tenon-run/tenon/services/identity/identityrpc"
	"github.com/tenon-run/tenon/services/registry"
	"github.com/tenon-run/tenon/services/registry/registryrpc"
	"github.com/tenon-run/tenon/services/scheduler"
	"github.com/tenon-run/tenon/services/scheduler/engine"
	"github.com/tenon-run/tenon/services/scheduler/schedulerrpc"
)

// Version is the release, set by the linker.
var Version = "dev" //nolint:gochecknoglobals // set by -ldflags

// Config says what an App runs on. The fields of the first block are required.
type Config struct {
	DatabaseURL string
	// NATS is a connection made with bus.Options; the caller closes it after Run.
	NATS *nats.Conn
	// Listener is the one port.
	Listener  net.Listener
	MasterKey []byte
	Log       *slog.Logger

	// Grace is how long a worker out of touch keeps its work. Default 10 s.
	Grace time.Duration
	// PublicAddress is put into tokens. Default "http://" and the listener's address.
	PublicAddress string
	// PasswordMemory is what one password hash takes, in KiB. Default 65,536.
	PasswordMemory uint32
}

// App is a Tenon server: all services in one process.
type App struct {
	cfg         Config
	pool        *pgxpool.Pool // requests and loops
	commits     *pgxpool.Pool // the engine's
	bus         *bus.NATS
	plans       *definition.Plans
	revocations *authn.Revocations
	server      *rpc.Server
	loopback    *http.Transport // the dashboard's way to the API
	stopTracing func(context.Context) error

	Identity   *identity.Service
	Registry   *registry.Service
	Scheduler  *scheduler.Service
	Dispatcher *dispatcher.Service
}

// New migrates the database, refuses one that is not durable, and wires everything. Run makes it work; Close ends what New began.
func New(ctx context.Context, cfg Config) (app *App, err error) {
	if cfg.PublicAddress == "" {
		cfg.PublicAddress = "http://" + cfg.Listener.Addr().String()
	}
	if cfg.Grace == 0 {
		const grace = 10 * time.Second
		cfg.Grace = grace
	}
	a := &App{cfg: cfg}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if err := db.Migrate(ctx, cfg.DatabaseURL); err != nil {
		return nil, err
	}
	if err := a.connect(ctx); err != nil {
		return nil, err
	}
	if err := a.services(ctx); err != nil {
		return nil, err
	}
	return a, a.listen()
}

func (a *App) connect(ctx context.Context) (err error) {
	if a.pool, err = pg.Open(ctx, pg.Config{URL: a.cfg.DatabaseURL}); err != nil {
		return err
	}
	if err := pg.CheckDurability(ctx, a.pool); err != nil {
		return err
	}
	const connections = 8 // one commits, the others read for the engine
	if a.commits, err = pg.Open(ctx, pg.Config{URL: a.cfg.DatabaseURL, ApplicationName: "tenon-engine", MaxConns: connections, PlanPerCall: true}); err != nil {
		return err
	}
	a.bus, err = bus.New(a.cfg.NATS, a.cfg.Log)
	return err
}

func (a *App) services(ctx context.Context) (err error) {
	log, instance := a.cfg.Log, uuid.New()
	authorizer, err := authz.New()
	if err != nil {
		return err
	}
	if a.revocations, err = authn.NewRevocations(authn.RevocationsConfig{Pool: a.pool, Bus: a.bus, Log: log}); err != nil {
		return err
	}
	verifier, err := authn.NewVerifier(authn.Config{Pool: a.pool, Revocations: a.revocations})
	if err != nil {
		return err
	}
	if a.plans, err = definition.NewPlans(definition.PlansConfig{DB: a.pool, Bus: a.bus, Log: log}); err != nil {
		return err
	}
	a.Identity, err = identity.New(identity.Config{
		Pool: a.pool, Bus: a.bus, Authorizer: authorizer, MasterKey: a.cfg.MasterKey, PublicAddress: a.cfg.PublicAddress, HashMemory: a.cfg.PasswordMemory, Log: log,
	})
	if err != nil {
		return err
	}
	if a.Registry, err = registry.New(registry.Config{Pool: a.pool, Bus: a.bus, Log: log, Changed: a.plans.Forget}); err != nil {
		return err
	}
	a.Scheduler, err = scheduler.New(scheduler.Config{
		Pool: a.commits, Bus: a.bus, Workflows: workflows{a.plans}, Log: log, Instance: flow.ID(instance), Engine: engine.Config{Grace: a.cfg.Grace.Microseconds()},
	})
	if err != nil {
		return err
	}
	a.Dispatcher, err = dispatcher.New(dispatcher.Config{
		Pool: a.pool, Bus: a.bus, Owners: &lease.Caller{Bus: a.bus, Directory: lease.NewDirectory(a.pool)}, Log: log, Instance: instance.String(), Grace: a.cfg.Grace,
	})
	if err != nil {
		return err
	}
	provider, stop, err := obs.StartTracing(ctx, obs.TraceConfig{Service: "tenond", Version: Version, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	a.stopTracing = stop
	a.server, err = rpc.New(rpc.Config{Verifier: verifier, Authorizer: authorizer, Log: log, TracerProvider: provider, TrustedProxies: loopbacks()})
	return err
}

func (a *App) listen() error {
	options := a.server.Options()
	identityrpc.Register(a.server, a.Identity, options...)
	registryrpc.Register(a.server, a.Registry, options...)
	schedulerrpc.Register(a.server, a.Scheduler, options...)
	dispatcherrpc.Register(a.server, a.Dispatcher, options...)
	a.server.AddCheck("postgres", func(ctx context.Context) error { return a.pool.Ping(ctx) })
	a.server.AddCheck("nats", func(context.Context) error {
		if !a.cfg.NATS.IsConnected() {
			return errors.New("the connection to NATS is down")
		}
		return nil
	})
	return a.mountFrontend()
}

// Address is where the server listens, for example "http://127.0.0.1:8080".
func (a *App) Address() string { return "http://" + a.cfg.Listener.Addr().String() }

// Handler is the whole server, for callers in the same process.
func (a *App) Handler() http.Handler { return a.server.Handler() }

// Run works until the context ends, then stops in the reverse order: calls first, then what serves them. ready is called once calls are answered.
func (a *App) Run(ctx context.Context, ready func()) error {
	group := loop.NewGroup(a.cfg.Log)
	group.AddService(loop.Service{Name: "revocations", Run: a.revocations.RunReady})
	group.Add("identity", a.Identity.Run)
	group.Add("scheduler", a.Scheduler.Run)
	group.Add("dispatcher", a.Dispatcher.Run)
	group.AddService(loop.Service{Name: "server", Run: func(ctx context.Context, started func()) error {
		started()
		if ready != nil {
			go ready()
		}
		return a.server.Run(ctx, a.cfg.Listener)
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
