package dispatcher

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/dispatcherq"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/proto/typeid"
)

// stopPatience bounds each step of an orderly stop: streams that end, and what owners are still told.
const stopPatience = 3 * time.Second

// Service is a dispatcher. Its methods may be called from any goroutine. Listen waits until Run has subscribed.
type Service struct {
	cfg      Config
	queries  *dispatcherq.Queries
	finished *finished
	ready    chan struct{} // closed once orders arrive

	life context.Context // of what is told to owners beside a call
	end  context.CancelCauseFunc

	mu      sync.Mutex
	tenants map[int64]map[flow.ID]*worker
	census  map[int32]int64 // by shard: the newest epoch that has asked for its sessions
	closing bool
	streams sync.WaitGroup // open Listen calls
	tasks   sync.WaitGroup // goroutines of spawn
	stopped bool           // no further tasks
}

// New returns a dispatcher that is not yet reachable for owners: call Run.
func New(cfg Config) (*Service, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	life, end := context.WithCancelCause(context.Background())
	return &Service{
		cfg: cfg, queries: dispatcherq.New(cfg.Pool), finished: newFinished(), ready: make(chan struct{}),
		life: life, end: end, tenants: make(map[int64]map[flow.ID]*worker), census: make(map[int32]int64),
	}, nil
}

// Run serves orders and watches over the workers until ctx ends. Then it tells every worker to go elsewhere, ends the streams, tells the
// owners and returns. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	orders, err := s.cfg.Bus.Subscribe(OrderSubject(s.cfg.Instance), s.onOrder)
	if err != nil {
		return err
	}
	wanted, err := s.cfg.Bus.Subscribe(SubjectSessionsWanted, s.onSessionsWanted)
	if err != nil {
		orders.Stop()
		return err
	}
	close(s.ready)
	s.watch(ctx)
	s.drainAll()
	s.waitFor(&s.streams, "streams are still open")
	wanted.Stop()
	orders.Stop()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.waitFor(&s.tasks, "owners have not answered")
	s.end(loop.ErrShutdown)
	s.tasks.Wait()
	return nil
}

// watch looks after silent workers and lost calls for sessions until ctx ends.
func (s *Service) watch(ctx context.Context) {
	silence := time.NewTicker(max(s.cfg.Grace/20, time.Millisecond))
	defer silence.Stop()
	probe := time.NewTicker(s.cfg.ProbeInterval)
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-silence.C:
			s.expire(s.cfg.Now())
		case <-probe.C:
			s.probe()
		}
	}
}

// drainAll refuses new streams and ends every open one, after a last message.
func (s *Service) drainAll() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	for _, w := range s.allWorkers() {
		w.mu.Lock()
		ses := w.session
		w.mu.Unlock()
		if ses != nil {
			ses.cancel(errStopping())
		}
	}
}

// waitFor waits for a group, but not for ever: a peer that reads nothing must not hold up the stop.
func (s *Service) waitFor(group *sync.WaitGroup, late string) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	timer := time.NewTimer(stopPatience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.cfg.Log.Warn("dispatcher: stopping although "+late, "waited", stopPatience)
	}
}

// spawn runs work beside the calls, and reports false once the service has stopped.
func (s *Service) spawn(work func(ctx context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.tasks.Go(func() { work(s.life) })
	return true
}

// worker finds a worker of the caller's tenant by its public id, in memory or in the database. One of another tenant does not exist.
func (s *Service) worker(ctx context.Context, tenantID int64, publicID string) (*worker, error) {
	raw, err := typeid.Parse(typeid.Worker, publicID)
	if err != nil {
		return nil, fault.InvalidField("worker_id", "%s", err.Error())
	}
	id := flow.ID(raw)
	now := s.cfg.Now()
	if w := s.find(tenantID, id); w != nil {
		w.mu.Lock()
		w.touched = now
		w.mu.Unlock()
		return w, nil
	}
	row, err := s.queries.GetWorker(ctx, dispatcherq.GetWorkerParams{TenantID: tenantID, ID: id})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.NotFound("worker", publicID)
	}
	if err != nil {
		return nil, pg.Fault(err)
	}
	return s.keep(&worker{
		tenant: tenantID, id: id, actions: row.Actions, queues: row.Queues, slots: row.Slots, token: row.TokenID,
		heard: now, touched: now, sent: make(map[flow.ID]*assignment),
	}), nil
}

// keep adds a worker to memory, or returns the one that another call has added meanwhile.
func (s *Service) keep(w *worker) *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	workers := s.tenants[w.tenant]
	if workers == nil {
		workers = make(map[flow.ID]*worker)
		s.tenants[w.tenant] = workers
	}
	if first := workers[w.id]; first != nil {
		return first
	}
	workers[w.id] = w
	return w
}

func (s *Service) find(tenantID int64, id flow.ID) *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenants[tenantID][id]
}

func (s *Service) workersOf(tenantID int64) []*worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	workers := make([]*worker, 0, len(s.tenants[tenantID]))
	for _, w := range s.tenants[tenantID] {
		workers = append(workers, w)
	}
	return workers
}

func (s *Service) allWorkers() []*worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	var workers []*worker
	for _, ofTenant := range s.tenants {
		for _, w := range ofTenant {
			workers = append(workers, w)
		}
	}
	return workers
}

// forget drops a worker from memory; what is known of it stands in the database.
func (s *Service) forget(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tenants[w.tenant], w.id)
	if len(s.tenants[w.tenant]) == 0 {
		delete(s.tenants, w.tenant)
	}
}
