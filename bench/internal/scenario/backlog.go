package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tenon-run/tenon/bench/internal/cost"
	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
)

// backlog is two installs that take turns: one with nothing to do, and one with millions of queued runs.
type backlog struct {
	*bench // without an install of its own

	empty, full *bench
}

func openBacklog(b *bench, ctx context.Context) (stage, error) {
	s := &backlog{bench: b, empty: b.sibling("empty"), full: b.sibling("full")}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

func (s *backlog) end() error { return errors.Join(s.full.stop(), s.empty.stop()) }

func (s *backlog) open(ctx context.Context) error {
	for _, b := range []*bench{s.empty, s.full} {
		// The scheduler stands apart, so that its memory is its own.
		servers := []ground.ServerConfig{{Services: everythingElse}, {Name: "scheduler", Services: "scheduler"}}
		if err := b.startInstall(ctx, shape{servers: servers}); err != nil {
			return err
		}
		// Workers work in their own turns only.
		if err := b.worker.Stop(); err != nil {
			return err
		}
	}
	return s.fill(ctx)
}

// fill makes the backlog. The scheduler writes one row, for a run triggered like any other; the others are copies of it with ids, numbers and ranks of their own.
// They are written by Postgres while no scheduler runs: by the API they would take as long as all else together.
func (s *backlog) fill(ctx context.Context) error {
	b := s.full
	if _, err := b.client.Single(ctx, tenonside.Order{Workflow: tenonside.Noop, Runs: 1, First: 0, InFlight: 1}); err != nil {
		return err
	}
	if err := b.await(ctx, "the first run of the backlog", "select count(*) = 1 from live where lane <> 0"); err != nil {
		return err
	}
	if err := b.scheduler().Stop(); err != nil {
		return err
	}
	copies := b.cfg.Sizes.Backlog - 1
	s.log.Info("filling the backlog", "runs", copies+1)
	var columns string
	err := b.watch.QueryRow(ctx, `select string_agg(case attname when 'run_id' then
				'(substr(v.id, 1, 8) || ''-'' || substr(v.id, 9, 4) || ''-7'' || substr(md5(n::text), 1, 3) || ''-8'' || substr(md5(n::text), 4, 3) || ''-'' || substr(md5(n::text), 7, 12))::uuid'
			when 'rank' then 'l.rank - $1::bigint + n' when 'request_hash' then 'sha256(n::text::bytea)'
			when 'input' then 'convert_to(''{"num":'' || n || ''}'', ''UTF8'')' else 'l.' || attname end, ', ' order by attnum)
		from pg_attribute where attrelid = 'live'::regclass and attnum > 0 and not attisdropped`).Scan(&columns)
	if err != nil {
		return fmt.Errorf("read the columns: %w", err)
	}
	// Ids are UUIDv7, a hundred a millisecond.
	insert := `insert into live select ` + columns + ` from live l, generate_series(1, $1::bigint) as n, lateral (select lpad(to_hex($2::bigint + n / 100), 12, '0') as id) as v`
	if _, err := b.watch.Exec(ctx, insert, copies, time.Now().Add(-time.Hour).UnixMilli()); err != nil {
		return fmt.Errorf("fill the backlog: %w", err)
	}
	for _, statement := range []string{"vacuum analyze live", "checkpoint"} {
		if _, err := b.watch.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	b.next = int64(copies) + 1
	if _, err = b.addServer(ctx, ground.ServerConfig{Name: "scheduler-again", Services: "scheduler"}); err != nil {
		return err
	}
	return b.await(ctx, "the scheduler to have its shards", "select count(*) = 64 from shards where owner is not null and expires_at > now()")
}

// scheduler is the process with the scheduler, the one that was started last.
func (b *bench) scheduler() *ground.Server { return b.servers[len(b.servers)-1] }

// turn measures both, one after the other.
func (s *backlog) turn(ctx context.Context) (figures.Turn, error) {
	const megabyte = 1 << 20
	rates := make(map[*bench]float64)
	for _, b := range []*bench{s.empty, s.full} {
		rate, err := s.work(ctx, b)
		if err != nil {
			return figures.Turn{}, err
		}
		rates[b] = rate
	}
	got := figures.Turn{Rate: rates[s.full], Also: map[string]float64{"empty": rates[s.empty], "ratio_empty": rates[s.full] / rates[s.empty]}}
	for name, b := range map[string]*bench{"rss_mb": s.full, "rss_empty_mb": s.empty} {
		peak, err := cost.PeakMemory(b.scheduler().PID())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return got, err
		}
		got.Also[name] = float64(peak) / megabyte
	}
	return got, s.check(ctx)
}

// work triggers runs in bulk while the worker works, and gives the rate at which both are done: so many runs come in and so many go out. With a backlog
// those that go out are the oldest, and it is as long afterwards as it was before.
func (s *backlog) work(ctx context.Context, b *bench) (rate float64, err error) {
	if err := b.startWorker(ctx, 1, 0); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.worker.Stop()) }()
	few, err := b.order(ctx, tenonside.Noop, max(1, b.cfg.Sizes.Bulk/10))
	if err != nil {
		return 0, err
	}
	if _, err := b.client.Bulk(ctx, few); err != nil { // to warm up
		return 0, err
	}
	if _, err := b.worker.Await(ctx, few.Runs); err != nil {
		return 0, err
	}
	o, err := b.order(ctx, tenonside.Noop, b.cfg.Sizes.Bulk)
	if err != nil {
		return 0, err
	}
	done, err := b.client.Bulk(ctx, o)
	if err != nil {
		return 0, err
	}
	if _, err := b.worker.Await(ctx, o.Runs); err != nil {
		return 0, err
	}
	return figures.Rate(o.Runs, time.Since(done.Begin)).Rate, nil
}

// check holds what has run against what there was: no run twice, none with a wrong result, and the backlog stands.
func (s *backlog) check(ctx context.Context) error {
	for _, b := range []*bench{s.empty, s.full} {
		if err := b.await(ctx, "what has started to be stored", "select not exists (select from live where state <> 'queued')"); err != nil {
			return err
		}
		var all, right, different, queued int64
		err := b.watch.QueryRow(ctx, `select count(*), count(*) filter (where state = 'completed' and convert_from(output, 'UTF8')::bigint = num), count(distinct num),
				(select count(*) from live)
			from (select state, output, (convert_from(input, 'UTF8')::json ->> 'num')::bigint as num from history_runs) as h`).Scan(&all, &right, &different, &queued)
		if err != nil {
			return fmt.Errorf("check the results: %w", err)
		}
		if triggered := b.next; all != right || all != different || all+queued != triggered {
			return fmt.Errorf("of %d runs %d are queued and %d have run, %d with the right result, %d different ones", triggered, queued, all, right, different)
		}
		if b == s.full && queued < int64(b.cfg.Sizes.Backlog)/2 {
			return fmt.Errorf("the backlog has shrunk to %d runs", queued)
		}
	}
	return nil
}
