package bus

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/loop"
)

// link tells requests under way that the connection was lost, and with it the request or its answer: without it they would wait for an
// answer until their deadline.
type link struct {
	conn    *nats.Conn
	changes chan nats.Status
	task    *loop.Task

	mu   sync.Mutex
	life context.Context
	end  context.CancelCauseFunc
}

func watchLink(conn *nats.Conn) *link {
	l := &link{conn: conn, changes: conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)}
	l.life, l.end = context.WithCancelCause(context.Background())
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

// current returns a context that ends when the connection that exists now is lost. Ask whether there is one after taking it.
func (l *link) current() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.life
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end(nats.ErrDisconnected)
	l.life, l.end = context.WithCancelCause(context.Background())
}

func (l *link) close() {
	l.conn.RemoveStatusListener(l.changes)
	l.task.Cancel(loop.ErrShutdown)
	<-l.task.Done()
	l.cut()
}
