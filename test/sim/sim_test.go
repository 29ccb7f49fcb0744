package sim

import (
	"fmt"
	"testing"
)

// seeds is how many worlds the tests play; the race detector makes each several times as long. `make sim` plays 2,000.
const seeds = 150

func TestPromisesHoldInEveryWorld(t *testing.T) {
	totals := Campaign(t.Context(), 1, seeds)
	for _, r := range totals.Violations {
		t.Errorf("%s\nin the world %s\nplay it with: make sim SEEDS=1 SEED=%d", r.Violation, r.Scenario, r.Scenario.Seed)
	}
	if totals.Takes <= seeds || totals.Fences == 0 || totals.Unknown == 0 || totals.Runs < seeds {
		t.Errorf("the worlds are too calm to prove anything: %+v", totals)
	}
}

func TestBrokenEnginesAreCaught(t *testing.T) {
	t.Parallel()
	for _, broken := range BrokenEngines() {
		t.Run(string(broken), func(t *testing.T) {
			t.Parallel()
			r, ok := Catch(t.Context(), broken, CatchSeeds)
			if !ok {
				t.Fatalf("not caught in %d worlds", CatchSeeds)
			}
			if whole := Run(t.Context(), r.Scenario, Whole, false); whole.Violation != "" {
				t.Fatalf("seed %d fails with a whole engine too, so it proves nothing: %s", r.Scenario.Seed, whole.Violation)
			}
		})
	}
}

func TestOneSeedGivesOneHistory(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := Run(t.Context(), NewScenario(seed), Whole, true), Run(t.Context(), NewScenario(seed), Whole, true)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("seed %d gave two histories", seed)
		}
	}
}
