package bus

import (
	"context"
	"sync"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/loop"
)

// Op is the kind of a message that fault injection looks at.
type Op uint8

const (
	// OpPublish is a published message on its way out.
	OpPublish Op = iota
	// OpRequest is a request on its way out.
	OpRequest
	// OpAnswer is the answer to a request on its way back. The request has been carried out.
	OpAnswer
)

// Call is one message that fault injection may harm. Data must not be changed.
type Call struct {
	Op      Op
	Subject string
	Data    []byte
}

// Harm is what happens to one message; the zero Harm lets it pass.
type Harm struct {
	// Drop loses the message. A caller whose request or answer is lost waits until its context ends.
	Drop bool
	// Duplicate sends a message or a request once more, the copy first. The answer to the copy is thrown away. Not for OpAnswer.
	Duplicate bool
	// Delay holds the message back, so that later ones overtake it.
	Delay time.Duration
}

// Faulty is a Bus for tests that loses, doubles and delays what its owner sends. What it receives is left alone: wrap the sender's bus.
type Faulty struct {
	inner  Bus
	decide func(Call) Harm

	life context.Context
	end  context.CancelCauseFunc
	wait sync.WaitGroup
}

var _ Bus = (*Faulty)(nil)

// WithFaults wraps inner. decide is asked once per message, from the sender's goroutine, and may be called concurrently. Close the
// result before inner.
func WithFaults(inner Bus, decide func(Call) Harm) *Faulty {
	life, end := context.WithCancelCause(context.Background())
	return &Faulty{inner: inner, decide: decide, life: life, end: end}
}

// Close throws away what is still held back and waits for it to be gone.
func (f *Faulty) Close() {
	f.end(loop.ErrShutdown)
	f.wait.Wait()
}

// Publish implements Bus.
func (f *Faulty) Publish(subject string, data []byte) error {
	harm := f.decide(Call{Op: OpPublish, Subject: subject, Data: data})
	if harm.Drop {
		return nil
	}
	if harm.Duplicate {
		if err := f.inner.Publish(subject, data); err != nil {
			return err
		}
	}
	if harm.Delay <= 0 {
		return f.inner.Publish(subject, data)
	}
	held := clone(data)
	f.wait.Go(func() {
		if pause(f.life, harm.Delay) == nil {
			_ = f.inner.Publish(subject, held) // A late hint that fails is a lost hint, which is what this type is for.
		}
	})
	return nil
}

// Request implements Bus.
func (f *Faulty) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	harm := f.decide(Call{Op: OpRequest, Subject: subject, Data: data})
	if harm.Drop {
		return nil, lost(ctx)
	}
	if err := pause(ctx, harm.Delay); err != nil {
		return nil, fault.Of(err)
	}
	if harm.Duplicate {
		_, _ = f.inner.Request(ctx, subject, data) // The copy: its effects count, its answer never arrives.
	}
	answer, err := f.inner.Request(ctx, subject, data)
	if fault.HasReason(err, ReasonNoResponder) || fault.HasReason(err, ReasonDisconnected) {
		return nil, err // There was no answer that could be harmed.
	}
	harm = f.decide(Call{Op: OpAnswer, Subject: subject, Data: answer})
	if harm.Drop {
		return nil, lost(ctx)
	}
	if pauseErr := pause(ctx, harm.Delay); pauseErr != nil {
		return nil, fault.Of(pauseErr)
	}
	return answer, err
}

// Subscribe implements Bus.
func (f *Faulty) Subscribe(subject string, handle func(Msg)) (Subscription, error) {
	return f.inner.Subscribe(subject, handle)
}

// Serve implements Bus.
func (f *Faulty) Serve(subject string, handle Handler) (Subscription, error) {
	return f.inner.Serve(subject, handle)
}

func lost(ctx context.Context) error {
	<-ctx.Done()
	return fault.Of(ctx.Err())
}

// pause returns nil after d, or the error of ctx when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
