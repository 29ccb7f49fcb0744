package bus

import (
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/fault"
)

// maxRefusalsLogged bounds the lines about refused subjects. Shards and their epochs are many, the mistake is one.
const maxRefusalsLogged = 64

// refusal is one thing that the server does not let this connection do.
type refusal struct {
	listen  bool
	subject string
	queue   string // of a listener
}

// Error implements error.
func (r refusal) Error() string {
	if r.listen {
		return "nats refuses to let this process listen to " + r.subject
	}
	return "nats refuses to let this process send to " + r.subject
}

var refusalText = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"(?: using queue "([^"]+)")?`)

func parseRefusal(err error) (refusal, bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return refusal{}, false
	}
	found := refusalText.FindStringSubmatch(err.Error())
	if found == nil {
		return refusal{}, false
	}
	return refusal{listen: strings.EqualFold(found[1], "subscription"), subject: found[2], queue: found[3]}, true
}

// refusals remembers what the server has refused, logs each thing once, and tells those who wait for it.
type refusals struct {
	conn  *nats.Conn
	link  *link
	log   *slog.Logger
	inbox string
	next  nats.ErrHandler // of all other errors

	mu       sync.Mutex
	logged   map[refusal]struct{}
	listens  map[refusal]struct{} // refused since they were last asked for
	last     error                // the newest violation that has been taken in
	advanced chan struct{}        // closed when last changes
}

// watchRefusals takes over the connection's error handler until close.
func watchRefusals(conn *nats.Conn, link *link, log *slog.Logger) *refusals {
	inbox := conn.Opts.InboxPrefix
	if inbox == "" {
		inbox = strings.TrimSuffix(nats.InboxPrefix, ".")
	}
	r := &refusals{
		conn: conn, link: link, log: log, inbox: inbox + ".", next: conn.ErrorHandler(),
		logged: make(map[refusal]struct{}), listens: make(map[refusal]struct{}), advanced: make(chan struct{}),
	}
	conn.SetErrorHandler(r.hear)
	return r
}

func (r *refusals) close() { r.conn.SetErrorHandler(r.next) }

// hear is called by the NATS client for each error of the connection, in order.
func (r *refusals) hear(conn *nats.Conn, sub *nats.Subscription, err error) {
	refused, ok := parseRefusal(err)
	if !ok {
		if r.next != nil {
			r.next(conn, sub, err)
		}
		return
	}
	r.note(refused)
	switch {
	case refused.listen && strings.HasPrefix(refused.subject, r.inbox):
		r.link.deafen(refused)
	case !refused.listen:
		r.link.refuse(refused.subject, refused)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if refused.listen {
		r.listens[refused] = struct{}{}
	}
	r.last = err
	close(r.advanced)
	r.advanced = make(chan struct{})
}

func (r *refusals) note(refused refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.logged[refused]; known || len(r.logged) > maxRefusalsLogged {
		return
	}
	r.logged[refused] = struct{}{}
	if len(r.logged) > maxRefusalsLogged {
		r.log.Error("bus: NATS refuses more subjects; no further ones are logged")
		return
	}
	action := "publish"
	if refused.listen {
		action = "subscribe"
	}
	r.log.Error("bus: NATS refuses a subject: the user of this process may not use it; give the process the credentials made for its services by `tenond nats-config`",
		"action", action, "subject", refused.subject, "user", r.conn.Opts.Nkey, "server", r.conn.ConnectedUrlRedacted())
}

// forget is called before listening anew: permissions may have changed since.
func (r *refusals) forget(subject, queue string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.listens, refusal{listen: true, subject: subject, queue: queue})
}

// listening returns an error when the server has refused the subscription, which the server has answered already: the client hands errors
// over on a goroutine of its own, and the newest must have arrived here.
func (r *refusals) listening(subject, queue string) error {
	timeout := time.NewTimer(flushTimeout)
	defer timeout.Stop()
	for {
		newest := r.conn.LastError()
		if _, violation := parseRefusal(newest); !violation {
			return nil
		}
		r.mu.Lock()
		taken, advanced := r.last, r.advanced
		_, refused := r.listens[refusal{listen: true, subject: subject, queue: queue}]
		r.mu.Unlock()
		switch {
		case refused:
			return refusedFault(refusal{listen: true, subject: subject, queue: queue})
		case taken == newest: //nolint:errorlint // one and the same value, not its kind
			return nil
		}
		select {
		case <-advanced:
		case <-timeout.C:
			return nil
		}
	}
}

func refusedFault(refused refusal) error {
	return fault.New(fault.CodeInternal, ReasonRefused, "the message bus does not let this server use a subject; its log names it").WithCause(refused)
}
