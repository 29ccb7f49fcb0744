package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// DefaultStopTimeout bounds how long a Group waits for one service to return after its context ended.
const DefaultStopTimeout = 15 * time.Second

// ErrEnded is the failure of a service that returned without an error although nobody had asked it to stop.
var ErrEnded = errors.New("ended without being asked to")

// Service is one long-lived member of a Group.
type Service struct {
	// Name is used in logs and errors.
	Name string
	// Run works until ctx ends. It calls ready once when its successors may start; returning before that is a failure.
	Run func(ctx context.Context, ready func()) error
	// StopTimeout bounds the wait for Run after its context ended. Default 15 s.
	StopTimeout time.Duration
}

// Group runs services that depend on each other: a later one may rely on the earlier ones from its first moment to its last. Fill it
// with Add and AddService, then call Run once.
type Group struct {
	log      *slog.Logger
	services []Service
}

// NewGroup returns an empty group that logs to log.
func NewGroup(log *slog.Logger) *Group { return &Group{log: log} }

// Add appends a service that is ready as soon as it has started.
func (g *Group) Add(name string, run func(context.Context) error) {
	g.AddService(Service{Name: name, Run: func(ctx context.Context, ready func()) error {
		ready()
		return run(ctx)
	}})
}

// AddService appends a service that says itself when it is ready.
func (g *Group) AddService(service Service) {
	if service.StopTimeout <= 0 {
		service.StopTimeout = DefaultStopTimeout
	}
	g.services = append(g.services, service)
}

// Run starts the services in order, each when the one before is ready, and waits. When ctx ends or a service fails, it stops them in
// reverse order, each after its successors have returned, with the reason as the cause of their contexts. It returns nil after an
// orderly stop, else the first failure joined with those that followed. A service that does not return in its StopTimeout is named in the
// error and left behind.
func (g *Group) Run(ctx context.Context) error {
	// The services' contexts keep ctx's values but not its end: they are ended one by one, last first.
	base := context.WithoutCancel(ctx)
	failed := make(chan *Task, len(g.services))
	var running []*Task
	var first error

	for _, service := range g.services {
		if ctx.Err() != nil {
			break
		}
		task, err := g.start(ctx, base, service, failed)
		running = append(running, task)
		if err != nil {
			first = err
			break
		}
	}
	if first == nil {
		first = wait(ctx, failed)
	}
	cause := ErrShutdown
	if first != nil {
		cause = first
		g.log.Error("loop: stopping after a failure", "error", first)
	}
	errs := []error{first}
	for i, r := range slices.Backward(running) {
		if err := g.stop(r, g.services[i].StopTimeout, cause); err != nil && !errors.Is(first, err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// start starts one service and returns when it is ready, when anything failed, or when ctx ended. The error is nil in the last case
// too: wait sees the end of ctx.
func (g *Group) start(ctx, base context.Context, service Service, failed chan *Task) (*Task, error) {
	ready := make(chan struct{})
	markReady := sync.OnceFunc(func() { close(ready) })
	task := Start(base, service.Name, func(ctx context.Context) error {
		return service.Run(ctx, markReady)
	})
	go func() {
		<-task.Done()
		failed <- task
	}()
	select {
	case <-ready:
		g.log.Debug("loop: started", "service", service.Name)
		return task, nil
	case ended := <-failed: // This one before it was ready, or an earlier one.
		return task, failure(ended)
	case <-ctx.Done():
		return task, nil
	}
}

func wait(ctx context.Context, failed <-chan *Task) error {
	select {
	case task := <-failed:
		// A service that watches ctx itself may be quicker than we are.
		if err := task.Err(); ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return nil
		}
		return failure(task)
	case <-ctx.Done():
		return nil
	}
}

func (g *Group) stop(task *Task, timeout time.Duration, cause error) error {
	began := time.Now()
	task.Cancel(cause)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-task.Done():
		g.log.Debug("loop: stopped", "service", task.Name(), "took", time.Since(began))
	case <-timer.C:
		return fmt.Errorf("service %s has not stopped within %s", task.Name(), timeout)
	}
	err := task.Err()
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, cause) {
		return nil
	}
	return failure(task)
}

func failure(task *Task) error {
	err := task.Err()
	if err == nil {
		err = ErrEnded
	}
	return fmt.Errorf("service %s: %w", task.Name(), err)
}
