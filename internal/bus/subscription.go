package bus

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/loop"
)

// plainSub is one Subscribe: messages from NATS and from this process meet in its queue.
type plainSub struct {
	bus     *NATS
	subject string
	remote  *nats.Subscription
	queue   *queue
	task    *loop.Task
}

func (s *plainSub) put(msg Msg) {
	if !s.queue.put(msg) {
		s.bus.countDrop(s.subject)
	}
}

// Stop implements Subscription.
func (s *plainSub) Stop() {
	s.bus.mu.Lock()
	s.bus.plain = without(s.bus.plain, s)
	s.bus.mu.Unlock()
	unsubscribe(s.bus, s.subject, s.remote)
	s.queue.stop()
	<-s.task.Done()
}

// servedSub is one Serve: requests from NATS and from this process pass through call.
type servedSub struct {
	bus     *NATS
	subject string
	remote  *nats.Subscription
	handle  Handler
	slots   chan struct{}
	work    chan func() // to handlers' goroutines that are free
	life    context.Context
	end     context.CancelCauseFunc

	mu      sync.Mutex // guards stopped, and running.Add against running.Wait
	stopped bool
	running sync.WaitGroup
}

func newServedSub(bus *NATS, subject string, handle Handler) *servedSub {
	life, end := context.WithCancelCause(context.Background())
	return &servedSub{bus: bus, subject: subject, handle: handle, slots: make(chan struct{}, MaxServing), work: make(chan func()), life: life, end: end}
}

// receive is called by the NATS client, one request at a time, and waits while all slots are taken.
func (s *servedSub) receive(msg *nats.Msg) {
	ctx, cancel := requestContext(s.life, msg.Header)
	started := s.start(ctx, msg.Subject, envelope{header: msg.Header, data: msg.Data}, func(answer envelope) {
		cancel()
		s.reply(msg, answer)
	})
	if started {
		return
	}
	cancel()
	if s.life.Err() != nil { // Else it is the caller who has stopped waiting.
		s.reply(msg, encodeAnswer(nil, noResponder(msg.Subject)))
	}
}

func (s *servedSub) reply(request *nats.Msg, answer envelope) {
	reply := &nats.Msg{Subject: request.Reply, Header: answer.header, Data: answer.data}
	if err := s.bus.conn.PublishMsg(reply); err != nil {
		s.bus.log.Warn("bus: an answer was lost", "subject", request.Subject, "error", err)
	}
}

// call hands over a request from this process and waits for the answer.
func (s *servedSub) call(ctx context.Context, request envelope) (envelope, error) {
	// As over the wire, the handler's context knows the caller's deadline and none of its values, and outlives its cancellation.
	handlerCtx, cancel := requestContext(s.life, request.header)
	answers := make(chan envelope, 1)
	if !s.start(handlerCtx, s.subject, request, func(answer envelope) {
		cancel()
		answers <- answer
	}) {
		cancel()
		if ctx.Err() != nil {
			return envelope{}, fault.Of(ctx.Err())
		}
		return envelope{}, noResponder(s.subject)
	}
	select {
	case answer := <-answers:
		return answer, nil
	case <-ctx.Done():
		return envelope{}, fault.Of(ctx.Err())
	}
}

// start runs the handler in a goroutine as soon as there is a slot, and reports false when there was none before ctx ended.
func (s *servedSub) start(ctx context.Context, subject string, request envelope, answer func(envelope)) bool {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		<-s.slots
		return false
	}
	s.running.Add(1)
	s.mu.Unlock()
	job := func() {
		defer s.running.Done()
		defer func() { <-s.slots }()
		answer(s.answer(ctx, subject, request))
	}
	select {
	case s.work <- job:
	default:
		go s.serve(job)
	}
	return true
}

// serve runs a handler, and then those that come soon: a goroutine that is used again has its stack grown already. It is kept as long as life lasts,
// or for a while.
func (s *servedSub) serve(job func()) {
	const idle = time.Second
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		job()
		timer.Reset(idle)
		select {
		case job = <-s.work:
		case <-timer.C:
			return
		case <-s.life.Done():
			return
		}
	}
}

func (s *servedSub) answer(ctx context.Context, subject string, request envelope) envelope {
	var data []byte
	err := loop.Guard(ctx, "handler of "+subject, func(ctx context.Context) (err error) {
		data, err = s.handle(ctx, request.data)
		return err
	})
	if err == nil {
		err = checkSize("the answer", subject, data)
	}
	if err != nil {
		s.logFailure(subject, err)
	}
	return encodeAnswer(data, err)
}

// logFailure logs what the caller will not see: panics and internal causes.
func (s *servedSub) logFailure(subject string, err error) {
	if fault.Is(err, fault.CodeInternal) {
		s.bus.logPanic(subject, err)
	}
}

// Stop implements Subscription.
func (s *servedSub) Stop() {
	s.bus.mu.Lock()
	s.bus.served = without(s.bus.served, s)
	s.bus.mu.Unlock()
	unsubscribe(s.bus, s.subject, s.remote)
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.end(loop.ErrShutdown)
	s.running.Wait()
}

func unsubscribe(bus *NATS, subject string, remote *nats.Subscription) {
	if err := remote.Unsubscribe(); err != nil && remote.IsValid() {
		bus.log.Warn("bus: unsubscribe failed", "subject", subject, "error", err)
	}
}

func without[S comparable](list []S, gone S) []S {
	kept := make([]S, 0, len(list))
	for _, item := range list {
		if item != gone {
			kept = append(kept, item)
		}
	}
	return kept
}
