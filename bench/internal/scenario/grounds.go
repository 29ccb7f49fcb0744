package scenario

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/bench/internal/cost"
	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// grounds is what all scenarios of a run stand on: the programs, and one Postgres for every install.
type grounds struct {
	cfg      Config
	log      *slog.Logger
	programs ground.Programs
	postgres *ground.Postgres
	settings map[string]string
	bulkRate float64 // of noop_bulk, where it ran
}

func openGround(ctx context.Context, cfg Config) (*grounds, error) {
	g := &grounds{cfg: cfg, log: cfg.Log, programs: ground.Programs{Server: cfg.Server, Roles: cfg.Roles}}
	var err error
	if cfg.Server == "" {
		cfg.Log.Info("building the server", "folder", cfg.Folder)
		if g.programs.Server, err = ground.Build(ctx, cfg.Folder, cfg.Profiles != ""); err != nil {
			return nil, err
		}
	}
	cfg.Log.Info("starting Postgres", "folder", cfg.Folder)
	if g.postgres, err = ground.StartPostgres(ctx, cfg.Folder, cfg.DatabaseURL, cfg.postgres, cfg.Log); err != nil {
		return nil, err
	}
	if g.settings, err = g.postgres.Describe(ctx); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

func (g *grounds) stop() error { return g.postgres.Stop() }

// newBench makes a bench without anything running in it. Its logs go to a folder of that name.
func (g *grounds) newBench(name string, programs ground.Programs) *bench {
	return &bench{cfg: g.cfg, log: g.log, grounds: g, programs: programs, folder: filepath.Join(g.cfg.Folder, name)}
}

// sibling is one more install beside a bench, which the caller stops.
func (b *bench) sibling(name string) *bench {
	return b.grounds.newBench(filepath.Base(b.folder)+"-"+name, b.programs)
}

// shape is what an install is made of.
type shape struct {
	// servers names the processes and what they run; the first one is the one that workers and clients reach. Default: one with everything.
	servers []ground.ServerConfig
	// tenants is how many there are. Default 1.
	tenants int
	// workers is how many the worker's process runs. Default 1; below 0: no worker or client is started.
	workers int
	// slots of each worker. Default 2,000.
	slots int
}

// startInstall brings up a database, NATS, the servers, and the first tenant's worker and client, and waits until the workflows are declared.
func (b *bench) startInstall(ctx context.Context, s shape) (err error) {
	const anyone = 0o755
	if err := os.MkdirAll(b.folder, anyone); err != nil {
		return err
	}
	if b.database, err = b.grounds.postgres.Create(ctx, "tenon"); err != nil {
		return err
	}
	if b.nats, b.natsURL, err = ground.StartNATS(ctx, b.folder); err != nil {
		return err
	}
	b.closers = append(b.closers, b.nats.Stop)
	b.masterKey = ground.NewMasterKey()
	if len(s.servers) == 0 {
		s.servers = []ground.ServerConfig{{}}
	}
	for _, cfg := range s.servers {
		if _, err := b.addServer(ctx, cfg); err != nil {
			return err
		}
	}
	b.server = b.servers[0]
	if b.tokens, err = ground.OpenTenants(ctx, b.server.Address, max(1, s.tenants)); err != nil {
		return fmt.Errorf("make the tenants: %w", err)
	}
	if err := ground.CheckDurable(ctx, b.database); err != nil {
		return err
	}
	if err := b.openStatistics(ctx); err != nil {
		return err
	}
	if s.workers < 0 {
		return nil
	}
	if err := b.startWorker(ctx, s.workers, s.slots); err != nil {
		return err
	}
	if b.client, err = tenonside.StartClient(b.place(b.server.Address, b.tokens[0].API)); err != nil {
		return err
	}
	b.closers = append(b.closers, b.client.Stop)
	return nil
}

// addServer starts one more process of the install.
func (b *bench) addServer(ctx context.Context, cfg ground.ServerConfig) (*ground.Server, error) {
	cfg.Program, cfg.Folder, cfg.DatabaseURL, cfg.NATSURL, cfg.MasterKey = b.programs.Server, b.folder, b.database, b.natsURL, b.masterKey
	s, err := ground.StartServer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, s.Stop)
	b.servers = append(b.servers, s)
	return s, nil
}

func (b *bench) place(address, token string) tenonside.Place {
	return tenonside.Place{Program: b.programs.Roles, Folder: b.folder, Address: address, Token: token}
}

// startWorker starts the first tenant's worker process, and waits until it has declared its workflows.
func (b *bench) startWorker(ctx context.Context, workers, slots int) (err error) {
	place := b.place(b.server.Address, b.tokens[0].Worker)
	place.Workers, place.Slots = workers, slots
	if b.worker, err = tenonside.StartWorker(place); err != nil {
		return err
	}
	b.closers = append(b.closers, b.worker.Stop)
	return b.awaitWorkflows(ctx, b.tokens[0], b.worker)
}

// awaitWorkflows waits until a tenant's worker has declared all of them.
func (b *bench) awaitWorkflows(ctx context.Context, tenant ground.Tokens, worker *tenonside.Worker) error {
	api, err := tenon.NewClient(tenon.WithAddress(b.server.Address), tenon.WithToken(tenant.API), tenon.WithLogger(b.log))
	if err != nil {
		return err
	}
	defer api.Close() //nolint:errcheck // always nil
	const most, pause = 30 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for _, name := range []string{tenonside.Noop, tenonside.Chain, tenonside.Fanout, tenonside.Stubborn} {
		for {
			_, err := api.Registry().GetWorkflow(ctx, &registryv1.GetWorkflowRequest{Name: name})
			if err == nil {
				break
			}
			if connect.CodeOf(err) != connect.CodeNotFound {
				return fmt.Errorf("wait for the worker: %w\n%s", err, worker.LogTail())
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the worker has not declared %s: %w\n%s", name, context.Cause(ctx), worker.LogTail())
			case <-time.After(pause):
			}
		}
	}
	return nil
}

// openStatistics opens what is read from Postgres itself. Without the extensions the costs are left out, and it says so.
func (b *bench) openStatistics(ctx context.Context) error {
	admin, err := b.grounds.postgres.Admin(b.database)
	if err != nil {
		return err
	}
	if b.watch, err = pgx.Connect(ctx, admin); err != nil {
		return err
	}
	b.closers = append(b.closers, func() error { return b.watch.Close(context.WithoutCancel(ctx)) })
	if b.statistics, err = cost.Open(ctx, admin, b.grounds.postgres.Maintenance(), b.cfg.Settle); err != nil {
		b.log.Warn("the costs are left out, since Postgres lacks what they are read from", "error", err)
		b.statistics = nil
		return nil
	}
	b.closers = append(b.closers, func() error {
		b.statistics.Close(ctx)
		return nil
	})
	_, err = b.watch.Exec(ctx, cost.Quiet)
	return err
}

// processes are Tenon's, the client's included.
func (b *bench) processes() []*proc.Process {
	out := make([]*proc.Process, 0, len(b.servers)+2)
	for _, s := range b.servers {
		out = append(out, s.Process)
	}
	if b.worker != nil {
		out = append(out, b.worker.Process)
	}
	if b.client != nil {
		out = append(out, b.client.Process)
	}
	return out
}

// stop ends everything in reverse.
func (b *bench) stop() error {
	var errs []error
	for _, end := range slices.Backward(b.closers) {
		errs = append(errs, end())
	}
	b.closers = nil
	return errors.Join(errs...)
}
