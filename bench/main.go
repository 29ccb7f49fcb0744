// Command bench measures Tenon beside River and beside the bare chain of calls, on one Postgres in one run: `make bench` or `go run ./bench`. It prints
// one line of JSON a scenario on standard output and everything else on standard error. docs/performance.md tells how to read it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/bench/internal/floor"
	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/bench/internal/profiling"
	"github.com/tenon-run/tenon/bench/internal/riverside"
	"github.com/tenon-run/tenon/bench/internal/scenario"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
)

func main() {
	if role := os.Getenv(proc.RoleVariable); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

type options struct {
	scenarios []string
	repeat    int
	scale     float64
	results   string
	profiles  string
	soak      time.Duration
	soakRate  float64
	base      string // the commit that compare measures against

	// For the tests, which prove that everything is there and not how fast it is: sizes that are not scaled, programs that are built already, and
	// how long the costs wait for Postgres's counts.
	sizes         scenario.Sizes
	server, roles string
	settle        time.Duration
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure Tenon beside River and the bare chain of calls", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		Long: "Starts Postgres (or uses the one at DATABASE_URL), NATS, the Tenon server, a worker, a client and the peer as processes, and prints one line of\n" +
			"JSON a scenario: " + strings.Join(scenario.Names(), ", ") + ".\n" +
			"It refuses a Postgres without fsync, synchronous_commit or full_page_writes, and fails when any result is missing or wrong.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	const turns = 3
	cmd.PersistentFlags().StringSliceVar(&o.scenarios, "scenario", nil, `scenarios to run, or "all" (default: the standard ones)`)
	cmd.PersistentFlags().IntVar(&o.repeat, "repeat", turns, "turns of each contender, whose median is printed")
	cmd.PersistentFlags().Float64Var(&o.scale, "scale", 1, "multiplies the number of tasks and calls, and how long idle installs are watched")
	cmd.Flags().StringVar(&o.results, "results", "", "folder to keep the results in, with machine and commit")
	cmd.Flags().StringVar(&o.profiles, "profile", "", "folder for CPU profiles of server, worker and client in each scenario's first turn")
	cmd.Flags().DurationVar(&o.soak, "soak", time.Hour, "how long soak keeps its load up")
	cmd.Flags().Float64Var(&o.soakRate, "soak-rate", 2_000, "soak's load, in tasks a second") //nolint:mnd // the default, named beside it
	compare := &cobra.Command{
		Use: "compare", Short: "Measure this checkout beside a commit", Args: cobra.NoArgs,
		Long: "Builds the server, and workers and clients with the SDK, of a commit and of this checkout, lets them take turns on one Postgres, and prints base, head and\n" +
			"ratio a scenario. A ratio above 1 says that this checkout is better.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return inFolder(o, cmd.ErrOrStderr(), func(cfg scenario.Config) error {
				lines := json.NewEncoder(cmd.OutOrStdout())
				return scenario.Compare(cmd.Context(), cfg, o.base, func(c scenario.Comparison) error { return lines.Encode(c) })
			})
		},
	}
	compare.Flags().StringVar(&o.base, "base", "", "commit, branch or tag to compare with")
	_ = compare.MarkFlagRequired("base") // it exists
	cmd.AddCommand(compare)
	return cmd
}

// inFolder calls do with what all commands share, and removes the folder afterwards.
func inFolder(o options, errOut io.Writer, do func(scenario.Config) error) (err error) {
	if o.repeat < 1 || o.scale <= 0 {
		return errors.New("--repeat must be at least 1 and --scale above 0")
	}
	folder, err := os.MkdirTemp("", "tenon-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	const passThrough = 0o711 // Postgres runs as another user when we are root
	if err := os.Chmod(folder, passThrough); err != nil {
		return err
	}
	return do(scenario.Config{
		Folder: folder, DatabaseURL: os.Getenv("DATABASE_URL"), Names: o.scenarios, Repeat: o.repeat, Sizes: o.sizes.Scaled(o.scale),
		Server: o.server, Roles: o.roles, Settle: o.settle, Log: slog.New(slog.NewTextHandler(errOut, nil)),
	})
}

func run(ctx context.Context, o options, out, errOut io.Writer) error {
	return inFolder(o, errOut, func(cfg scenario.Config) (err error) {
		keep := func(scenario.Result) error { return nil }
		if o.results != "" {
			if keep, cfg.Attach, err = openResults(ctx, o, time.Now()); err != nil {
				return err
			}
		}
		if o.profiles != "" {
			if cfg.Profiles, err = filepath.Abs(o.profiles); err != nil {
				return err
			}
			const anyone = 0o755
			if err := os.MkdirAll(cfg.Profiles, anyone); err != nil {
				return err
			}
		}
		cfg.Sizes.Soak, cfg.Sizes.SoakRate = o.soak, o.soakRate
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false) // a goal is written with "<"
		cfg.Emit = func(r scenario.Result) error { return errors.Join(lines.Encode(r.Line), keep(r)) }
		return scenario.Run(ctx, cfg)
	})
}

// play is the bench's program as one of its children: it answers questions until its input ends.
func play(role string) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	profiling.Watch()
	var handlers map[string]proc.Handler
	stop := func() {}
	switch role {
	case ground.RoleNATS:
		handlers, stop, err = ground.NATSHandlers()
	case tenonside.RoleWorker:
		var end func() error
		handlers, end, err = tenonside.WorkerHandlers(ctx)
		stop = func() { err = errors.Join(err, end()) }
	case tenonside.RoleClient:
		handlers, stop, err = tenonside.ClientHandlers()
	case riverside.Role:
		handlers, stop, err = riverside.Handlers(ctx)
	case floor.RoleServer:
		handlers, stop, err = floor.ServerHandlers(ctx)
	case floor.RoleWorker:
		handlers, stop, err = floor.WorkerHandlers(ctx)
	case floor.RoleClient:
		handlers, stop, err = floor.ClientHandlers()
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err != nil {
		return err
	}
	defer stop()
	return proc.Serve(ctx, os.Stdin, os.Stdout, handlers)
}
