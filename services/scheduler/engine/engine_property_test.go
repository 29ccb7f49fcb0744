package engine

import (
	"flag"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// worlds is how many worlds each property is tried on, unless -rapid.checks says otherwise.
const worlds = 500

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", strconv.Itoa(worlds)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func drawScenario(t *rapid.T) simScenario {
	return simScenario{
		Seed:    rapid.Uint64().Draw(t, "seed"),
		Steps:   rapid.IntRange(50, 1500).Draw(t, "steps"),
		Runs:    rapid.IntRange(1, 60).Draw(t, "runs"),
		Plans:   rapid.IntRange(1, 4).Draw(t, "plans"),
		Window:  rapid.SampledFrom([]int{4, 8, 1000}).Draw(t, "window"),
		MaxRuns: rapid.SampledFrom([]int{1, 5, 1000}).Draw(t, "max runs"),
		Workers: rapid.IntRange(1, 4).Draw(t, "workers"),
		Slots:   rapid.IntRange(1, 4).Draw(t, "slots"),
		Crashes: rapid.IntRange(0, 3).Draw(t, "crashes"),
		Calm:    rapid.Bool().Draw(t, "calm"),
	}
}

// Worlds that an engine before this one did not survive, and what it did.
func TestWorldsThatOnceFailed(t *testing.T) {
	for name, sc := range map[string]simScenario{
		"a full page of overdue timers of stopping tasks was read for ever": {Seed: 41, Steps: 1000, Runs: 40, Plans: 3, Window: 4, MaxRuns: 1, Workers: 3, Slots: 3, Crashes: 2},
		"the same, in a world with many children":                           {Seed: 581, Steps: 1000, Runs: 40, Plans: 3, Window: 4, MaxRuns: 1, Workers: 3, Slots: 3, Crashes: 2},
	} {
		t.Run(name, func(t *testing.T) { playScenario(t, sc, false) })
	}
}

func TestAnyWorldEndsWell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		playScenario(t, drawScenario(t), false)
	})
}

func TestSameSeedAndInputsGiveTheSameOutputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := playScenario(t, drawScenario(t), true)
		for _, seed := range w.seeds {
			cfg := w.cfg
			cfg.NoHold = w.clean[seed]
			replay(t, cfg, seed, w.history[seed])
		}
	})
}

func replay(t simT, cfg Config, seed [32]byte, steps []simStep) {
	s := New(cfg, seed)
	for i, step := range steps {
		var out Output
		if step.over {
			out = s.HandOver(time.UnixMicro(step.now))
		} else if step.load != 0 {
			out = s.LoadTenant(time.UnixMicro(step.now), step.load)
		} else {
			out = s.Step(time.UnixMicro(step.now), step.in)
		}
		if !reflect.DeepEqual(out, step.out) {
			t.Fatalf("step %d gave %+v, and before %+v", i, out, step.out)
		}
	}
}
