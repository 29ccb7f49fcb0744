package bus

import (
	"context"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
)

const (
	// MaxMessage is the most bytes a message, a request or an answer may have: 512 KiB. What is larger travels as a reference.
	MaxMessage = 512 << 10
	// MaxQueued is the most messages that wait for one plain subscription; what comes on top is dropped and counted.
	MaxQueued = 4096
	// MaxQueuedBytes is the most bytes that wait for one plain subscription: 64 MiB.
	MaxQueuedBytes = 64 << 20
	// MaxServing is the most requests that one served subject handles at a time; the others wait, each up to its deadline.
	MaxServing = 1024
	// DefaultTimeout bounds a request whose context has no deadline: 30 s.
	DefaultTimeout = 30 * time.Second
)

// The reasons of the bus's own faults.
const (
	ReasonNoResponder  = "NO_RESPONDER"
	ReasonDisconnected = "BUS_DISCONNECTED"
	ReasonTooLarge     = "MESSAGE_TOO_LARGE"
	ReasonBadSubject   = "BAD_SUBJECT"
	ReasonServedTwice  = "SUBJECT_SERVED_TWICE"
	ReasonRefused      = "SUBJECT_REFUSED"
)

// Bus sends and receives. All methods may be called from any goroutine. Subjects are NATS subjects: tokens between dots, where a
// subscription may have "*" for one token and a last ">" for one or more. Message bytes belong to the receiver, who may change them. What
// the credentials of the process do not allow fails with Internal, reason SUBJECT_REFUSED (a publish, which nobody waits for, is logged).
type Bus interface {
	// Request sends data to whoever serves subject and returns the answer. It fails at once with Unavailable, reason NO_RESPONDER, when
	// nobody serves it, and with DeadlineExceeded when ctx ends first (or after 30 s): the request may have been carried out then. An error
	// of the handler comes back as the *fault.Error it gave.
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
	// Publish sends data to all who subscribe to subject, in this process and in others. It does not wait for them, and does not say
	// whether there are any. Messages of one publisher arrive in order.
	Publish(subject string, data []byte) error
	// Subscribe calls handle for each message to subject, one at a time and in order, from a goroutine of its own. A subscriber that falls
	// more than 4,096 messages behind loses the newest; drops are counted and logged.
	Subscribe(subject string, handle func(Msg)) (Subscription, error)
	// Serve answers requests to subject, each in a goroutine of its own. When several processes serve a subject, one of them gets the
	// request, the caller's own first. ctx ends with the caller's deadline, and with loop.ErrShutdown when the subscription stops. Errors
	// cross as fault.Of sees them, so that private causes stay here.
	Serve(subject string, handle Handler) (Subscription, error)
}

// Handler answers one request.
type Handler func(ctx context.Context, data []byte) ([]byte, error)

// Msg is one published message.
type Msg struct {
	Subject string
	Data    []byte
}

// Subscription is an interest in a subject. It is in force when Subscribe or Serve returns; processes connected to another server of a NATS
// cluster may find it a moment later, and get NO_RESPONDER until then.
type Subscription interface {
	// Stop ends the interest, ends the contexts of running handlers and waits until they have returned. Waiting messages are discarded. It
	// must not be called from the subscription's own handler. Calling it again only waits.
	Stop()
}

func checkSize(what, subject string, data []byte) error {
	if len(data) <= MaxMessage {
		return nil
	}
	return fault.New(fault.CodeResourceExhausted, ReasonTooLarge, "%s on %s has %d bytes, the bus carries at most %d: cut it into several or send a reference",
		what, subject, len(data), MaxMessage)
}

func noResponder(subject string) error {
	return fault.Unavailable(ReasonNoResponder, "nobody serves %s at the moment; send the call again", subject)
}
