package bus

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/fault"
)

const (
	// headerFault marks an answer whose data is an encoded fault. Its value is the code, for people who watch the wire.
	headerFault = "Tenon-Fault"
	// headerTimeout is how many milliseconds the caller still waits. A duration, since clocks of two machines differ.
	headerTimeout = "Tenon-Timeout-Ms"
)

// envelope is what crosses the wire beside the subject, in NATS and within a process alike.
type envelope struct {
	header nats.Header
	data   []byte
}

// encodeRequest copies data, so that the caller may go on using its own.
func encodeRequest(ctx context.Context, data []byte) envelope {
	header := nats.Header{}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(time.Until(deadline).Milliseconds(), 1)
		header.Set(headerTimeout, strconv.FormatInt(left, 10))
	}
	return envelope{header: header, data: clone(data)}
}

// requestContext returns the handler's context: the subscription's life, cut at what the caller still waits.
func requestContext(life context.Context, header nats.Header) (context.Context, context.CancelFunc) {
	timeout := DefaultTimeout
	if left, err := strconv.ParseInt(header.Get(headerTimeout), 10, 64); err == nil && left > 0 {
		timeout = time.Duration(left) * time.Millisecond
	}
	return context.WithTimeout(life, timeout)
}

func encodeAnswer(data []byte, err error) envelope {
	if err == nil {
		return envelope{data: clone(data)}
	}
	header := nats.Header{}
	header.Set(headerFault, fault.Of(err).Code.String())
	return envelope{header: header, data: fault.Encode(err)}
}

func decodeAnswer(answer envelope) ([]byte, error) {
	if answer.header.Get(headerFault) != "" {
		return nil, fault.Decode(answer.data)
	}
	return answer.data, nil
}

func clone(data []byte) []byte { return append(make([]byte, 0, len(data)), data...) }
