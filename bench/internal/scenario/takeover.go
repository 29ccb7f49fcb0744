package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
)

const (
	// streamBatch is how many runs a call of a steady load carries.
	streamBatch = 100
	// everythingElse is what runs beside the schedulers: the process that is not struck.
	everythingElse = "identity,registry,dispatcher,ingest,frontend"
)

// takeover is an install with two schedulers, of which the owner of the tenant's shard goes.
type takeover struct {
	*bench

	// strike ends the owner, and is followed by so much time in which its work must go on.
	strike func(*ground.Server) error
	follow time.Duration
	// figure is what is made of the longest time without a start.
	figure func(gap tenonside.Gap, struck time.Time) time.Duration
	turns  int
}

func openFailover(b *bench, _ context.Context) (stage, error) {
	const follow = 12 * time.Second
	return &takeover{
		bench: b, follow: follow,
		strike: func(s *ground.Server) error {
			s.Kill()
			return nil
		},
		// The worker may still be handed what had left the owner before its end: the first assignment of the next one is what ends the long silence.
		figure: func(gap tenonside.Gap, struck time.Time) time.Duration { return gap.To.Sub(struck) },
	}, nil
}

func openHandover(b *bench, _ context.Context) (stage, error) {
	const follow = 3 * time.Second
	return &takeover{
		bench: b, follow: follow,
		strike: func(s *ground.Server) error { return s.Stop() },
		figure: func(gap tenonside.Gap, _ time.Time) time.Duration { return gap.Length() },
	}, nil
}

func (t *takeover) end() error { return nil }

// turn brings an install up, finds its full load, keeps half of it, and strikes. Its figure is the time without a start.
func (t *takeover) turn(ctx context.Context) (got figures.Turn, err error) {
	t.turns++
	b := t.sibling(fmt.Sprint(t.turns))
	defer func() { err = errors.Join(err, b.stop()) }()
	servers := []ground.ServerConfig{
		{Services: everythingElse}, {Name: "scheduler-1", Services: "scheduler"}, {Name: "scheduler-2", Services: "scheduler"},
	}
	if err := b.startInstall(ctx, shape{servers: servers}); err != nil {
		return got, err
	}
	err = b.await(ctx, "the schedulers to share the shards", "select count(*) = 2 and sum(n) = 64 from (select count(*) as n from shards where owner is not null group by owner) as s")
	if err != nil {
		return got, err
	}
	full, err := b.fullLoad(ctx)
	if err != nil {
		return got, err
	}
	const half = 0.5
	return t.strikeUnderLoad(ctx, b, full*half)
}

// fullLoad is the rate at which the install works off what is triggered in bulk.
func (b *bench) fullLoad(ctx context.Context) (float64, error) {
	o, err := b.order(ctx, tenonside.Noop, max(1, b.cfg.Sizes.Bulk/2))
	if err != nil {
		return 0, err
	}
	done, err := b.client.Bulk(ctx, o)
	if err != nil {
		return 0, err
	}
	end, err := b.worked(ctx, o, done)
	if err != nil {
		return 0, err
	}
	return figures.Rate(o.Runs, end.at.Sub(done.Begin)).Rate, nil
}

func (t *takeover) strikeUnderLoad(ctx context.Context, b *bench, rate float64) (figures.Turn, error) {
	owner, err := b.ownerOf(ctx, b.tokens[0].Slug)
	if err != nil {
		return figures.Turn{}, err
	}
	if err := b.worker.Reset(ctx); err != nil {
		return figures.Turn{}, err
	}
	begin := time.Now()
	if err := b.client.Stream(ctx, tenonside.StreamOrder{Name: "load", Rate: rate, Batch: streamBatch, First: b.next}); err != nil {
		return figures.Turn{}, err
	}
	if err := pause(ctx, b.cfg.Sizes.Steady); err != nil {
		return figures.Turn{}, err
	}
	before, err := b.worker.Interval(ctx)
	if err != nil {
		return figures.Turn{}, err
	}
	struck := time.Now()
	if err := t.strike(owner); err != nil {
		return figures.Turn{}, err
	}
	if err := pause(ctx, t.follow); err != nil {
		return figures.Turn{}, err
	}
	after, err := b.worker.Interval(ctx)
	if err != nil {
		return figures.Turn{}, err
	}
	sent, err := b.client.Halt(ctx, "load")
	if err != nil {
		return figures.Turn{}, err
	}
	if !after.Gap.To.After(struck) || time.Since(after.Gap.To) < 0 {
		return figures.Turn{}, fmt.Errorf("no task has started after %s", struck)
	}
	b.next += sent.Runs
	if err := b.await(ctx, "the last runs to be stored", "select not exists (select from live)"); err != nil {
		return figures.Turn{}, err
	}
	return figures.Turn{Figure: figures.Milliseconds(t.figure(after.Gap, struck)), Also: map[string]float64{
		"gap_before_ms": figures.Milliseconds(before.Gap.Length()), "load": rate, "resent": float64(sent.Resent),
	}}, b.verify(ctx, tenonside.Order{Workflow: tenonside.Noop, Runs: int(sent.Runs)}, begin)
}

// ownerOf finds the process that owns a tenant's shard.
func (b *bench) ownerOf(ctx context.Context, slug string) (*ground.Server, error) {
	var instance string
	err := b.watch.QueryRow(ctx, `select s.owner::text from tenants t join tenant_shards p on p.tenant_id = t.id join shards s on s.id = p.shard
		where t.slug = $1`, slug).Scan(&instance)
	if err != nil {
		return nil, fmt.Errorf("find the owner of %s: %w", slug, err)
	}
	known, err := b.server.Others()
	if err != nil {
		return nil, err
	}
	for _, s := range b.servers {
		if known[s.Address] == instance {
			return s, nil
		}
	}
	return nil, fmt.Errorf("the owner of %s is %s, which is none of ours: %v", slug, instance, known)
}
