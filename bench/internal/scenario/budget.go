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
	// It comes once a minute and writes WAL: on a slow machine a turn would be charged for it.
	cfg.postgres = map[string]string{"autovacuum": "off"}
	g, err := openGround(ctx, cfg)
	if err != nil {
		return spent, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	b := g.newBench("main", g.programs)
	defer func() { err = errors.Join(err, b.stop()) }()
	// With more slots tasks wait in the worker on a slow machine, and one that lasts for a second costs another write.
	if err := b.startInstall(ctx, shape{slots: 500}); err != nil {
		return spent, err
	}
	if b.statistics == nil {
		return spent, errors.New("the costs need Postgres 15 with its contrib modules, and a superuser")
	}
	if err := b.warm(ctx); err != nil {
		return spent, err
	}
	if spent.IdleStatements, err = b.idleStatements(ctx); err != nil {
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
	return spent, nil
}

// idleStatements counts what is sent while the counts of the warm-up settle.
func (b *bench) idleStatements(ctx context.Context) (perMinute float64, err error) {
	begin := time.Now()
	before, err := b.statistics.Read(ctx)
	if err != nil {
		return 0, err
	}
	after, err := b.statistics.Settled(ctx, b.quiet)
	b.quiet = time.Time{}
	return float64(after.Statements-before.Statements) / time.Since(begin).Minutes(), err
}
