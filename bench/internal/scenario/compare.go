package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/ground"
)

// Comparison is a scenario's line of two commits that took turns.
type Comparison struct {
	Scenario string  `json:"scenario"`
	Unit     string  `json:"unit"`
	Base     float64 `json:"base"`
	Head     float64 `json:"head"`
	// Ratio is above 1 where head is better.
	Ratio float64 `json:"ratio"`
	// Ratios are the turns' own, from the least to the greatest: a difference that some of them lack is noise.
	Ratios []float64 `json:"ratios"`
	// BaseAlso, HeadAlso, BaseCost and HeadCost are the scenario's further figures.
	BaseAlso map[string]float64 `json:"base_also,omitempty"`
	HeadAlso map[string]float64 `json:"head_also,omitempty"`
	BaseCost *figures.Cost      `json:"base_cost,omitempty"`
	HeadCost *figures.Cost      `json:"head_cost,omitempty"`
}

// Compare runs the scenarios with the programs of a commit and with those of this checkout in turns, on one Postgres. emit gets each scenario's line.
func Compare(ctx context.Context, cfg Config, commit string, emit func(Comparison) error) (err error) {
	cfg, chosen, err := cfg.prepare()
	if err != nil {
		return err
	}
	folder := filepath.Join(cfg.Folder, "base")
	const anyone = 0o755
	if err := os.MkdirAll(folder, anyone); err != nil {
		return err
	}
	cfg.Log.Info("building the commit to compare with", "commit", commit)
	base, err := ground.BuildCommit(ctx, folder, commit, cfg.Log)
	if err != nil {
		return err
	}
	g, err := openGround(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	r := &rivals{grounds: g, programs: [2]ground.Programs{base, g.programs}}
	defer func() { err = errors.Join(err, r.stop()) }()
	for _, s := range chosen {
		turns, err := r.alternate(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := emit(comparison(s, turns)); err != nil {
			return err
		}
	}
	return nil
}

// rivals are the installs of the base and of the head.
type rivals struct {
	*grounds

	programs [2]ground.Programs
	shared   [2]*bench // for the scenarios that share an install
}

func (r *rivals) stop() error {
	var errs []error
	for _, b := range r.shared {
		if b != nil {
			errs = append(errs, b.stop())
		}
	}
	return errors.Join(errs...)
}

var sides = [2]string{"base", "head"}

// open brings both up, and returns what takes a turn of each.
func (r *rivals) open(ctx context.Context, s scenario) (take [2]func() (figures.Turn, error), end func() error, err error) {
	var errs []func() error
	end = func() error {
		var all []error
		for i := range errs {
			all = append(all, errs[len(errs)-1-i]())
		}
		return errors.Join(all...)
	}
	for i, side := range sides {
		b := r.shared[i]
		if s.stage == nil {
			if b == nil {
				b = r.newBench("main-"+side, r.programs[i])
				r.shared[i] = b
				if err := b.startInstall(ctx, shape{}); err != nil {
					return take, end, fmt.Errorf("%s: %w", side, err)
				}
				if err := b.warm(ctx); err != nil {
					return take, end, fmt.Errorf("%s: %w", side, err)
				}
			}
			take[i] = func() (figures.Turn, error) { return s.tenon(b, ctx) }
			continue
		}
		b = r.newBench(s.name+"-"+side, r.programs[i])
		errs = append(errs, b.stop)
		set, err := s.stage(b, ctx)
		if err != nil {
			return take, end, fmt.Errorf("%s: %w", side, err)
		}
		errs = append(errs, set.end)
		take[i] = func() (figures.Turn, error) { return set.turn(ctx) }
	}
	return take, end, nil
}

func (r *rivals) alternate(ctx context.Context, s scenario) (turns [2][]figures.Turn, err error) {
	take, end, err := r.open(ctx, s)
	defer func() { err = errors.Join(err, end()) }()
	if err != nil {
		return turns, err
	}
	for i := range r.cfg.Repeat {
		for k := range sides {
			side := (i + k) % len(sides) // nobody is always the first
			got, err := take[side]()
			if err != nil {
				return turns, fmt.Errorf("%s, turn %d: %w", sides[side], i+1, err)
			}
			turns[side] = append(turns[side], got)
			r.log.Info("turn", "scenario", s.name, "turn", i+1, "of", r.cfg.Repeat, "who", sides[side], s.unit, figures.Round(got.Value(s.better)))
		}
	}
	return turns, nil
}

func comparison(s scenario, turns [2][]figures.Turn) Comparison {
	base := figures.Summarise(s.name, s.unit, "", s.better, figures.Turns{Tenon: turns[0]})
	head := figures.Summarise(s.name, s.unit, "", s.better, figures.Turns{Tenon: turns[1]})
	out := Comparison{
		Scenario: s.name, Unit: s.unit, Base: base.Tenon, Head: head.Tenon, BaseAlso: base.Also, HeadAlso: head.Also, BaseCost: base.Cost, HeadCost: head.Cost,
	}
	var least, greatest float64
	ratios := make([]float64, len(turns[0]))
	for i := range turns[0] {
		ratios[i] = figures.Ratio(turns[1][i].Value(s.better), turns[0][i].Value(s.better), s.better)
		if i == 0 {
			least, greatest = ratios[0], ratios[0]
		}
		least, greatest = min(least, ratios[i]), max(greatest, ratios[i])
	}
	out.Ratio, out.Ratios = figures.Round(figures.Median(ratios)), []float64{figures.Round(least), figures.Round(greatest)}
	return out
}
