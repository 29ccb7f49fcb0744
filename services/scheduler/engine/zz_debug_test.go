package engine

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestZZDebug(t *testing.T) {
	i := 0
	fmt.Sscan(os.Getenv("SEED"), &i)
	want := os.Getenv("RUN")
	sc := simScenario{Seed: uint64(i), Steps: 1000, Runs: 40, Plans: 3, Window: 4, MaxRuns: 1, Workers: 3, Slots: 3, Crashes: i % 3, Calm: i%4 == 0}
	w := playScenarioDebug(t, sc, func(w *simWorld) {
		n := 0
		for _, seed := range w.seeds {
			fmt.Println("=== shard")
			for _, st := range w.history[seed] {
				n++
				for _, in := range st.in {
					s := fmt.Sprintf("%T %+v", in, in)
					if want == "" || strings.Contains(s, want) || strings.Contains(s, "Lane") && os.Getenv("LANES") != "" {
						fmt.Println(st.out.Seq, st.now, "  IN", clip(s))
					}
				}
				for _, c := range st.out.Changes {
					s := fmt.Sprintf("%T %+v", c, c)
					if want == "" || strings.Contains(s, want) {
						fmt.Println(st.out.Seq, st.now, "  CHANGE", clip(s))
					}
				}
				for _, c := range st.out.Effects {
					s := fmt.Sprintf("%T %+v", c, c)
					if want == "" || strings.Contains(s, want) {
						fmt.Println(st.out.Seq, st.now, "  EFFECT", clip(s))
					}
				}
				for _, c := range st.out.Asks {
					s := fmt.Sprintf("%T %+v", c, c)
					if want == "" || strings.Contains(s, want) || strings.Contains(s, "Lane") && os.Getenv("LANES") != "" {
						fmt.Println(st.out.Seq, st.now, "  ASK", clip(s))
					}
				}
			}
		}
	})
	_ = w
}

func clip(s string) string {
	if len(s) > 700 {
		return s[:700]
	}
	return s
}

func playScenarioDebug(t *testing.T, sc simScenario, dump func(*simWorld)) *simWorld {
	w := newSimWorld(t, sc.config(), sc.Seed)
	w.history = map[[32]byte][]simStep{}
	defer dump(w)
	c := &simChaos{simWorld: w, sc: sc}
	for i := range sc.Plans {
		c.addPlan(i)
	}
	for range sc.Workers {
		w.newWorker(1+w.rnd.IntN(sc.Slots), c.actions)
	}
	for range sc.Steps {
		c.act(w.rnd.IntN(100))
	}
	c.heal()
	c.checkAll()
	return w
}
