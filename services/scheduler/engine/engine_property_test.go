package engine

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Worlds a test plays. More of them are played with -rapid.checks.
const (
	chaosSeeds       = 150
	determinismSeeds = 10
)

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

func TestZZSweep(t *testing.T) {
	for i := range 3000 {
		sc := simScenario{Seed: uint64(i), Steps: 1000, Runs: 40, Plans: 3, Window: 4, MaxRuns: 1, Workers: 3, Slots: 3, Crashes: i % 3, Calm: i%4 == 0}
		t.Run(fmt.Sprint(i), func(t *testing.T) { playScenario(t, sc, false) })
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
			replay(t, w.cfg, seed, w.history[seed])
		}
	})
}

func replay(t simT, cfg Config, seed [32]byte, steps []simStep) {
	s := New(cfg, seed)
	for i, step := range steps {
		var out Output
		if step.load != 0 {
			out = s.LoadTenant(time.UnixMicro(step.now), step.load)
		} else {
			out = s.Step(time.UnixMicro(step.now), step.in)
		}
		if !reflect.DeepEqual(out, step.out) {
			t.Fatalf("step %d gave %+v, and before %+v", i, out, step.out)
		}
	}
}
