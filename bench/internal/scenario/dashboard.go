package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// filledSpan is the time over which the finished runs of dashboard were created: all of them within the longest window that is counted.
const filledSpan = 23 * time.Hour

// dashboard is an install with many finished runs and a long line of open ones, which people look at.
type dashboard struct {
	*bench

	api   *tenon.Client
	until time.Time // the finished runs were created in filledSpan before it
	reads []read
}

func openDashboard(b *bench, ctx context.Context) (stage, error) {
	if err := b.startInstall(ctx, shape{}); err != nil {
		return nil, err
	}
	s := &dashboard{bench: b}
	if err := s.makeTemplates(ctx); err != nil {
		return nil, err
	}
	if err := s.makeOpen(ctx); err != nil {
		return nil, err
	}
	if err := s.fill(ctx); err != nil {
		return nil, err
	}
	var err error
	s.api, err = tenon.NewClient(tenon.WithAddress(b.server.Address), tenon.WithToken(b.tokens[0].API), tenon.WithLogger(b.log))
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, s.api.Close)
	s.reads = s.makeReads()
	for _, r := range s.reads {
		if err := r.check(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return s, nil
}

func (s *dashboard) end() error { return nil }

// makeTemplates has a run of one task and a run of several worked, and keeps the rows that the scheduler has written for them.
func (s *dashboard) makeTemplates(ctx context.Context) error {
	for _, workflow := range []string{tenonside.Noop, tenonside.Chain} {
		if _, err := s.client.Results(ctx, tenonside.Order{Workflow: workflow, Runs: 1, InFlight: 1}); err != nil {
			return err
		}
	}
	if err := s.await(ctx, "the first runs to be stored", "select (select count(*) from history_runs) = 2 and not exists (select from live)"); err != nil {
		return err
	}
	for _, table := range []string{"history_runs", "history_tasks"} {
		if _, err := s.watch.Exec(ctx, "create temporary table template_"+table+" as table "+table); err != nil {
			return fmt.Errorf("keep the rows of %s: %w", table, err)
		}
	}
	return nil
}

// makeOpen triggers the open runs by the API: one in a hundred has begun and waits for its retry, the others are queued and no worker is there to take them.
func (s *dashboard) makeOpen(ctx context.Context) error {
	const oneIn = 100
	begun := max(1, s.cfg.Sizes.Open/oneIn)
	if _, err := s.client.Single(ctx, tenonside.Order{Workflow: tenonside.Stubborn, Runs: begun, InFlight: s.cfg.Sizes.InFlight}); err != nil {
		return err
	}
	if err := s.await(ctx, "the runs to be in their backoff", "select count(*) = $1 from live where state = 'backing_off'", begun); err != nil {
		return err
	}
	if err := s.worker.Stop(); err != nil {
		return err
	}
	if queued := s.cfg.Sizes.Open - begun; queued > 0 {
		if _, err := s.client.Bulk(ctx, tenonside.Order{Workflow: tenonside.Noop, Runs: queued}); err != nil {
			return err
		}
	}
	return s.await(ctx, "the open runs to be stored", "select count(*) = $1 from live where task_no = 0", s.cfg.Sizes.Open)
}

// fill copies the two finished runs, with ids, times, states and hashes of their own, and counts the copies in the minutes that they ended in, as the commit that ends
// a run does. Chunks stay far below the 30 s that the server gives a statement.
func (s *dashboard) fill(ctx context.Context) error {
	const chunk = 50_000
	total := s.cfg.Sizes.Finished
	s.log.Info("filling the history", "runs", total)
	insert, err := s.fillStatement(ctx)
	if err != nil {
		return err
	}
	s.until = time.Now().Truncate(time.Millisecond)
	for first := 1; first <= total; first += chunk {
		last := min(total, first+chunk-1)
		_, err := s.watch.Exec(ctx, insert, first, last, s.until.Add(-filledSpan).UnixMilli(), filledSpan.Milliseconds(), total)
		if err != nil {
			return fmt.Errorf("fill the history from run %d to %d: %w", first, last, err)
		}
	}
	for _, statement := range []string{"vacuum analyze live, history_runs, history_tasks, run_labels, run_counts", "checkpoint"} {
		if _, err := s.watch.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// fillStatement writes the statement that makes the copies numbered $1 to $2 of $5, created within $4 ms from $3 on. Half of them carry labels: most of these
// one that they share, few one that is rare.
func (s *dashboard) fillStatement(ctx context.Context) (string, error) {
	// A run of several tasks that did not complete has come to grief in its last task.
	const failing = `v.state <> ''completed'' and %s`
	columns := func(table, here string) (text string, err error) {
		bad := fmt.Sprintf(failing, here)
		err = s.watch.QueryRow(ctx, `select string_agg(case
				when attname = 'run_id' then 'v.id'
				when attname = 'state' then 'case when `+bad+` then v.state else t.state end'
				when attname = 'output' then 'case when `+bad+` then null else t.output end'
				when attname = 'labels' then 'v.labels'
				when attname = 'error' then 'case when `+bad+` then convert_to(''{"kind":"'' || v.kind || ''","message":"not today"}'', ''UTF8'') end'
				when attname in ('created_at', 'queued_at', 'started_at', 'ended_at') then
					'case when t.' || attname || ' > 0 then v.ms * 1000 + t.' || attname || ' - f.created_at else 0 end'
				when attname = 'assignment_id' then 'case when t.assignment_id = uuid_floor(0) then t.assignment_id else md5(''a'' || v.n)::uuid end'
				when attname = 'request_hash' then 'case when t.request_hash = '''' then t.request_hash else sha256(v.n::text::bytea) end'
				else 't.' || attname end, ', ' order by attnum)
			from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped`, table).Scan(&text)
		if err != nil {
			return "", fmt.Errorf("read the columns of %s: %w", table, err)
		}
		return text, nil
	}
	runs, err := columns("history_runs", "true")
	if err != nil {
		return "", err
	}
	tasks, err := columns("history_tasks", "t.task_no = (select max(m.task_no) from template_history_tasks m)")
	if err != nil {
		return "", err
	}
	// Ids are UUIDv7. One run in a thousand is of several tasks.
	return `with fresh as (
			select c.n, c.ms, c.state, c.n % 1000 <> 0 as single, case c.state when 'failed' then 'error' when 'timed_out' then 'timeout' else c.state end as kind,
				case when c.n % 5000 = 0 then ` + labelsOf(rareLabels) + ` when c.n % 2 = 0 then ` + labelsOf(commonLabels) + ` end as labels,
				(substr(c.hex, 1, 8) || '-' || substr(c.hex, 9, 4) || '-7' || substr(c.md5, 1, 3) || '-8' || substr(c.md5, 4, 3) || '-' || substr(c.md5, 7, 12))::uuid as id
			from (select n, m.ms, md5(n::text) as md5, lpad(to_hex(m.ms), 12, '0') as hex,
					case when n % 97 = 0 then 'failed' when n % 997 = 0 then 'cancelled' when n % 9973 = 0 then 'timed_out' else 'completed' end as state
				from generate_series($1::bigint, $2::bigint) as n, lateral (select $3::bigint + (n - 1) * $4::bigint / $5::bigint as ms) as m) as c
		), runs as (
			insert into history_runs select ` + runs + ` from fresh v join template_history_runs t on t.single = v.single, lateral (select t.created_at) as f
			returning tenant_id, class, run_id, workflow_id, state, ended_at / 60000000 as minute, labels
		), tasks as (
			insert into history_tasks select ` + tasks + ` from fresh v join template_history_runs f on f.single = v.single join template_history_tasks t on t.run_id = f.run_id
		), labels as (
			insert into run_labels select tenant_id, class, key, value, run_id from runs, jsonb_each_text(convert_from(labels, 'UTF8')::jsonb)
		)
		insert into run_counts (tenant_id, workflow_id, state, minute, runs) select tenant_id, workflow_id, state, minute, count(*) from runs group by 1, 2, 3, 4
		on conflict (tenant_id, workflow_id, state, minute) do update set runs = run_counts.runs + excluded.runs`, nil
}

// turn makes every read many times, one call after the other. Its value is the slowest read's.
func (s *dashboard) turn(ctx context.Context) (figures.Turn, error) {
	out := figures.Turn{Also: make(map[string]float64)}
	for _, r := range s.reads {
		samples := make([]time.Duration, s.cfg.Sizes.Looks)
		for i := range samples {
			begin := time.Now()
			if err := r.call(ctx); err != nil {
				return out, fmt.Errorf("%s: %w", r.name, err)
			}
			samples[i] = time.Since(begin)
		}
		got := figures.Latency(samples)
		out.Also[r.name], out.Also[r.name+"_p99"] = got.P50, got.P99
		out.P50, out.P99 = max(out.P50, got.P50), max(out.P99, got.P99)
	}
	return out, nil
}

// The labels of the finished runs, as JSON.
const (
	commonLabels = `{"env": "prod"}`
	rareLabels   = `{"customer": "acme", "env": "prod"}`
)

// labelsOf writes labels as they stand in a run's row.
func labelsOf(labels string) string { return "convert_to('" + labels + "', 'UTF8')" }
