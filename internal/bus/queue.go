package bus

import (
	"sync"

	"github.com/tenon-run/tenon/internal/loop"
)

// queue holds the messages of one plain subscription between the senders, who never wait, and the one goroutine that handles them.
type queue struct {
	wake chan struct{} // Has room for one token, so that a sender never waits.

	mu      sync.Mutex
	waiting []Msg
	bytes   int
	stopped bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put appends a message and reports false when it was dropped because the subscriber is too far behind. After stop it does nothing.
func (q *queue) put(msg Msg) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return true
	}
	if len(q.waiting) >= MaxQueued || q.bytes+len(msg.Data) > MaxQueuedBytes {
		return false
	}
	q.waiting = append(q.waiting, msg)
	q.bytes += len(msg.Data)
	q.signal()
	return true
}

// take removes all that waits, and reports false when the queue was stopped.
func (q *queue) take() ([]Msg, bool) {
	for {
		q.mu.Lock()
		batch, stopped := q.waiting, q.stopped
		q.waiting, q.bytes = nil, 0
		q.mu.Unlock()
		if stopped {
			return nil, false
		}
		if len(batch) > 0 {
			return batch, true
		}
		<-q.wake
	}
}

func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.waiting = nil
	q.signal()
}

func (q *queue) isStopped() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stopped
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// drain handles messages in order until the queue is stopped. A panic of the handler is handed to onPanic and costs that message alone.
func (q *queue) drain(handle func(Msg), onPanic func(subject string, err error)) {
	for {
		batch, ok := q.take()
		if !ok {
			return
		}
		for _, msg := range batch {
			if q.isStopped() {
				return
			}
			if err := loop.GuardFunc("handler of "+msg.Subject, func() { handle(msg) }); err != nil {
				onPanic(msg.Subject, err)
			}
		}
	}
}
