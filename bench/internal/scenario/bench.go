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
	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/floor"
	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/bench/internal/riverside"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// bench is all that runs during a run of the bench.
type bench struct {
	cfg Config
	log *slog.Logger

	postgres *ground.Postgres
	nats     *proc.Process
	server   *ground.Server
	worker   *tenonside.Worker
	client   *tenonside.Client
	river    *riverside.River
	floor    *floor.Floor

	statistics *cost.Statistics // nil where Postgres lacks the extensions
	watch      *pgx.Conn        // in Tenon's database
	closers    []func() error   // in the order of the starts
	next       int64            // number of the next run
	quiet      time.Time        // when Tenon's last turn ended
}

func (b *bench) start(ctx context.Context) (err error) {
	b.log.Info("building the server, starting Postgres, NATS and the processes", "folder", b.cfg.Folder)
	program, err := ground.Build(ctx, b.cfg.Folder, b.cfg.Profiles != "")
	if err != nil {
		return err
	}
	if b.postgres, err = ground.StartPostgres(ctx, b.cfg.Folder, b.cfg.DatabaseURL, b.log); err != nil {
		return err
	}
	b.closers = append(b.closers, b.postgres.Stop)
	var databases [3]string
	for i, name := range []string{"tenon", "river", "floor"} {
		if databases[i], err = b.postgres.Create(ctx, name); err != nil {
			return err
		}
	}
	var natsURL string
	if b.nats, natsURL, err = ground.StartNATS(ctx, b.cfg.Folder); err != nil {
		return err
	}
	b.closers = append(b.closers, b.nats.Stop)
	b.server, err = ground.StartServer(ctx, ground.ServerConfig{Program: program, Folder: b.cfg.Folder, DatabaseURL: databases[0], NATSURL: natsURL})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, b.server.Stop)
	tokens, err := ground.OpenTenant(ctx, b.server.Address)
	if err != nil {
		return fmt.Errorf("make the tenant: %w", err)
	}
	if err := b.startTenon(ctx, tokens); err != nil {
		return err
	}
	if b.river, err = riverside.Start(ctx, b.cfg.Folder, databases[1]); err != nil {
		return err
	}
	b.closers = append(b.closers, b.river.Stop)
	b.floor, err = floor.Start(ctx, floor.Config{Folder: b.cfg.Folder, DatabaseURL: databases[2], TokenDatabaseURL: databases[0], NATSURL: natsURL, Tokens: tokens})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, b.floor.Stop)
	for _, address := range databases {
		// River elects its leader in a table that is not logged; no job stands in it.
		if err := ground.CheckDurable(ctx, address, "river_leader"); err != nil {
			return err
		}
	}
	if err := b.openStatistics(ctx, databases[0]); err != nil {
		return err
	}
	return b.warm(ctx)
}

// startTenon starts the worker and the client, and waits until the worker has declared its workflows.
func (b *bench) startTenon(ctx context.Context, tokens ground.Tokens) (err error) {
	if b.worker, err = tenonside.StartWorker(b.cfg.Folder, b.server.Address, tokens.Worker); err != nil {
		return err
	}
	b.closers = append(b.closers, b.worker.Stop)
	if b.client, err = tenonside.StartClient(b.cfg.Folder, b.server.Address, tokens.API); err != nil {
		return err
	}
	b.closers = append(b.closers, b.client.Stop)
	api, err := tenon.NewClient(tenon.WithAddress(b.server.Address), tenon.WithToken(tokens.API), tenon.WithLogger(b.log))
	if err != nil {
		return err
	}
	defer api.Close() //nolint:errcheck // always nil
	const most, pause = 30 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for _, name := range []string{tenonside.Noop, tenonside.Chain, tenonside.Fanout} {
		for {
			_, err := api.Registry().GetWorkflow(ctx, &registryv1.GetWorkflowRequest{Name: name})
			if err == nil {
				break
			}
			if connect.CodeOf(err) != connect.CodeNotFound {
				return fmt.Errorf("wait for the worker: %w\n%s", err, b.worker.LogTail())
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the worker has not declared %s: %w\n%s", name, context.Cause(ctx), b.worker.LogTail())
			case <-time.After(pause):
			}
		}
	}
	return nil
}

// openStatistics opens what is read from Postgres itself. Without the extensions the costs are left out, and it says so.
func (b *bench) openStatistics(ctx context.Context, database string) error {
	admin, err := b.postgres.Admin(database)
	if err != nil {
		return err
	}
	if b.watch, err = pgx.Connect(ctx, admin); err != nil {
		return err
	}
	b.closers = append(b.closers, func() error { return b.watch.Close(context.WithoutCancel(ctx)) })
	if b.statistics, err = cost.Open(ctx, admin, b.postgres.Maintenance()); err != nil {
		b.log.Warn("the costs of noop_bulk are left out, since Postgres lacks what they are read from", "error", err)
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

// warm lets every process do a little of everything, so that connections, plans and caches are there before anything is measured.
func (b *bench) warm(ctx context.Context) error {
	const calls, inFlight, rate = 200, 20, 100
	few := b.cfg
	few.Sizes.Bulk, few.Sizes.Single, few.Sizes.Echo, few.Sizes.Latency, few.Sizes.Fanouts = calls, calls, calls, inFlight, 1
	few.Sizes.InFlight, few.Sizes.Rate = inFlight, rate
	given, statistics := b.cfg, b.statistics
	b.cfg, b.statistics = few, nil // nobody waits for the costs of this
	defer func() { b.cfg, b.statistics = given, statistics }()
	for _, s := range scenarios {
		for _, take := range []turn{s.tenon, s.river, s.floor, s.echo} {
			if take == nil {
				continue
			}
			if _, err := take(b, ctx); err != nil {
				return fmt.Errorf("warm up %s: %w", s.name, err)
			}
		}
	}
	b.quiet = time.Now()
	return nil
}

// stop ends everything in reverse.
func (b *bench) stop() error {
	var errs []error
	for _, end := range slices.Backward(b.closers) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// profiled takes a turn under CPU profiles of Tenon's processes, and notes which statements took Postgres's time.
func profiled(name string, take turn) turn {
	return func(b *bench, ctx context.Context) (figures.Turn, error) {
		processes := []*proc.Process{b.server.Process, b.worker.Process, b.client.Process}
		for _, p := range processes {
			if err := p.ToggleProfile(); err != nil {
				return figures.Turn{}, err
			}
		}
		if b.statistics != nil {
			if err := b.statistics.Forget(ctx); err != nil {
				return figures.Turn{}, err
			}
		}
		got, err := take(b, ctx)
		if err != nil {
			return got, err
		}
		if b.statistics != nil {
			top, err := b.statistics.Top(ctx)
			if err != nil {
				return got, err
			}
			const readable = 0o644
			if err := os.WriteFile(filepath.Join(b.cfg.Profiles, name+"-statements.txt"), []byte(top), readable); err != nil {
				return got, err
			}
		}
		for _, p := range processes {
			path := filepath.Join(b.cfg.Profiles, name+"-"+p.Name()+".pprof")
			if err := errors.Join(p.ToggleProfile(), p.TakeProfile(ctx, path)); err != nil {
				return got, fmt.Errorf("profile of the %s: %w", p.Name(), err)
			}
		}
		return got, nil
	}
}
