package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
)

// idle is an install in which nothing happens: workers are connected, and runs wait for a retry in some hours.
type idle struct{ *bench }

func openIdle(b *bench, ctx context.Context) (stage, error) {
	if err := b.startInstall(ctx, shape{workers: b.cfg.Sizes.Idlers}); err != nil {
		return nil, err
	}
	o := tenonside.Order{Workflow: tenonside.Stubborn, Runs: b.cfg.Sizes.Sleepers, InFlight: b.cfg.Sizes.InFlight}
	if _, err := b.client.Single(ctx, o); err != nil {
		return nil, err
	}
	if err := b.await(ctx, "the runs to be in their backoff", "select count(*) = $1 from live where state = 'backing_off'", o.Runs); err != nil {
		return nil, err
	}
	return idle{b}, b.await(ctx, "the workers' sessions", "select count(*) = $1 from worker_sessions where closed_at = 0", b.cfg.Sizes.Idlers)
}

func (s idle) end() error { return nil }

// turn looks on for a while.
func (s idle) turn(ctx context.Context) (got figures.Turn, err error) {
	if s.statistics == nil {
		return got, errors.New("idle needs Postgres's extension pg_stat_statements")
	}
	// What came before has to settle: checkpoints, vacuums, connections that go idle.
	if err := pause(ctx, s.cfg.Sizes.Idle/4); err != nil {
		return got, err
	}
	look := func() error {
		got, err = s.look(ctx)
		return err
	}
	if s.cfg.Profiles != "" {
		return got, s.profile(ctx, "idle", look)
	}
	return got, look()
}

func (s idle) look(ctx context.Context) (figures.Turn, error) {
	if err := s.statistics.Forget(ctx); err != nil {
		return figures.Turn{}, err
	}
	begin := time.Now()
	before, err := s.cpu()
	if err != nil {
		return figures.Turn{}, err
	}
	if err := pause(ctx, s.cfg.Sizes.Idle); err != nil {
		return figures.Turn{}, err
	}
	after, err := s.cpu()
	if err != nil {
		return figures.Turn{}, err
	}
	took := time.Since(begin)
	counts, err := s.statistics.Read(ctx)
	if err != nil {
		return figures.Turn{}, err
	}
	const percent = 100
	got := figures.Turn{Also: map[string]float64{"statements_per_minute": float64(counts.Statements) / took.Minutes()}}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		share := percent * (after[name] - before[name]).Seconds() / took.Seconds()
		got.Also["cpu_"+name] = share
		if name != "worker" && name != "client" { // they are the user's
			got.Figure += share
		}
	}
	return got, nil
}

// await asks the database until it says yes.
func (b *bench) await(ctx context.Context, what, question string, args ...any) error {
	const most, every = time.Minute, 50 * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("waited a minute for %s", what))
	defer cancel()
	for {
		var yes bool
		if err := b.watch.QueryRow(ctx, question, args...).Scan(&yes); err != nil {
			return fmt.Errorf("wait for %s: %w", what, errors.Join(err, context.Cause(ctx)))
		}
		if yes {
			return nil
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
