// Command simulate plays the simulation: seeds of a whole engine, then every broken engine. Its last line tells how it went; it exits with 1 when a
// promise was broken or a broken engine was not caught. It is no part of the product; `make sim` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/tenon-run/tenon/test/sim"
)

func main() {
	seeds := flag.Int("seeds", 2000, "how many worlds")
	first := flag.Uint64("seed", 1, "the first seed")
	broken := flag.Bool("broken", true, "play the broken engines too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if !play(ctx, *first, *seeds, *broken) {
		os.Exit(1) //nolint:gocritic // nothing is left to end
	}
}

func play(ctx context.Context, first uint64, seeds int, broken bool) bool {
	began := time.Now()
	totals := sim.Campaign(ctx, first, seeds)
	fmt.Printf("%d worlds in %s: %d runs ended, %d takes of shards, %d commits fenced, %d of unknown outcome\n",
		totals.Seeds, time.Since(began).Round(time.Millisecond), totals.Runs, totals.Takes, totals.Fences, totals.Unknown)
	for i, r := range totals.Violations {
		if i == 0 {
			small := sim.Shrink(ctx, r, sim.Whole)
			fmt.Printf("\nthe smallest world found that breaks the same promise as seed %d:\n%s\n", r.Scenario.Seed, small.Scenario)
			for _, line := range small.Trace {
				fmt.Println("  " + line)
			}
			fmt.Printf("  => %s\n\n", small.Violation)
		}
		fmt.Printf("seed %d: %s [%s]\n", r.Scenario.Seed, r.Violation, r.Scenario)
	}
	caught, all := 0, 0
	if broken {
		for _, engine := range sim.BrokenEngines() {
			all++
			if r, ok := sim.Catch(ctx, engine, sim.CatchSeeds); ok {
				caught++
				fmt.Printf("caught at seed %d: %s (%s)\n", r.Scenario.Seed, engine, r.Violation)
			} else {
				fmt.Printf("NOT CAUGHT: %s\n", engine)
			}
		}
	}
	fmt.Printf("seeds=%d violations=%d broken_engines_caught=%d/%d\n", seeds, len(totals.Violations), caught, all)
	return len(totals.Violations) == 0 && caught == all
}
