// Package riverside is the peer in the bench: River in a process of its own, inserting and working its jobs in that process as its own bench does,
// with that bench's settings. Only the bench's scenarios and its program import it.
package riverside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/tenon-run/tenon/bench/internal/load"
	"github.com/tenon-run/tenon/bench/internal/proc"
)

// Role is the role of River's process, Name what the peer is called in the figures.
const (
	Role = "river"
	Name = "river"
)

// River's own bench (cmd/river/riverbench) runs with these.
const (
	fetchCooldown     = 2 * time.Millisecond
	fetchPollInterval = 20 * time.Millisecond
	maxWorkers        = 2_000
	insertBatch       = 5_000
)

// connections is the size of River's pool. Its bench has pgx's default, 4 on a small machine, in which 50 callers would wait for each other.
const connections = 32

// Start starts River's process on a database of its own, and migrates it.
func Start(ctx context.Context, folder, databaseURL string) (*River, error) {
	p, err := proc.Start(proc.Config{Name: "river", Role: Role, Folder: folder, Env: []string{"DATABASE_URL=" + databaseURL}})
	if err != nil {
		return nil, err
	}
	if err := p.Ask(ctx, "migrate", struct{}{}, nil); err != nil {
		_ = p.Stop() // the first error tells more
		return nil, err
	}
	return &River{p}, nil
}

// River is River's process.
type River struct{ *proc.Process }

// Order is what River is asked to do.
type Order struct {
	Jobs     int     `json:"jobs"`
	InFlight int     `json:"in_flight,omitempty"`
	Rate     float64 `json:"rate,omitempty"` // inserts a second
}

// Done is what came of it.
type Done struct {
	Took    time.Duration   `json:"took"`    // from the first insert until the last job's completion is stored
	Starts  []time.Duration `json:"starts"`  // from an insert's call to the start of the job's code
	Results []time.Duration `json:"results"` // from an insert's call to the news that its completion is stored
}

// Bulk inserts in batches while jobs are worked.
func (r *River) Bulk(ctx context.Context, o Order) (done Done, err error) {
	return done, r.Ask(ctx, "bulk", o, &done)
}

// Single inserts each job by a call of its own: InFlight at a time or, when that is 0, Rate a second.
func (r *River) Single(ctx context.Context, o Order) (done Done, err error) {
	return done, r.Ask(ctx, "single", o, &done)
}

// Handlers returns what River's process answers to.
func Handlers(ctx context.Context) (handlers map[string]proc.Handler, stop func(), err error) {
	cfg, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, nil, err
	}
	cfg.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	return map[string]proc.Handler{
		"migrate": proc.Handle(func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, migrate(ctx, pool) }),
		"bulk":    proc.Handle(func(ctx context.Context, o Order) (Done, error) { return work(ctx, pool, o, (*turn).bulk) }),
		"single":  proc.Handle(func(ctx context.Context, o Order) (Done, error) { return work(ctx, pool, o, (*turn).single) }),
	}, pool.Close, nil
}

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// args are those of River's bench, with the time of the call.
type args struct {
	Num  int   `json:"num"`
	Sent int64 `json:"sent,omitempty"`
}

// Kind implements river.JobArgs.
func (args) Kind() string { return "benchmark" }

type worker struct {
	river.WorkerDefaults[args]

	starts *load.Samples
	sum    *atomic.Int64
}

// Work implements river.Worker.
func (w *worker) Work(_ context.Context, job *river.Job[args]) error {
	if job.Args.Sent != 0 {
		w.starts.Add(time.Since(time.Unix(0, job.Args.Sent)))
	}
	w.sum.Add(int64(job.Args.Num))
	return nil
}

// turn is one order under way.
type turn struct {
	order   Order
	client  *river.Client[pgx.Tx]
	starts  load.Samples
	results load.Samples
	sum     atomic.Int64 // of the numbers of the jobs worked

	mu   sync.Mutex
	sent map[int64]time.Time // of jobs inserted one by one, by their id
}

// work empties the table and carries out an order with a client that works meanwhile. River's bench makes a VACUUM FULL of the empty table too; after it
// Postgres believes the table to stay empty, and in half of the turns River then fell to a fifth of its rate. That is not what is to be compared.
func work(ctx context.Context, pool *pgxpool.Pool, o Order, insert func(*turn, context.Context) error) (done Done, err error) {
	if _, err := pool.Exec(ctx, "truncate river_job"); err != nil {
		return Done{}, err
	}
	t := &turn{order: o, sent: make(map[int64]time.Time)}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{starts: &t.starts, sum: &t.sum})
	t.client, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		FetchCooldown: fetchCooldown, FetchPollInterval: fetchPollInterval, Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return Done{}, err
	}
	// As in River's bench: an event says that a job's completion has been stored. The channel holds them all, none is dropped.
	events, cancel := t.client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: o.Jobs, Kinds: []river.EventKind{river.EventKindJobCancelled, river.EventKindJobCompleted, river.EventKindJobFailed},
	})
	defer cancel()
	if err := t.client.Start(ctx); err != nil {
		return Done{}, err
	}
	defer func() { err = errors.Join(err, t.client.Stop(ctx)) }()
	begin := time.Now()
	inserted := make(chan error, 1)
	go func() { inserted <- insert(t, ctx) }()
	if err := t.follow(ctx, events, inserted); err != nil {
		return Done{}, err
	}
	return Done{Took: time.Since(begin), Starts: t.starts.Take(), Results: t.results.Take()}, t.check(ctx, pool)
}

// follow waits for the end of the inserts and of every job.
func (t *turn) follow(ctx context.Context, events <-chan *river.Event, inserted chan error) error {
	for left := t.order.Jobs; left > 0 || inserted != nil; {
		select {
		case e := <-events:
			if e == nil || e.Kind != river.EventKindJobCompleted {
				return fmt.Errorf("a job ended otherwise than completed: %+v", e)
			}
			left--
			t.completed(e.Job.ID)
		case err := <-inserted:
			if err != nil {
				return err
			}
			inserted = nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// completed notes a result's time. The event of a job may overtake the answer to its insert.
func (t *turn) completed(id int64) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if sent, ok := t.sent[id]; ok {
		delete(t.sent, id)
		t.results.Add(now.Sub(sent))
		return
	}
	t.sent[id] = now
}

func (t *turn) answered(id int64, sent time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end, ok := t.sent[id]; ok {
		delete(t.sent, id)
		t.results.Add(end.Sub(sent))
		return
	}
	t.sent[id] = sent
}

func (t *turn) bulk(ctx context.Context) error {
	for from := 0; from < t.order.Jobs; from += insertBatch {
		batch := make([]river.InsertManyParams, min(insertBatch, t.order.Jobs-from))
		for i := range batch {
			batch[i].Args = args{Num: from + i}
		}
		if _, err := t.client.InsertManyFast(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) single(ctx context.Context) error {
	insert := func(ctx context.Context, i int, sent time.Time) error {
		res, err := t.client.Insert(ctx, args{Num: i, Sent: sent.UnixNano()}, nil)
		if err == nil {
			t.answered(res.Job.ID, sent)
		}
		return err
	}
	if t.order.InFlight > 0 {
		return load.Closed(ctx, t.order.Jobs, t.order.InFlight, func(ctx context.Context, i int) error { return insert(ctx, i, time.Now()) })
	}
	return load.Open(ctx, t.order.Jobs, t.order.Rate, insert)
}

// check holds what the table says against the order.
func (t *turn) check(ctx context.Context, pool *pgxpool.Pool) error {
	var all, completed int
	if err := pool.QueryRow(ctx, "select count(*), count(*) filter (where state = 'completed') from river_job").Scan(&all, &completed); err != nil {
		return err
	}
	n := int64(t.order.Jobs)
	if all != t.order.Jobs || completed != all || t.sum.Load() != n*(n-1)/2 {
		return fmt.Errorf("%d of %d jobs are completed, %d were inserted; the numbers worked add up to %d", completed, all, n, t.sum.Load())
	}
	return nil
}
