package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/bench/internal/cost"
	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
)

// The phases of a soak; a sample outside of all has none.
const (
	phasePinned     = "pinned"     // a transaction keeps a snapshot open
	phasePartitions = "partitions" // partitions are made and dropped
	phasePayloads   = "payloads"   // large inputs in the same queue
)

// Sample is one look at an install under a steady load.
type Sample struct {
	Minute float64 `json:"minute"`
	Phase  string  `json:"phase,omitempty"`
	// Rate is starts a second since the sample before.
	Rate float64 `json:"rate"`
	// P50, P99 and Most are from when a run was due to be triggered to the start of its code, in ms; Gap is the longest time without a start.
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	Most float64 `json:"most"`
	Gap  float64 `json:"gap"`
	store
	// Statements are mean times in ms since the sample before, of those that were called.
	Statements map[string]float64 `json:"statements"`
	// StatementTime is the time of all statements for each start, in µs.
	StatementTime float64 `json:"statement_us"`
	ServerMB      float64 `json:"server_mb"`
}

// store is what Postgres says of its tables, in rows and MB.
type store struct {
	LiveDead     int64   `json:"live_dead"`
	OtherDead    int64   `json:"other_dead"`
	LiveMB       float64 `json:"live_mb"`
	LiveIndexMB  float64 `json:"live_index_mb"`
	OtherMB      float64 `json:"other_mb"`
	OtherIndexMB float64 `json:"other_index_mb"`
}

// calls is a statement's sums.
type calls struct {
	calls int64
	ms    float64
}

// soak is an install under a steady load for as long as somebody wishes, with disturbances on the way.
type soak struct {
	*bench

	began    time.Time
	last     time.Time
	every    time.Duration
	samples  []Sample
	seen     map[string]calls
	pause    float64 // longest time without a start around a change of partitions, in ms
	noPause  float64 // the same in as long a time without a change
	runs     int64
	changing tenonside.Interval // what intervals inside a sample have told
}

func openSoak(b *bench, ctx context.Context) (stage, error) {
	if err := b.startInstall(ctx, shape{}); err != nil {
		return nil, err
	}
	if b.statistics == nil {
		return nil, errors.New("soak needs Postgres's extension pg_stat_statements")
	}
	const often, most, least = 60, 10 * time.Second, 500 * time.Millisecond
	return &soak{bench: b, every: min(most, max(least, b.cfg.Sizes.Soak/often/often*10))}, nil
}

func (s *soak) end() error { return nil }

// turn keeps the load up, samples, and disturbs: partitions after a fifth of the time, the snapshot in the middle, large payloads after three quarters.
func (s *soak) turn(ctx context.Context) (got figures.Turn, err error) {
	defer func() {
		if len(s.samples) > 0 { // of one that failed too
			got = s.judge()
			err = errors.Join(err, s.keep(got))
		}
	}()
	return got, s.run(ctx)
}

func (s *soak) run(ctx context.Context) error {
	total := s.cfg.Sizes.Soak
	if err := s.worker.Reset(ctx); err != nil {
		return err
	}
	const batch = 20
	s.began, s.last = time.Now(), time.Now()
	err := s.client.Stream(ctx, tenonside.StreamOrder{Name: "small", Rate: s.cfg.Sizes.SoakRate, Batch: batch, First: 0, Timed: true})
	if err != nil {
		return err
	}
	if s.seen, err = s.calls(ctx); err != nil {
		return err
	}
	pinned := min(5*time.Minute, total/6)
	large := min(time.Minute, total/12)
	for _, part := range []struct {
		until time.Duration
		phase string
		do    func(context.Context, time.Duration) error
	}{
		{total / 5, "", s.watchFor},
		{0, phasePartitions, s.changePartitions},
		{total/2 - pinned/2, "", s.watchFor},
		{total/2 + pinned/2, phasePinned, s.pinSnapshot},
		{total * 3 / 4, "", s.watchFor},
		{total*3/4 + large, phasePayloads, s.sendLarge},
		{total, "", s.watchFor},
	} {
		s.log.Info("soak", "minute", figures.Round(time.Since(s.began).Minutes()), "phase", part.phase)
		from := len(s.samples)
		if err := part.do(ctx, part.until-time.Since(s.began)); err != nil {
			return fmt.Errorf("%s: %w", part.phase, err)
		}
		for i := range s.samples[from:] {
			s.samples[from+i].Phase = part.phase
		}
	}
	done, err := s.client.Halt(ctx, "small")
	if err != nil {
		return err
	}
	s.runs += done.Runs
	if err := s.await(ctx, "the last runs to be stored", "select not exists (select from live)"); err != nil {
		return err
	}
	return s.check(ctx)
}

// watchFor samples for a while, and once when none of it is left, because the phase before took longer than it should.
func (s *soak) watchFor(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); ; {
		if err := pause(ctx, min(s.every, max(0, time.Until(end)))); err != nil {
			return err
		}
		if err := s.sample(ctx); err != nil {
			return err
		}
		if !time.Now().Before(end) {
			return nil
		}
	}
}

// pinSnapshot keeps a transaction open that has seen the store as it is now: nothing that dies from here on can be cleaned up.
func (s *soak) pinSnapshot(ctx context.Context, d time.Duration) error {
	admin, err := s.grounds.postgres.Admin(s.database)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what it has seen is of no interest
	for _, statement := range []string{"begin isolation level repeatable read", "select count(*) from shards"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	if err := s.watchFor(ctx, d); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "commit")
	return err
}

// changePartitions makes and drops partitions a few times, and notes how long no task started around it.
func (s *soak) changePartitions(ctx context.Context, _ time.Duration) error {
	const times, standard = 5, int16(2)
	look := min(time.Second, s.cfg.Sizes.Soak/200)
	const width, day = 3 * 24 * time.Hour, 24 * time.Hour
	now := time.Now()
	for i := range times {
		ahead := now.Add(time.Duration(30+3*i) * day)
		for _, change := range []struct {
			into      *float64
			statement string
			args      []any
		}{
			{&s.noPause, "select 1", nil},
			{&s.pause, "select ensure_partitions($1, $2, $3, $4)", []any{standard, ahead.UnixMilli(), ahead.Add(time.Hour).UnixMilli(), width.Milliseconds()}},
			{&s.pause, "select ensure_partitions($1, $2, $3, $4)", []any{standard, now.Add(-60 * day).UnixMilli(), now.Add(-59 * day).UnixMilli(), width.Milliseconds()}},
			{&s.pause, "select drop_partitions($1, $2, $3)", []any{standard, now.Add(-50 * day).UnixMilli(), width.Milliseconds()}},
		} {
			if err := s.interval(ctx); err != nil {
				return err
			}
			before := s.changing.Gap
			s.changing.Gap = tenonside.Gap{}
			if _, err := s.watch.Exec(ctx, change.statement, change.args...); err != nil {
				return fmt.Errorf("%s: %w", change.statement, err)
			}
			if err := pause(ctx, look); err != nil {
				return err
			}
			if err := s.interval(ctx); err != nil {
				return err
			}
			*change.into = max(*change.into, figures.Milliseconds(s.changing.Gap.Length()))
			if before.Length() > s.changing.Gap.Length() {
				s.changing.Gap = before
			}
		}
		if err := s.sample(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sendLarge triggers runs with large inputs beside the small ones, for the same task in the same queue.
func (s *soak) sendLarge(ctx context.Context, d time.Duration) error {
	const mebibyte, room, first = 1 << 20, 256, int64(1) << 40
	streams := []tenonside.StreamOrder{
		{Name: "1 MiB", Rate: 4, Batch: 1, First: first, Pad: mebibyte - room}, {Name: "4 MiB", Rate: 1, Batch: 1, First: 2 * first, Pad: 4*mebibyte - room},
	}
	for _, o := range streams {
		if err := s.client.Stream(ctx, o); err != nil {
			return err
		}
	}
	if err := s.watchFor(ctx, d); err != nil {
		return err
	}
	for _, o := range streams {
		done, err := s.client.Halt(ctx, o.Name)
		if err != nil {
			return err
		}
		s.runs += done.Runs
	}
	return nil
}

// interval reads the worker's news into those of the sample that is being gathered.
func (s *soak) interval(ctx context.Context) error {
	got, err := s.worker.Interval(ctx)
	if err != nil {
		return err
	}
	c := &s.changing
	c.Starts += got.Starts
	c.Timed += got.Timed
	c.P50, c.P99, c.Most = max(c.P50, got.P50), max(c.P99, got.P99), max(c.Most, got.Most)
	if got.Gap.Length() > c.Gap.Length() {
		c.Gap = got.Gap
	}
	return nil
}

// sample looks at everything once.
func (s *soak) sample(ctx context.Context) error {
	const megabyte = 1 << 20
	if err := s.interval(ctx); err != nil {
		return err
	}
	now := time.Now()
	got := s.changing
	s.changing = tenonside.Interval{}
	one := Sample{
		Minute: now.Sub(s.began).Minutes(), Rate: float64(got.Starts) / now.Sub(s.last).Seconds(), P50: got.P50, P99: got.P99, Most: got.Most,
		Gap: figures.Milliseconds(got.Gap.Length()), Statements: make(map[string]float64),
	}
	s.last = now
	err := s.watch.QueryRow(ctx, `select coalesce(sum(n_dead_tup) filter (where live), 0)::bigint, coalesce(sum(n_dead_tup) filter (where not live), 0)::bigint,
			coalesce(sum(pg_table_size(relid)) filter (where live), 0)::float8 / $1, coalesce(sum(pg_indexes_size(relid)) filter (where live), 0)::float8 / $1,
			coalesce(sum(pg_table_size(relid)) filter (where not live), 0)::float8 / $1, coalesce(sum(pg_indexes_size(relid)) filter (where not live), 0)::float8 / $1
		from (select relid, n_dead_tup, relname = 'live' as live from pg_stat_user_tables) as t`, float64(megabyte)).Scan(
		&one.LiveDead, &one.OtherDead, &one.LiveMB, &one.LiveIndexMB, &one.OtherMB, &one.OtherIndexMB)
	if err != nil {
		return fmt.Errorf("read the tables' statistics: %w", err)
	}
	sums, err := s.calls(ctx)
	if err != nil {
		return err
	}
	var all float64
	for name, now := range sums {
		n, ms := now.calls-s.seen[name].calls, now.ms-s.seen[name].ms
		if n > 0 {
			one.Statements[name] = ms / float64(n)
		}
		all += ms
	}
	if got.Starts > 0 {
		one.StatementTime = all * float64(time.Millisecond/time.Microsecond) / float64(got.Starts)
	}
	s.seen = sums
	if peak, err := cost.Memory(s.server.PID()); err == nil {
		one.ServerMB = float64(peak) / megabyte
	}
	s.samples = append(s.samples, one)
	return nil
}

// calls reads the sums of Tenon's own statements, by their names in db/queries.
func (s *soak) calls(ctx context.Context) (map[string]calls, error) {
	list, err := s.statistics.ByName(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]calls, len(list))
	for _, one := range list {
		sum := out[one.Name]
		out[one.Name] = calls{sum.calls + one.Calls, sum.ms + one.Milliseconds}
	}
	return out, nil
}

// check holds what the store has of the load against what was acknowledged.
func (s *soak) check(ctx context.Context) error {
	var all, right, different int64
	err := s.watch.QueryRow(ctx, `select count(*), count(*) filter (where state = 'completed' and convert_from(output, 'UTF8') = (substring(convert_from(input, 'UTF8') from '"num":(\d+)'))
			or input is null), count(distinct run_id) from history_runs`).Scan(&all, &right, &different)
	if err != nil {
		return fmt.Errorf("check the results: %w", err)
	}
	if all != s.runs || right != s.runs || different != s.runs {
		return fmt.Errorf("of %d runs the database has %d, %d with the right result, %d different ones", s.runs, all, right, different)
	}
	return nil
}

// keep leaves the samples and their drawing behind.
func (s *soak) keep(got figures.Turn) error {
	if s.cfg.Attach == nil {
		return nil
	}
	text, err := json.Marshal(struct {
		Rate    float64            `json:"rate"`
		Minutes float64            `json:"minutes"`
		Runs    int64              `json:"runs"`
		Figures map[string]float64 `json:"figures"`
		Samples []Sample           `json:"samples"`
	}{s.cfg.Sizes.SoakRate, s.cfg.Sizes.Soak.Minutes(), s.runs, got.Also, s.samples})
	if err != nil {
		return err
	}
	return errors.Join(s.cfg.Attach("soak.json", text), s.cfg.Attach("soak.svg", drawSoak(s.cfg.Sizes.SoakRate, s.samples)))
}
