package scenario

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/bench/internal/cost"
	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/floor"
	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/bench/internal/riverside"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
)

// bench is one install of Tenon, with a worker and a client; for the scenarios that share one, also with the peer and the floor beside it.
type bench struct {
	cfg      Config
	log      *slog.Logger
	grounds  *grounds
	programs ground.Programs
	folder   string

	database  string
	masterKey string
	natsURL   string
	nats      *proc.Process
	server    *ground.Server   // the one that workers and clients reach
	servers   []*ground.Server // all of them, and those that have ended
	tokens    []ground.Tokens
	worker    *tenonside.Worker
	client    *tenonside.Client
	river     *riverside.River
	floor     *floor.Floor

	statistics *cost.Statistics // nil where Postgres lacks the extensions
	watch      *pgx.Conn        // in Tenon's database
	closers    []func() error   // in the order of the starts
	next       int64            // number of the next run
	quiet      time.Time        // when Tenon's last turn ended
}

// startMain brings up an install with the peers beside it, and warms all of them.
func (b *bench) startMain(ctx context.Context) (err error) {
	if err := b.startInstall(ctx, shape{}); err != nil {
		return err
	}
	var databases [2]string
	for i, name := range []string{"river", "floor"} {
		if databases[i], err = b.grounds.postgres.Create(ctx, name); err != nil {
			return err
		}
	}
	if b.river, err = riverside.Start(ctx, b.folder, databases[0]); err != nil {
		return err
	}
	b.closers = append(b.closers, b.river.Stop)
	b.floor, err = floor.Start(ctx, floor.Config{
		Folder: b.folder, DatabaseURL: databases[1], TokenDatabaseURL: b.database, NATSURL: b.natsURL, Tokens: b.tokens[0],
	})
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
	return b.warm(ctx)
}

// warm lets every process do a little of everything, so that connections, plans and caches are there before anything is measured.
func (b *bench) warm(ctx context.Context) error {
	const calls, inFlight, rate = 200, 20, 100
	few := b.cfg
	few.Sizes.Bulk, few.Sizes.Single, few.Sizes.Echo, few.Sizes.Latency, few.Sizes.Fanouts, few.Sizes.Chains = calls, calls, calls, inFlight, 1, calls
	few.Sizes.InFlight, few.Sizes.Rate = inFlight, rate
	given, statistics := b.cfg, b.statistics
	b.cfg, b.statistics = few, nil // nobody waits for the costs of this
	defer func() { b.cfg, b.statistics = given, statistics }()
	for _, s := range scenarios {
		takes := []turn{s.tenon}
		if b.river != nil {
			takes = []turn{s.tenon, s.river, s.floor, s.echo}
		}
		for _, take := range takes {
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

// profiled takes a turn under CPU profiles of Tenon's processes, and notes which statements took Postgres's time.
func profiled(name string, take turn) turn {
	return func(b *bench, ctx context.Context) (got figures.Turn, err error) {
		return got, b.profile(ctx, name, func() error {
			got, err = take(b, ctx)
			return err
		})
	}
}

// profile does something under CPU profiles.
func (b *bench) profile(ctx context.Context, name string, do func() error) error {
	processes := b.processes()
	for _, p := range processes {
		if err := p.ToggleProfile(); err != nil {
			return err
		}
	}
	if b.statistics != nil {
		if err := b.statistics.Forget(ctx); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if b.statistics != nil {
		top, err := b.statistics.Top(ctx)
		if err != nil {
			return err
		}
		const readable = 0o644
		if err := os.WriteFile(filepath.Join(b.cfg.Profiles, name+"-statements.txt"), []byte(top), readable); err != nil {
			return err
		}
	}
	for _, p := range processes {
		path := filepath.Join(b.cfg.Profiles, name+"-"+p.Name()+".pprof")
		if err := errors.Join(p.ToggleProfile(), p.TakeProfile(ctx, path)); err != nil {
			return fmt.Errorf("profile of the %s: %w", p.Name(), err)
		}
	}
	return nil
}
