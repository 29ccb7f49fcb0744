package app

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenon-run/tenon/internal/apidocs"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/pg"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
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

// mount makes the services that this process runs, and passes calls to the others on.
func (a *App) mount(ctx context.Context) error {
	for _, step := range []struct {
		name    string
		make    func(context.Context) error
		service protoreflect.ServiceDescriptor
	}{
		{Identity, a.mountIdentity, identityv1.File_tenon_identity_v1_identity_proto.Services().ByName("IdentityService")},
		{Registry, a.mountRegistry, registryv1.File_tenon_registry_v1_registry_proto.Services().ByName("RegistryService")},
		{Scheduler, a.mountScheduler, runsv1.File_tenon_runs_v1_runs_proto.Services().ByName("RunService")},
		{Dispatcher, a.mountDispatcher, workersv1.File_tenon_workers_v1_workers_proto.Services().ByName("WorkerService")},
		{Dispatcher, func(context.Context) error { return nil }, workersv1.File_tenon_workers_v1_workers_proto.Services().ByName("WorkerAdminService")}, // mounted with it
	} {
		if !a.cfg.runs(step.name) {
			a.server.Forward(step.service, step.name, step.name == Dispatcher)
		} else if err := step.make(ctx); err != nil {
			return err
		}
	}
	docs, err := apidocs.New(Version)
	if err != nil {
		return err
	}
	for _, path := range []string{apidocs.PagePath, apidocs.SpecPath, apidocs.StylePath} {
		a.server.HandleHTTP("GET "+path, docs.Handler(path))
	}
	if !a.cfg.runs(Identity) {
		a.server.ForwardHTTP("GET "+identityrpc.KeySetPath, Identity)
	}
	if !a.cfg.runs(Frontend) {
		a.server.ForwardHTTP("/", Frontend)
		return nil
	}
	return a.mountFrontend()
}

func (a *App) mountIdentity(context.Context) (err error) {
	a.Identity, err = identity.New(identity.Config{
		Pool: a.pool, Bus: a.bus, Authorizer: a.authorizer, MasterKey: a.cfg.MasterKey, PublicAddress: a.cfg.PublicAddress,
		HashMemory: a.cfg.PasswordMemory, Log: a.cfg.Log,
	})
	if err == nil {
		identityrpc.Register(a.server, a.Identity, a.server.Options()...)
	}
	return err
}

func (a *App) mountRegistry(context.Context) (err error) {
	a.Registry, err = registry.New(registry.Config{Pool: a.pool, Bus: a.bus, Log: a.cfg.Log, Changed: a.plans.Forget})
	if err == nil {
		registryrpc.Register(a.server, a.Registry, a.server.Options()...)
	}
	return err
}

func (a *App) mountScheduler(ctx context.Context) (err error) {
	const connections = 8 // one commits, the others read for the engine
	a.commits, err = pg.Open(ctx, pg.Config{URL: a.cfg.DatabaseURL, ApplicationName: "tenon-engine", MaxConns: connections, PinPlans: true})
	if err != nil {
		return err
	}
	a.Scheduler, err = scheduler.New(scheduler.Config{
		Pool: a.pool, Commits: a.commits, Bus: a.bus, Workflows: workflows{a.plans}, Log: a.cfg.Log, Instance: flow.ID(a.instance),
		Members: schedulers{a.presence}, Engine: engine.Config{Grace: a.cfg.Grace.Microseconds()},
	})
	if err == nil {
		schedulerrpc.Register(a.server, a.Scheduler, a.server.Options()...)
	}
	return err
}

func (a *App) mountDispatcher(context.Context) (err error) {
	a.Dispatcher, err = dispatcher.New(dispatcher.Config{
		Pool: a.pool, Bus: a.bus, Owners: &lease.Caller{Bus: a.bus, Directory: lease.NewDirectory(a.pool)}, Log: a.cfg.Log,
		Instance: a.instance.String(), Grace: a.cfg.Grace,
	})
	if err == nil {
		dispatcherrpc.Register(a.server, a.Dispatcher, dispatcherrpc.Elsewhere{
			Others: func() bool { return len(a.presence.Running(Dispatcher)) > 0 },
			Find:   a.dispatcherAt,
			Client: &http.Client{Transport: a.peers.transport},
		}, a.server.Options()...)
	}
	return err
}

// dispatcherAt is the address of another process that runs a dispatcher; empty when it is not known.
func (a *App) dispatcherAt(instance string) string {
	process, ok := a.presence.Find(instance)
	if !ok || !process.Runs(Dispatcher) {
		return ""
	}
	return process.Address
}

// addChecks says what readiness means for this process.
func (a *App) addChecks() {
	a.server.AddCheck("postgres", func(ctx context.Context) error { return a.pool.Ping(ctx) })
	a.server.AddCheck("nats", func(context.Context) error {
		if !a.cfg.NATS.IsConnected() {
			return errors.New("the connection to NATS is down")
		}
		return nil
	})
	if a.Scheduler != nil {
		a.server.AddCheck("scheduler", a.Scheduler.Ready)
	}
	if a.Dispatcher != nil {
		a.server.AddCheck("dispatcher", a.Dispatcher.Ready)
	}
}
