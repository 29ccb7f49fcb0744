package scenario

import (
	"context"
	"errors"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
)

// Spent is what an install spends, in counts that do not depend on the machine.
type Spent struct {
	// Bulk and Single are what a task costs that was triggered in bulk, and with a call of its own, 50 at a time.
	Bulk, Single figures.Cost
	// IdleStatements is SQL statements a minute while nothing happens.
	IdleStatements float64
}

// Spend measures it, with one worker and without peers. It takes about 40 s.
func Spend(ctx context.Context, cfg Config) (spent Spent, err error) {
	if cfg, _, err = cfg.prepare(); err != nil {
		return spent, err
	}
	g, err := openGround(ctx, cfg)
	if err != nil {
		return spent, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	b := g.newBench("main", g.programs)
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.startInstall(ctx, shape{}); err != nil {
		return spent, err
	}
	if b.statistics == nil {
		return spent, errors.New("the costs need Postgres 15 with its contrib modules, and a superuser")
	}
	if err := b.warm(ctx); err != nil {
		return spent, err
	}
	for _, one := range []struct {
		take turn
		into *figures.Cost
	}{{(*bench).tenonBulk, &spent.Bulk}, {(*bench).tenonSingle, &spent.Single}} {
		got, err := one.take(b, ctx)
		if err != nil {
			return spent, err
		}
		*one.into = *got.Cost
		b.quiet = time.Time{} // the reading has waited for all of it
	}
	before, err := b.statistics.Read(ctx)
	if err != nil {
		return spent, err
	}
	if err := pause(ctx, cfg.Sizes.Idle); err != nil {
		return spent, err
	}
	after, err := b.statistics.Read(ctx)
	spent.IdleStatements = float64(after.Statements-before.Statements) / cfg.Sizes.Idle.Minutes()
	return spent, err
}
