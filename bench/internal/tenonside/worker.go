package tenonside

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/tenon-run/tenon/bench/internal/proc"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// RoleWorker is the role of the process that works.
const RoleWorker = "tenon-worker"

// slots is how many tasks the worker takes at a time: as many as the peer's.
const slots = 2000

// StartWorker starts that process, which registers by itself and keeps trying.
func StartWorker(folder, address, token string) (*Worker, error) {
	p, err := proc.Start(proc.Config{
		Name: "worker", Role: RoleWorker, Folder: folder, Env: []string{"TENON_CLIENT_ADDRESS=" + address, "TENON_CLIENT_TOKEN=" + token},
	})
	return &Worker{p}, err
}

// Worker is the worker's process.
type Worker struct{ *proc.Process }

// Started is what a worker has begun since it was last asked to begin anew.
type Started struct {
	Count   int             `json:"count"`
	Samples []time.Duration `json:"samples"` // from the client's call to the start of the task's code, where the client asked for it
}

// Reset has the worker count from 0.
func (w *Worker) Reset(ctx context.Context) error { return w.Ask(ctx, "reset", struct{}{}, nil) }

// Await waits until so many noop tasks and chains have started since Reset.
func (w *Worker) Await(ctx context.Context, n int) (got Started, err error) {
	return got, w.Ask(ctx, "await", n, &got)
}

// WorkerHandlers runs a worker, until stop, and returns what its process answers to.
func WorkerHandlers(ctx context.Context) (handlers map[string]proc.Handler, stop func() error, err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	client, err := tenon.NewClient(tenon.WithLogger(log))
	if err != nil {
		return nil, nil, err
	}
	s := &starts{}
	noop, chain, fanout := workflows(s.note)
	worker, err := client.NewWorker(tenon.WithSlots(slots), tenon.WithWorkflows(noop, chain, fanout))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	stop = func() error {
		cancel()
		err := <-ended
		_ = client.Close() // always nil
		return err
	}
	return map[string]proc.Handler{
		"reset": proc.Handle(func(context.Context, struct{}) (struct{}, error) {
			s.samples.Take()
			s.count.reset()
			return struct{}{}, nil
		}),
		"await": proc.Handle(func(ctx context.Context, n int) (Started, error) {
			if err := s.count.reach(ctx, n); err != nil {
				return Started{}, err
			}
			return Started{Count: s.count.now(), Samples: s.samples.Take()}, nil
		}),
	}, stop, nil
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
