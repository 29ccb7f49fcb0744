package bus

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/loop"
)

// link tells requests under way that no answer can come any more, because the connection was lost or NATS refused what they sent: without
// it they would wait until their deadline.
type link struct {
	conn    *nats.Conn
	changes chan nats.Status
	task    *loop.Task

	mu      sync.Mutex
	waiting map[*waiter]struct{}
	// deaf is why answers cannot arrive on this connection at all; nil while they can.
	deaf error
}

// waiter is one request under way.
type waiter struct {
	subject string
	stop    context.CancelCauseFunc
}

func watchLink(conn *nats.Conn) *link {
	l := &link{conn: conn, changes: conn.StatusChanged(nats.RECONNECTING, nats.CLOSED), waiting: make(map[*waiter]struct{})}
	l.task = loop.Start(context.Background(), "bus link", func(ctx context.Context) error {
		for {
			select {
			case _, open := <-l.changes:
				l.cut()
				if !open {
					return nil // The connection is closed for good.
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	return l
}

// watch calls stop when the request to subject can have no answer any more. Ask whether there is a connection after it, and call the
// returned function when the request is over.
func (l *link) watch(subject string, stop context.CancelCauseFunc) (end func()) {
	w := &waiter{subject: subject, stop: stop}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf != nil {
		stop(l.deaf)
		return func() {}
	}
	l.waiting[w] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.waiting, w)
	}
}

// refuse ends the requests to a subject that the server refuses.
func (l *link) refuse(subject string, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.waiting {
		if w.subject == subject {
			w.stop(cause)
		}
	}
}

// deafen ends all requests, and those to come until there is another connection.
func (l *link) deafen(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = cause
	for w := range l.waiting {
		w.stop(cause)
	}
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = nil
	for w := range l.waiting {
		w.stop(nats.ErrDisconnected)
	}
}

func (l *link) close() {
	l.conn.RemoveStatusListener(l.changes)
	l.task.Cancel(loop.ErrShutdown)
	<-l.task.Done()
	l.cut()
}
