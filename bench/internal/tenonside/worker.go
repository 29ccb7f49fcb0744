package tenonside

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/proc"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// RoleWorker is the role of the process that works.
const RoleWorker = "tenon-worker"

// slots is how many tasks the worker takes at a time: as many as the peer's.
const slots = 2000

// How many workers the process runs, and how many slots each has.
const (
	variableWorkers = "TENON_BENCH_WORKERS"
	variableSlots   = "TENON_BENCH_SLOTS"
)

// Place says where a worker or client runs.
type Place struct {
	// Program plays the role; empty: the one that runs.
	Program string
	// Folder gets the log, Name tells processes of one folder apart. Default "worker" and "client".
	Folder, Name string
	// Address is the server's, Token opens it.
	Address, Token string
	// Workers is how many workers the worker's process runs, each with a connection of its own. Default 1.
	Workers int
	// Slots of each worker. Default 2,000.
	Slots int
}

func (p Place) start(name, role string) (*proc.Process, error) {
	if p.Name != "" {
		name = p.Name
	}
	return proc.Start(proc.Config{Name: name, Program: p.Program, Role: role, Folder: p.Folder, Env: []string{
		"TENON_CLIENT_ADDRESS=" + p.Address, "TENON_CLIENT_TOKEN=" + p.Token, variableWorkers + "=" + strconv.Itoa(max(1, p.Workers)),
		variableSlots + "=" + strconv.Itoa(cmp.Or(p.Slots, slots)),
	}})
}

// StartWorker starts that process, which registers by itself and keeps trying.
func StartWorker(place Place) (*Worker, error) {
	p, err := place.start("worker", RoleWorker)
	return &Worker{p}, err
}

// Worker is the worker's process.
type Worker struct{ *proc.Process }

// Started is what a worker has begun since it was last asked to begin anew.
type Started struct {
	Count   int             `json:"count"`
	Samples []time.Duration `json:"samples"` // from when the client's call was due to the start of the task's code, where the client asked for it
}

// Reset has the worker count from 0.
func (w *Worker) Reset(ctx context.Context) error { return w.Ask(ctx, "reset", struct{}{}, nil) }

// Await waits until so many noop tasks and chains have started since Reset.
func (w *Worker) Await(ctx context.Context, n int) (got Started, err error) {
	return got, w.Ask(ctx, "await", n, &got)
}

// Interval is what a worker has begun since it was last asked for one.
type Interval struct {
	Starts int `json:"starts"`
	// P50, P99 and Most are in milliseconds, from when the client's call was due to the start of the task's code, of the tasks of which the client asked for it.
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Most  float64 `json:"most"`
	Timed int     `json:"timed"` // how many those are
	Gap   Gap     `json:"gap"`   // the longest time without a start
}

// Interval reads what has begun since the last call, or Reset.
func (w *Worker) Interval(ctx context.Context) (got Interval, err error) {
	return got, w.Ask(ctx, "interval", struct{}{}, &got)
}

// WorkerHandlers runs workers, until stop, and returns what their process answers to.
func WorkerHandlers(ctx context.Context) (handlers map[string]proc.Handler, stop func() error, err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	n, err := strconv.Atoi(os.Getenv(variableWorkers))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", variableWorkers, err)
	}
	each, err := strconv.Atoi(os.Getenv(variableSlots))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", variableSlots, err)
	}
	s := &starts{}
	workers := make([]*tenon.Worker, n)
	clients := make([]*tenon.Client, n)
	for i := range workers {
		if clients[i], err = tenon.NewClient(tenon.WithLogger(log)); err != nil {
			return nil, nil, err
		}
		if workers[i], err = clients[i].NewWorker(tenon.WithSlots(each), tenon.WithWorkflows(workflows(s.note)...)); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, n)
	for _, worker := range workers {
		go func() { ended <- worker.Run(ctx) }()
	}
	stop = func() error {
		cancel()
		var errs []error
		for range workers {
			errs = append(errs, <-ended)
		}
		for _, client := range clients {
			_ = client.Close() // always nil
		}
		return errors.Join(errs...)
	}
	return s.handlers(), stop, nil
}

func (s *starts) handlers() map[string]proc.Handler {
	seen := 0 // starts that earlier intervals have told
	return map[string]proc.Handler{
		"reset": proc.Handle(func(context.Context, struct{}) (struct{}, error) {
			s.samples.Take()
			s.gap.take(time.Now())
			s.count.reset()
			seen = 0
			return struct{}{}, nil
		}),
		"interval": proc.Handle(func(context.Context, struct{}) (Interval, error) {
			samples, count := s.samples.Take(), s.count.now()
			turn := figures.Latency(samples)
			got := Interval{
				Starts: count - seen, P50: turn.P50, P99: turn.P99, Most: figures.Milliseconds(figures.Quantile(samples, 1)), Timed: len(samples), Gap: s.gap.take(time.Now()),
			}
			seen = count
			return got, nil
		}),
		"await": proc.Handle(func(ctx context.Context, n int) (Started, error) {
			if err := s.count.reach(ctx, n); err != nil {
				return Started{}, err
			}
			return Started{Count: s.count.now(), Samples: s.samples.Take()}, nil
		}),
	}
}

// counter counts, and lets one goroutine at a time wait for a number.
type counter struct {
	mu      sync.Mutex
	n       int
	want    int
	reached chan struct{} // closed when n reaches want; nil while nobody waits
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	c.check()
}

func (c *counter) check() {
	if c.reached != nil && c.n >= c.want {
		close(c.reached)
		c.reached = nil
	}
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n = 0
}

func (c *counter) now() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *counter) reach(ctx context.Context, n int) error {
	reached := make(chan struct{})
	c.mu.Lock()
	c.want, c.reached = n, reached
	c.check()
	c.mu.Unlock()
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
