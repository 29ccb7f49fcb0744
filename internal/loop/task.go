package loop

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// ErrShutdown is the cause of a context that ended because somebody asked for an orderly stop.
var ErrShutdown = errors.New("shutting down")

// PanicError is a panic that was caught at the top of a goroutine.
type PanicError struct {
	Name  string // of the thing that panicked
	Value any    // given to panic
	Stack []byte // of the goroutine, as debug.Stack prints it
}

// Error names the thing and the value; the stack is for the log.
func (e *PanicError) Error() string { return fmt.Sprintf("%s panicked: %v", e.Name, e.Value) }

// Unwrap returns the value given to panic if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Guard calls run and turns a panic into a *PanicError.
func Guard(ctx context.Context, name string, run func(context.Context) error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Name: name, Value: value, Stack: debug.Stack()}
		}
	}()
	return run(ctx)
}

// IsStop reports whether err only says that ctx was ended by ErrShutdown, so that it is no failure.
func IsStop(ctx context.Context, err error) bool {
	if err == nil || !errors.Is(context.Cause(ctx), ErrShutdown) {
		return false
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, ErrShutdown)
}

// Task is a goroutine with an owner. Its methods may be called from any goroutine, any number of times.
type Task struct {
	name   string
	cancel context.CancelCauseFunc
	done   chan struct{}

	mu  sync.Mutex
	err error
}

// Start runs run in a goroutine under a child of ctx. The owner must call Stop or see Done before it ends itself.
func Start(ctx context.Context, name string, run func(context.Context) error) *Task {
	child, cancel := context.WithCancelCause(ctx)
	task := &Task{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(task.done)
		err := Guard(child, name, run)
		if IsStop(child, err) {
			err = nil
		}
		task.mu.Lock()
		task.err = err
		task.mu.Unlock()
		cancel(ErrShutdown) // Releases the context; run has returned, nobody can see the cause any more.
	}()
	return task
}

// Name returns the name given to Start.
func (t *Task) Name() string { return t.name }

// Done is closed when run has returned.
func (t *Task) Done() <-chan struct{} { return t.done }

// Err returns what run returned, nil for an orderly stop or while it still runs.
func (t *Task) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Cancel ends the task's context with cause (nil means ErrShutdown) and does not wait.
func (t *Task) Cancel(cause error) {
	if cause == nil {
		cause = ErrShutdown
	}
	t.cancel(cause)
}

// Stop ends the task's context with ErrShutdown, waits until run has returned, and returns its error. When ctx ends first, the error
// says that the task still runs.
func (t *Task) Stop(ctx context.Context) error {
	t.Cancel(ErrShutdown)
	select {
	case <-t.done:
		return t.Err()
	case <-ctx.Done():
		return fmt.Errorf("%s has not stopped: %w", t.name, context.Cause(ctx))
	}
}

// GuardFunc is Guard for a function without context and error.
func GuardFunc(name string, run func()) error {
	return Guard(context.Background(), name, func(context.Context) error {
		run()
		return nil
	})
}
