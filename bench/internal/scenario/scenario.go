// Package scenario runs what the bench measures: for each scenario the contenders take turns, on the same Postgres in the same run, and the medians
// of their turns are handed over. Everything that ran is held against what was asked for; a wrong or missing result is an error. Only the
// bench's program imports it.
package scenario

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/riverside"
)

// Config says what to run. Folder, Log and Emit are required.
type Config struct {
	// Folder is for the run's own things: programs, data, logs. Postgres's user must be able to pass through it.
	Folder string
	// DatabaseURL is a Postgres to use instead of one of the bench's own.
	DatabaseURL string
	// Names are the scenarios to run, "all" for all. Default: the six of the standard run.
	Names []string
	// Repeat is how many turns each contender gets. Default 3.
	Repeat int
	Sizes  Sizes
	// Profiles is a folder for CPU profiles of Tenon's processes, in the first turn of the scenarios that share an install and of idle. Default none.
	Profiles string
	Log      *slog.Logger
	// Emit gets each scenario's result when it is done.
	Emit func(Result) error
	// Attach keeps a file beside the results, named by its ending. Default: it is not kept.
	Attach func(ending string, content []byte) error
	// Roles is the program that plays workers and clients. Default: the one that runs.
	Roles string
	// Server is the server's program. Default: it is built, with a profiler when there are to be profiles.
	Server string
	// postgres are further settings of the bench's own Postgres.
	postgres map[string]string
	// Settle is how long after the end of a turn Postgres's counts are read for its costs. Default 11 s, by when all backends have passed them on.
	Settle time.Duration
}

// Result is a scenario's line, with what stands behind it.
type Result struct {
	Line  figures.Line
	Turns figures.Turns
	// Postgres has its version and the settings that matter for the figures.
	Postgres map[string]string
}

// turn is one turn of one contender.
type turn func(*bench, context.Context) (figures.Turn, error)

// stage is an install of its own for a scenario, on the Postgres of the run.
type stage interface {
	// turn measures once.
	turn(ctx context.Context) (figures.Turn, error)
	// end stops what runs.
	end() error
}

// scenario is one line of the output.
type scenario struct {
	name, unit string
	better     figures.Better
	goals      []figures.Goal
	// later says that it runs by name or with "all" only.
	later bool
	// alone says that it runs by name only, and once.
	alone                     bool
	tenon, river, floor, echo turn
	// stage, where it is set, stands for the turns: the scenario brings its own install up.
	stage func(*bench, context.Context) (stage, error)
}

// Soak is the scenario that runs by name only.
const Soak = "soak"

// scenarios are all there are, in the order in which they run: those with a stage of their own last, when the others' processes have ended.
var scenarios = []scenario{
	{
		name: "noop_bulk", unit: "tasks/s", better: figures.Higher, tenon: (*bench).tenonBulk, river: (*bench).riverBulk,
		goals: []figures.Goal{{Figure: "ratio", Bound: 2}},
	},
	{
		name: "noop_single", unit: "tasks/s", better: figures.Higher, tenon: (*bench).tenonSingle, river: (*bench).riverSingle, echo: (*bench).echo,
		goals: []figures.Goal{{Figure: "ratio_echo", Bound: 0.6}},
	},
	{
		name: "noop_single_sdk", unit: "tasks/s", better: figures.Higher, later: true, tenon: (*bench).tenonGathered, echo: (*bench).echo,
		goals: []figures.Goal{{Figure: "ratio_echo", Bound: 0.8}},
	},
	{
		name: "latency_start", unit: "ms", better: figures.Lower, tenon: (*bench).tenonStart, river: (*bench).riverStart, floor: (*bench).floorStart,
		goals: []figures.Goal{{Figure: "ratio_floor", Below: true, Bound: 1.6}, {Figure: "ratio_floor_p99", Below: true, Bound: 3}, {Figure: "ratio", Bound: 1}},
	},
	{
		name: "latency_result", unit: "ms", better: figures.Lower, tenon: (*bench).tenonResult, river: (*bench).riverResult, floor: (*bench).floorResult,
		goals: []figures.Goal{{Figure: "ratio_floor", Below: true, Bound: 1.5}},
	},
	{
		name: "chain3", unit: "ms", better: figures.Lower, tenon: (*bench).tenonChain, floor: (*bench).floorChain,
		goals: []figures.Goal{{Figure: "ratio_floor", Below: true, Bound: 1.5}},
	},
	{name: "fanout1000", unit: "ms", better: figures.Lower, tenon: (*bench).tenonFanout},
	{
		name: "chain3_50", unit: "chains/s", better: figures.Higher, later: true, tenon: (*bench).tenonChains, echo: (*bench).echo,
		goals: []figures.Goal{{Figure: "ratio_echo", Bound: 0.2}},
	},
	{
		name: "backlog", unit: "tasks/s", better: figures.Higher, later: true, stage: openBacklog,
		goals: []figures.Goal{{Figure: "ratio_empty", Bound: 0.85}, {Figure: "rss_mb", Below: true, Bound: 300}},
	},
	{
		name: "dashboard", unit: "ms", better: figures.Lower, later: true, stage: openDashboard,
		goals: []figures.Goal{{Figure: "tenon", Below: true, Bound: 100}},
	},
	{
		name: "idle", unit: "% of a core", better: figures.Lower, later: true, stage: openIdle,
		goals: []figures.Goal{{Figure: "tenon", Below: true, Bound: 1}, {Figure: "statements_per_minute", Below: true, Bound: 30}},
	},
	{
		name: "failover", unit: "ms", better: figures.Lower, later: true, stage: openFailover,
		goals: []figures.Goal{{Figure: "tenon", Below: true, Bound: 5000}},
	},
	{
		name: "handover", unit: "ms", better: figures.Lower, later: true, stage: openHandover,
		goals: []figures.Goal{{Figure: "tenon", Below: true, Bound: 200}},
	},
	{
		name: "scaleout", unit: "tasks/s", better: figures.Higher, later: true, stage: openScaleout,
		goals: []figures.Goal{{Figure: "ratio_two", Bound: 0.9}, {Figure: "ratio_three", Bound: 0.9}},
	},
	{name: Soak, unit: "tasks/s", better: figures.Higher, later: true, alone: true, stage: openSoak, goals: soakGoals},
}

// Names are the scenarios' names.
func Names() []string {
	out := make([]string, len(scenarios))
	for i, s := range scenarios {
		out[i] = s.name
	}
	return out
}

// choose finds the scenarios of some names.
func choose(names []string) ([]scenario, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return s.later }), nil
	}
	if slices.Contains(names, "all") {
		return slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return s.alone }), nil
	}
	var out []scenario
	for _, name := range names {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no scenario %q: choose from %s, or all", name, strings.Join(Names(), ", "))
		}
		out = append(out, scenarios[i])
	}
	return out, nil
}

// Run runs the scenarios.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg, chosen, err := cfg.prepare()
	if err != nil {
		return err
	}
	g, err := openGround(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := g.stop(); err == nil {
			err = stopErr
		}
	}()
	shared := slices.DeleteFunc(slices.Clone(chosen), func(s scenario) bool { return s.stage != nil })
	if len(shared) > 0 {
		if err := g.runShared(ctx, shared); err != nil {
			return err
		}
	}
	for _, s := range chosen {
		if s.stage == nil {
			continue
		}
		if err := g.runStaged(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (c Config) prepare() (Config, []scenario, error) {
	if c.Repeat == 0 {
		const enoughForAMedian = 3
		c.Repeat = enoughForAMedian
	}
	c.Sizes = c.Sizes.WithDefaults()
	chosen, err := choose(c.Names)
	return c, chosen, err
}

// runShared runs scenarios one after the other on one install, with the peers beside it.
func (g *grounds) runShared(ctx context.Context, chosen []scenario) (err error) {
	b := g.newBench("main", g.programs)
	defer func() {
		if stopErr := b.stop(); err == nil {
			err = stopErr
		}
	}()
	if err := b.startMain(ctx); err != nil {
		return err
	}
	for _, s := range chosen {
		turns, err := b.alternate(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := g.emit(s, turns); err != nil {
			return err
		}
	}
	return nil
}

// runStaged runs a scenario on an install of its own.
func (g *grounds) runStaged(ctx context.Context, s scenario) (err error) {
	b := g.newBench(s.name, g.programs)
	defer func() {
		if stopErr := b.stop(); err == nil {
			err = stopErr
		}
	}()
	set, err := s.stage(b, ctx)
	if err != nil {
		return err
	}
	defer func() {
		if endErr := set.end(); err == nil {
			err = endErr
		}
	}()
	var turns figures.Turns
	repeat := g.cfg.Repeat
	if s.alone {
		repeat = 1
	}
	for i := range repeat {
		got, err := set.turn(ctx)
		if err != nil {
			return fmt.Errorf("turn %d: %w", i+1, err)
		}
		turns.Tenon = append(turns.Tenon, got)
		g.log.Info("turn", "scenario", s.name, "turn", i+1, "of", repeat, s.unit, figures.Round(got.Value(s.better)), "also", got.Also)
	}
	return g.emit(s, turns)
}

func (g *grounds) emit(s scenario, turns figures.Turns) error {
	line := figures.Summarise(s.name, s.unit, riverside.Name, s.better, turns)
	if s.name == "fanout1000" && g.bulkRate > 0 {
		const thousand, milliseconds = 1000, 1000
		line.Also = map[string]float64{"times_bulk": figures.Round(line.P50 / (thousand / g.bulkRate * milliseconds))}
		line.Judge([]figures.Goal{{Figure: "times_bulk", Below: true, Bound: 3}})
	}
	if s.name == "noop_bulk" {
		g.bulkRate = line.Tenon
	}
	line.Judge(s.goals)
	return g.cfg.Emit(Result{Line: line, Turns: turns, Postgres: g.settings})
}

// alternate gives each contender a turn, as often as the config says.
func (b *bench) alternate(ctx context.Context, s scenario) (turns figures.Turns, err error) {
	for i := range b.cfg.Repeat {
		for _, c := range []struct {
			name string
			take turn
			into *[]figures.Turn
		}{{"tenon", s.tenon, &turns.Tenon}, {"river", s.river, &turns.River}, {"floor", s.floor, &turns.Floor}, {"echo", s.echo, &turns.Echo}} {
			if c.take == nil {
				continue
			}
			take := c.take
			if c.name == "tenon" && i == 0 && b.cfg.Profiles != "" {
				take = profiled(s.name, take)
			}
			got, err := take(b, ctx)
			if err != nil {
				return turns, fmt.Errorf("%s, turn %d: %w", c.name, i+1, err)
			}
			if c.name == "tenon" {
				b.quiet = time.Now()
			}
			*c.into = append(*c.into, got)
			b.log.Info("turn", "scenario", s.name, "turn", i+1, "of", b.cfg.Repeat, "who", c.name,
				"rate", figures.Round(got.Rate), "p50_ms", figures.Round(got.P50), "p99_ms", figures.Round(got.P99))
		}
	}
	return turns, nil
}
