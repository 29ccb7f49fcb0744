package bus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/loop"
)

// flushTimeout bounds the wait for the server to confirm a subscription. One that is not confirmed takes effect with the reconnect.
const flushTimeout = 2 * time.Second

// serveGroup is the NATS queue group of all served subjects, so that one process gets a request.
const serveGroup = "serve"

// NATS is the Bus over one NATS connection.
type NATS struct {
	conn     *nats.Conn
	log      *slog.Logger
	link     *link
	refusals *refusals

	mu        sync.RWMutex
	plain     []*plainSub // in the order of Subscribe
	served    []*servedSub
	dropped   atomic.Uint64
	published atomic.Uint64
	requested atomic.Uint64
}

var _ Bus = (*NATS)(nil)

// Stats counts what a bus has done since it was made.
type Stats struct {
	Published uint64
	Requested uint64
	Dropped   uint64 // messages lost to subscribers that were too far behind
}

// A server that does not answer pings, because it hangs or the network does, is left for another after pingInterval * (maxPings + 1).
const (
	pingInterval = 5 * time.Second
	maxPings     = 2
)

// Options are the settings that every NATS connection of Tenon has: it never gives up reconnecting, not even to a server that refuses its
// credentials for a while, leaves a server that is silent for 15 s, and gets no echo of its own messages, because those are delivered
// within the process. Credentials.Options says as whom it connects.
func Options(name string, log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name(name), nats.NoEcho(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond), nats.RetryOnFailedConnect(false),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPings),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("bus: connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(conn *nats.Conn) { log.Info("bus: reconnected", "server", conn.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("bus: connection error", "error", err) }),
	}
}

// New returns a bus over conn, which must have been made with Options and stays the caller's to close, after Close.
func New(conn *nats.Conn, log *slog.Logger) (*NATS, error) {
	if !conn.Opts.NoEcho {
		return nil, errors.New("bus: the NATS connection has echo on, so that messages within the process would arrive twice: make it with bus.Options")
	}
	b := &NATS{conn: conn, log: log, link: watchLink(conn)}
	b.refusals = watchRefusals(conn, b.link, log)
	return b, nil
}

// Close stops all subscriptions, waits for their handlers, and ends requests under way. The connection stays open.
func (b *NATS) Close() {
	b.mu.RLock()
	var subs []Subscription
	for _, sub := range b.plain {
		subs = append(subs, sub)
	}
	for _, sub := range b.served {
		subs = append(subs, sub)
	}
	b.mu.RUnlock()
	for _, sub := range subs {
		sub.Stop()
	}
	b.link.close()
	b.refusals.close()
}

// Stats returns the counters.
func (b *NATS) Stats() Stats {
	return Stats{Published: b.published.Load(), Requested: b.requested.Load(), Dropped: b.dropped.Load()}
}

// Publish implements Bus.
func (b *NATS) Publish(subject string, data []byte) error {
	if err := errors.Join(checkSubject(subject, false), checkSize("the message", subject, data)); err != nil {
		return err
	}
	b.published.Add(1)
	b.mu.RLock()
	for _, sub := range b.plain {
		if Match(sub.subject, subject) {
			sub.put(Msg{Subject: subject, Data: clone(data)})
		}
	}
	b.mu.RUnlock()
	if err := b.conn.Publish(subject, data); err != nil {
		return b.connectionFault(err)
	}
	return nil
}

// Request implements Bus.
func (b *NATS) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if err := errors.Join(checkSubject(subject, false), checkSize("the request", subject, data)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, DefaultTimeout, context.DeadlineExceeded)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, fault.Of(err)
	}
	b.requested.Add(1)
	request := encodeRequest(ctx, data)
	if sub := b.localServer(subject); sub != nil {
		answer, err := sub.call(ctx, request)
		if err != nil {
			return nil, err
		}
		return decodeAnswer(answer)
	}
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer b.link.watch(subject, stop)()
	if !b.conn.IsConnected() {
		return nil, b.connectionFault(nats.ErrDisconnected)
	}
	answer, err := b.conn.RequestMsgWithContext(waiting, &nats.Msg{Subject: subject, Header: request.header, Data: request.data})
	if err != nil {
		if refused, ok := errors.AsType[refusal](context.Cause(waiting)); ok && ctx.Err() == nil {
			return nil, refusedFault(refused)
		}
		return nil, b.requestFault(ctx, subject, err)
	}
	return decodeAnswer(envelope{header: answer.Header, data: answer.Data})
}

func (b *NATS) requestFault(ctx context.Context, subject string, err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return noResponder(subject)
	case ctx.Err() != nil:
		return fault.Of(ctx.Err())
	default:
		return b.connectionFault(err)
	}
}

func (b *NATS) connectionFault(err error) error {
	return fault.Unavailable(ReasonDisconnected, "the connection to the message bus is lost; the call may have been carried out, send it again").WithCause(err)
}

// localServer returns this process's server of subject, one that names it exactly before one with wildcards.
func (b *NATS) localServer(subject string) *servedSub {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var found *servedSub
	for _, sub := range b.served {
		if sub.subject == subject {
			return sub
		}
		if found == nil && Match(sub.subject, subject) {
			found = sub
		}
	}
	return found
}

// Subscribe implements Bus.
func (b *NATS) Subscribe(subject string, handle func(Msg)) (Subscription, error) {
	if err := checkSubject(subject, true); err != nil {
		return nil, err
	}
	sub := &plainSub{bus: b, subject: subject, queue: newQueue()}
	b.refusals.forget(subject, "")
	remote, err := b.conn.Subscribe(subject, func(msg *nats.Msg) { sub.put(Msg{Subject: msg.Subject, Data: msg.Data}) })
	if err != nil {
		return nil, b.connectionFault(err)
	}
	sub.remote = remote
	sub.task = loop.Start(context.Background(), "subscription "+subject, func(context.Context) error {
		sub.queue.drain(handle, b.logPanic)
		return nil
	})
	b.mu.Lock()
	b.plain = append(b.plain, sub)
	b.mu.Unlock()
	if err := b.confirm(subject, ""); err != nil {
		sub.Stop()
		return nil, err
	}
	return sub, nil
}

// Serve implements Bus. Serving one subject twice on one bus is refused with AlreadyExists: the second would never be called.
func (b *NATS) Serve(subject string, handle Handler) (Subscription, error) {
	if err := checkSubject(subject, true); err != nil {
		return nil, err
	}
	sub := newServedSub(b, subject, handle)
	if err := b.register(sub); err != nil {
		return nil, err
	}
	if err := b.confirm(subject, serveGroup); err != nil {
		sub.Stop()
		return nil, err
	}
	return sub, nil
}

func (b *NATS) register(sub *servedSub) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.ContainsFunc(b.served, func(other *servedSub) bool { return other.subject == sub.subject }) {
		return fault.New(fault.CodeAlreadyExists, ReasonServedTwice, "this process serves %s already", sub.subject)
	}
	b.refusals.forget(sub.subject, serveGroup)
	remote, err := b.conn.QueueSubscribe(sub.subject, serveGroup, sub.receive)
	if err != nil {
		return b.connectionFault(err)
	}
	sub.remote = remote
	b.served = append(b.served, sub)
	return nil
}

// confirm waits until the server knows the subscription, so that a message sent by anyone after Subscribe has returned is not missed, and
// returns an error when the server has refused it.
func (b *NATS) confirm(subject, queue string) error {
	if err := b.conn.FlushTimeout(flushTimeout); err != nil {
		b.log.Warn("bus: subscription takes effect when the connection is back", "subject", subject, "error", err)
		return nil
	}
	return b.refusals.listening(subject, queue)
}

func (b *NATS) logPanic(subject string, err error) {
	attrs := []any{"subject", subject, "error", err}
	if panicked, ok := errors.AsType[*loop.PanicError](err); ok {
		attrs = append(attrs, "stack", string(panicked.Stack))
	}
	b.log.Error("bus: handler panicked", attrs...)
}

// countDrop counts a lost message, and logs the first and then each time the count has doubled: a flood must not flood the log.
func (b *NATS) countDrop(subject string) {
	if total := b.dropped.Add(1); total&(total-1) == 0 {
		b.log.Warn("bus: a subscriber is too far behind, messages are dropped", "subject", subject, "dropped_total", total)
	}
}
