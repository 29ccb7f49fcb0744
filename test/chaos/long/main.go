// Command long runs the faults of package chaos in random order for some minutes, on one install under load. Standard error tells of each fault,
// standard output ends with the line
//
//	faults=N acknowledged=N adopted=N lost_attempts=N lost_runs=0 violations=0
//
// and the exit code is 1 when the install has broken a promise. `make chaos MINUTES=n` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-run/tenon/test/chaos"
)

func main() {
	chaos.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	minutes := flag.Float64("minutes", 5, "how long to go on")
	only := flag.String("only", "", "faults whose name contains this; default all")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the order of the faults") //nolint:gosec // any number does
	keep := flag.Bool("keep", false, "leave logs, executions and acknowledgements behind")
	flag.Parse()
	totals, err := run(ctx, time.Duration(*minutes*float64(time.Minute)), *only, *seed, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	for _, v := range totals.Violations {
		fmt.Fprintln(os.Stderr, "chaos: violation:", v)
	}
	fmt.Println(totals)
	if err != nil || len(totals.Violations) > 0 {
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func run(ctx context.Context, lasts time.Duration, only string, seed uint64, keep bool) (totals chaos.Totals, err error) {
	faults := slices.DeleteFunc(chaos.Faults(), func(f chaos.Fault) bool { return !strings.Contains(f.Name, only) })
	if len(faults) == 0 {
		return totals, fmt.Errorf("there is no fault %q", only)
	}
	fmt.Fprintln(os.Stderr, "chaos: the seed of the order is", seed)
	install, err := chaos.Start(ctx, chaos.Config{Keep: keep})
	if err != nil {
		return totals, err
	}
	defer func() { err = errors.Join(err, install.Close(context.WithoutCancel(ctx))) }()
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // an order, not a secret
	for end := time.Now().Add(lasts); time.Now().Before(end) && ctx.Err() == nil; {
		install.Inflict(ctx, faults[dice.IntN(len(faults))])
	}
	return install.Verdict(context.WithoutCancel(ctx))
}
