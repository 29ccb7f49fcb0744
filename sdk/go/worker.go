package tenon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// Version is the SDK's version, as workers announce it.
const Version = "0.1.0"

// Interceptor stands around every task of a worker, for example to measure it. It calls next once, or not at all.
type Interceptor func(ctx Context, next func(Context) error) error

// WorkerOption is an option of [Client.NewWorker].
type WorkerOption func(*workerConfig)

type workerConfig struct {
	name         string
	slots        int
	queues       []string
	definitions  []Definition
	interceptors []Interceptor
	drainTimeout time.Duration
	// How long a task that was told to stop may take, and how long the last reports may, when the worker ends.
	stopTimeout, flushTimeout time.Duration
}

// WithSlots sets how many tasks run at a time, 1 to 10,000. Default 10. A task that waits for its children does not count.
func WithSlots(n int) WorkerOption { return func(c *workerConfig) { c.slots = n } }

// WithWorkflows names the workflows whose tasks the worker runs; it declares them to the server first.
func WithWorkflows(defs ...Definition) WorkerOption {
	return func(c *workerConfig) { c.definitions = append(c.definitions, defs...) }
}

// WithWorkerName sets the name shown to people, at most 100 characters. Default: the host's name.
func WithWorkerName(name string) WorkerOption { return func(c *workerConfig) { c.name = name } }

// WithQueues serves these queues only. Default: every queue of the worker's workflows.
func WithQueues(names ...string) WorkerOption {
	return func(c *workerConfig) { c.queues = append(c.queues, names...) }
}

// WithInterceptors puts code around every task; the first one is the outermost.
func WithInterceptors(list ...Interceptor) WorkerOption {
	return func(c *workerConfig) { c.interceptors = append(c.interceptors, list...) }
}

// WithDrainTimeout sets how long running tasks may go on after the context of [Worker.Run] has ended. Default 30 s. After that they are
// cancelled with [ErrWorkerStopped] and get 5 s more.
func WithDrainTimeout(d time.Duration) WorkerOption {
	return func(c *workerConfig) { c.drainTimeout = d }
}

// Worker runs the tasks of its workflows in this process.
type Worker struct {
	client   *Client
	cfg      workerConfig
	log      *slog.Logger
	handlers map[string]handler // by "workflow/task"
	started  atomic.Bool

	// Told by the server at registration; set before anything else runs, and by a new registration under mu.
	mu           sync.Mutex
	id           string
	interval     time.Duration
	grace        time.Duration
	payloadLimit int
	session      int64
	draining     bool
	tasks        map[assignmentID]*task

	running sync.WaitGroup // tasks; grows only while not draining
	pool    *pool
	reports *reporter
	logs    *logSender
	fatal   chan error

	released    chan struct{} // closed when people have drained the worker
	releaseOnce sync.Once

	contact atomic.Int64 // when the server was last heard, in nanoseconds since born
	born    time.Time
}

// NewWorker makes a worker; [Worker.Run] starts it. The error names every fault of the options and declarations that can be seen without the server.
func (c *Client) NewWorker(opts ...WorkerOption) (*Worker, error) {
	w := &Worker{
		client: c, log: c.log, handlers: map[string]handler{}, tasks: map[assignmentID]*task{}, fatal: make(chan error, 1), released: make(chan struct{}), born: time.Now(),
		cfg: workerConfig{slots: 10, drainTimeout: 30 * time.Second, stopTimeout: 5 * time.Second, flushTimeout: 10 * time.Second},
	}
	for _, opt := range opts {
		opt(&w.cfg)
	}
	var faults []error
	if w.cfg.slots < 1 || w.cfg.slots > 10_000 {
		faults = append(faults, fmt.Errorf("slots must be 1 to 10,000, not %d", w.cfg.slots))
	}
	if len(w.cfg.definitions) == 0 {
		faults = append(faults, errors.New("a worker needs workflows: use tenon.WithWorkflows"))
	}
	seen := map[string]bool{}
	for _, d := range w.cfg.definitions {
		def := d.definition()
		faults = append(faults, def.faults...)
		switch {
		case seen[d.Name()]:
			faults = append(faults, fmt.Errorf("workflow %q is given twice", d.Name()))
		case len(def.handlers) == 0:
			faults = append(faults, fmt.Errorf("workflow %q has no task: use tenon.AddTask", d.Name()))
		}
		seen[d.Name()] = true
		for name, h := range def.handlers {
			w.handlers[d.Name()+"/"+name] = h
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("tenon: new worker: %w", errors.Join(faults...))
	}
	w.pool = newPool(w.cfg.slots)
	w.reports = newReporter(w)
	w.logs = newLogSender(w)
	return w, nil
}

// Run declares the worker's workflows, then runs their tasks until ctx ends. It outlives broken connections and restarts of the server.
// When ctx ends, or people drain the worker, it takes no more tasks, lets running ones finish within the drain timeout, delivers their results, and returns nil. It
// returns an error when the server refuses the declarations or the token, and when results could not be delivered. A worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	if !w.started.CompareAndSwap(false, true) {
		return errors.New("tenon: this worker has run already: make another")
	}
	start, cancel := w.client.live(ctx)
	defer cancel()
	if err := w.declare(start); err != nil {
		return unlessEnded(ctx, err)
	}
	if err := w.register(start); err != nil {
		return unlessEnded(ctx, err)
	}
	return w.serve(ctx)
}

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end was asked for
	}
	return err
}

func (w *Worker) declare(ctx context.Context) error {
	for _, d := range w.cfg.definitions {
		err := w.persist(ctx, "declare workflow "+d.Name(), func() error {
			_, err := w.client.registry.PutWorkflow(ctx, &registryv1.PutWorkflowRequest{Spec: d.definition().spec})
			return err
		})
		if err != nil {
			return fmt.Errorf("tenon: declare workflow %q: %w", d.Name(), err)
		}
	}
	return nil
}

func (w *Worker) register(ctx context.Context) error {
	host, _ := os.Hostname() // only shown to people
	req := &workersv1.RegisterRequest{
		Name: w.cfg.name, Actions: slices.Sorted(maps.Keys(w.handlers)), Slots: int32(w.cfg.slots), Queues: w.cfg.queues,
		Runtime: &workersv1.Runtime{
			Language: "go", LanguageVersion: runtime.Version(), SdkVersion: Version, Os: runtime.GOOS, Host: host, Pid: int64(os.Getpid()),
		},
	}
	if req.Name == "" {
		req.Name = host[:min(len(host), 100)]
	}
	var res *workersv1.RegisterResponse
	err := w.persist(ctx, "register", func() (err error) {
		res, err = w.client.workers.Register(ctx, req)
		return err
	})
	if err != nil {
		return fmt.Errorf("tenon: register worker: %w", err)
	}
	w.touch()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id, w.session = res.GetWorkerId(), 0
	w.interval, w.grace, w.payloadLimit = res.GetHeartbeatInterval().AsDuration(), res.GetGrace().AsDuration(), int(res.GetPayloadLimit())
	if w.interval <= 0 || w.grace <= 0 {
		return fmt.Errorf("tenon: register worker: the server gave a heartbeat interval of %s and a grace of %s", w.interval, w.grace)
	}
	w.log.Info("tenon worker registered", "worker", w.id, "slots", w.cfg.slots, "address", w.client.cfg.address)
	return nil
}

// persist repeats a call while the server can't be reached, and says so once.
func (w *Worker) persist(ctx context.Context, what string, op func() error) error {
	said := false
	return retry(ctx, w.client.cfg.backoff, func() error {
		err := op()
		if err != nil && transient(err) && ctx.Err() == nil && !said {
			said = true
			w.log.Warn("tenon worker can't reach the server, trying on", "call", what, "address", w.client.cfg.address, "error", err)
		}
		return err
	})
}

// serve runs the loops until ctx ends or one of them fails for good, then drains.
func (w *Worker) serve(ctx context.Context) error {
	base, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(w.client.alive, func() { w.fail(ErrClosed) })
	defer stop()
	var loops sync.WaitGroup
	loops.Go(func() { w.listenLoop(base) })
	loops.Go(func() { w.heartbeatLoop(base) })
	loops.Go(func() { w.contactLoop(base) })
	loops.Go(func() { w.reports.run(base) })
	var err error
	select {
	case <-ctx.Done():
		err = w.drain(base)
	case <-w.released:
		w.log.Info("tenon worker was told to finish and end", "worker", w.workerID())
		err = w.drain(base)
	case err = <-w.fatal:
		w.log.Error("tenon worker stops", "worker", w.workerID(), "error", err)
		w.beginDraining()
		w.cancelAll(ErrWorkerStopped)
		w.awaitTasks(base, w.cfg.stopTimeout)
	}
	end(ErrWorkerStopped)
	w.logs.close(0)
	loops.Wait()
	// Code that ignores its cancel can't be waited for.
	w.pool.close(w.countTasks() == 0)
	return err
}

// drain ends the worker in order: nothing new, running tasks to their end, their logs and results delivered.
func (w *Worker) drain(base context.Context) error {
	w.beginDraining()
	w.log.Info("tenon worker drains", "worker", w.workerID(), "running", w.countTasks())
	w.beat(base)
	if !w.awaitTasks(base, w.cfg.drainTimeout) {
		w.cancelAll(ErrWorkerStopped)
		if !w.awaitTasks(base, w.cfg.stopTimeout) {
			return fmt.Errorf("tenon: %d tasks did not stop %s after they were told to", w.countTasks(), w.cfg.stopTimeout)
		}
	}
	w.logs.close(w.cfg.flushTimeout)
	flush, cancel := context.WithTimeout(base, w.cfg.flushTimeout)
	defer cancel()
	if left := w.reports.flush(flush); left > 0 {
		return fmt.Errorf("tenon: %d reports could not be delivered within %s; their tasks will run again", left, w.cfg.flushTimeout)
	}
	return nil
}

// release lets Run end: people have drained the worker.
func (w *Worker) release() { w.releaseOnce.Do(func() { close(w.released) }) }

func (w *Worker) beginDraining() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
}

// awaitTasks waits for the running tasks and says whether they ended within d. The worker must be draining.
func (w *Worker) awaitTasks(ctx context.Context, d time.Duration) bool {
	done := make(chan struct{})
	go func() {
		w.running.Wait()
		close(done)
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// fail ends Run with the first error that no retry mends.
func (w *Worker) fail(err error) {
	select {
	case w.fatal <- err:
	default:
	}
}

func (w *Worker) workerID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.id
}

func (w *Worker) countTasks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tasks)
}

func (w *Worker) cancelAll(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tasks {
		t.cancel(cause)
	}
}

// touch notes that the server was heard.
func (w *Worker) touch() { w.contact.Store(int64(time.Since(w.born))) }
