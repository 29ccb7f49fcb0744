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
	// Profiles is a folder for CPU profiles of Tenon's processes in each scenario's first turn. Default none.
	Profiles string
	Log      *slog.Logger
	// Emit gets each scenario's line when it is done, with the turns behind it.
	Emit func(figures.Line, figures.Turns) error
}

// Sizes say how much is measured in a turn.
type Sizes struct {
	// Bulk and Single are the tasks of noop_bulk and noop_single. Defaults 60,000 and 10,000.
	Bulk, Single int
	// Echo is the calls of the echo beside noop_single. Default 10,000.
	Echo int
	// InFlight is how many single calls are under way at a time. Default 50.
	InFlight int
	// Latency is the calls of a latency's turn. Default 1,000.
	Latency int
	// Rate is how many of them begin in a second. Default 100.
	Rate float64
	// Fanouts is how often a fan-out is run in a turn, one after the other. Default 10.
	Fanouts int
	// Children is how many children a fan-out has. Default 1,000.
	Children int
}

// WithDefaults returns the sizes with every unset field filled in.
func (s Sizes) WithDefaults() Sizes {
	fill := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	fill(&s.Bulk, 60_000)
	fill(&s.Single, 10_000)
	fill(&s.Echo, 10_000)
	fill(&s.InFlight, 50)
	fill(&s.Latency, 1_000)
	fill(&s.Fanouts, 10)
	fill(&s.Children, 1_000)
	if s.Rate == 0 {
		s.Rate = 100
	}
	return s
}

// Scaled returns the sizes with what is counted multiplied, and at least one of everything; rates and widths stay.
func (s Sizes) Scaled(by float64) Sizes {
	s = s.WithDefaults()
	for _, field := range []*int{&s.Bulk, &s.Single, &s.Echo, &s.Latency, &s.Fanouts} {
		*field = max(1, int(float64(*field)*by))
	}
	return s
}

// turn is one turn of one contender.
type turn func(*bench, context.Context) (figures.Turn, error)

// scenario is one line of the output.
type scenario struct {
	name, unit string
	better     figures.Better
	// later says that it runs by name or with "all" only.
	later                     bool
	tenon, river, floor, echo turn
}

// scenarios are all there are, in the order in which they run.
var scenarios = []scenario{
	{name: "noop_bulk", unit: "tasks/s", better: figures.Higher, tenon: (*bench).tenonBulk, river: (*bench).riverBulk},
	{name: "noop_single", unit: "tasks/s", better: figures.Higher, tenon: (*bench).tenonSingle, river: (*bench).riverSingle, echo: (*bench).echo},
	{name: "latency_start", unit: "ms", better: figures.Lower, tenon: (*bench).tenonStart, river: (*bench).riverStart, floor: (*bench).floorStart},
	{name: "latency_result", unit: "ms", better: figures.Lower, tenon: (*bench).tenonResult, river: (*bench).riverResult, floor: (*bench).floorResult},
	{name: "chain3", unit: "ms", better: figures.Lower, tenon: (*bench).tenonChain, floor: (*bench).floorChain},
	{name: "fanout1000", unit: "ms", better: figures.Lower, tenon: (*bench).tenonFanout},
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
		return scenarios, nil
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
	if cfg.Repeat == 0 {
		const enoughForAMedian = 3
		cfg.Repeat = enoughForAMedian
	}
	cfg.Sizes = cfg.Sizes.WithDefaults()
	chosen, err := choose(cfg.Names)
	if err != nil {
		return err
	}
	b := &bench{cfg: cfg, log: cfg.Log}
	defer func() {
		if stopErr := b.stop(); err == nil {
			err = stopErr
		}
	}()
	if err := b.start(ctx); err != nil {
		return err
	}
	for _, s := range chosen {
		turns, err := b.alternate(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := cfg.Emit(figures.Summarise(s.name, s.unit, riverside.Name, s.better, turns), turns); err != nil {
			return err
		}
	}
	return nil
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
