package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// pair is a bus that sends and a bus that receives; one and the same on the local path.
type pair struct{ sender, receiver bus.Bus }

// TestContract runs every rule of the interface over every way a message can take.
func TestContract(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*testing.T) pair{
		"two connections": func(t *testing.T) pair {
			server := testkit.NATS(t)
			return pair{testkit.BusOn(t, server), testkit.BusOn(t, server)}
		},
		"within one process": func(t *testing.T) pair {
			one := testkit.Bus(t)
			return pair{one, one}
		},
		"harmless faults": func(t *testing.T) pair {
			one := testkit.Bus(t)
			faulty := bus.WithFaults(one, func(bus.Call) bus.Harm { return bus.Harm{} })
			t.Cleanup(faulty.Close)
			return pair{faulty, one}
		},
	}
	rules := map[string]func(*testing.T, pair){
		"request and answer":          testRequest,
		"handler errors cross":        testErrors,
		"private causes stay":         testPrivateCause,
		"no responder, at once":       testNoResponder,
		"deadline":                    testDeadline,
		"the deadline crosses":        testDeadlineCrosses,
		"caller gone":                 testCallerGone,
		"stop ends handlers":          testStopEndsHandlers,
		"panic":                       testPanic,
		"requests run side by side":   testConcurrent,
		"limits":                      testLimits,
		"subjects":                    testSubjects,
		"bytes belong to who gets it": testCopies,
		"wildcards":                   testWildcards,
		"order":                       testOrder,
		"slow subscriber":             testSlowSubscriber,
		"handler panic, plain":        testPlainPanic,
		"stopped is silent":           testStopped,
	}
	for way, make := range ways {
		for name, rule := range rules {
			t.Run(way+"/"+name, func(t *testing.T) {
				t.Parallel()
				rule(t, make(t))
			})
		}
	}
}

func serve(t *testing.T, b bus.Bus, subject string, handle bus.Handler) bus.Subscription {
	t.Helper()
	sub, err := b.Serve(subject, handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Stop)
	return sub
}

func subscribe(t *testing.T, b bus.Bus, subject string, handle func(bus.Msg)) bus.Subscription {
	t.Helper()
	sub, err := b.Subscribe(subject, handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Stop)
	return sub
}

func publish(t *testing.T, b bus.Bus, subject, text string) {
	t.Helper()
	if err := b.Publish(subject, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// limit is a context that ends long after any of these tests should have.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-limit(t).Done():
		t.Fatal("nothing arrived")
		panic("unreachable")
	}
}

func echo(_ context.Context, data []byte) ([]byte, error) { return data, nil }

func testRequest(t *testing.T, p pair) {
	serve(t, p.receiver, "svc.echo", echo)
	for _, want := range []string{"hello", "", "\x00\xff\r\n"} {
		got, err := p.sender.Request(limit(t), "svc.echo", []byte(want))
		if err != nil || string(got) != want {
			t.Errorf("answer %q, %v; want %q", got, err, want)
		}
	}
}

func testErrors(t *testing.T, p pair) {
	want := fault.Invalid("BAD", "line one\nline two ü", fault.Field{Path: "a.b", Message: "is bad"}).
		WithResource("run", "run_1").WithRetryAfter(2 * time.Second)
	serve(t, p.receiver, "svc.fail", func(context.Context, []byte) ([]byte, error) { return nil, fmt.Errorf("wrapped: %w", want) })
	_, err := p.sender.Request(limit(t), "svc.fail", nil)
	got := fault.Of(err)
	if got.Code != want.Code || got.Reason != want.Reason || got.Message != want.Message || len(got.Fields) != 1 ||
		got.Fields[0] != want.Fields[0] || got.Resource != want.Resource || got.RetryAfter != want.RetryAfter {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func testPrivateCause(t *testing.T, p pair) {
	serve(t, p.receiver, "svc.secret", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("hunter2") })
	_, err := p.sender.Request(limit(t), "svc.secret", nil)
	if !fault.Is(err, fault.CodeInternal) || strings.Contains(fault.Detail(err), "hunter2") {
		t.Errorf("got %q, want an internal error that says nothing", fault.Detail(err))
	}
}

func testNoResponder(t *testing.T, p pair) {
	subscribe(t, p.receiver, "svc.none", func(bus.Msg) {})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	_, err := p.sender.Request(ctx, "svc.other", nil)
	if !fault.HasReason(err, bus.ReasonNoResponder) || !fault.Is(err, fault.CodeUnavailable) {
		t.Errorf("got %v, want Unavailable NO_RESPONDER", err)
	}
}

func testDeadline(t *testing.T, p pair) {
	serve(t, p.receiver, "svc.slow", func(ctx context.Context, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.sender.Request(ctx, "svc.slow", nil); !fault.Is(err, fault.CodeDeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
	if _, err := p.sender.Request(ctx, "svc.slow", nil); !fault.Is(err, fault.CodeDeadlineExceeded) {
		t.Errorf("with a context that is over: got %v, want DeadlineExceeded", err)
	}
}

func testDeadlineCrosses(t *testing.T, p pair) {
	left := make(chan time.Duration, 1)
	serve(t, p.receiver, "svc.left", func(ctx context.Context, _ []byte) ([]byte, error) {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return nil, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if _, err := p.sender.Request(ctx, "svc.left", nil); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, left); got > 15*time.Second || got < time.Second {
		t.Errorf("the handler has %s, the caller gave 15 s", got)
	}
}

func testCallerGone(t *testing.T, p pair) {
	arrived, release := make(chan struct{}), make(chan struct{})
	serve(t, p.receiver, "svc.hold", func(context.Context, []byte) ([]byte, error) {
		close(arrived)
		<-release
		return nil, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	caller := loop.Start(t.Context(), "caller", func(context.Context) error {
		_, err := p.sender.Request(ctx, "svc.hold", nil)
		result <- err
		return nil
	})
	receive(t, arrived)
	cancel()
	if err := receive(t, result); !fault.HasReason(err, fault.ReasonCanceled) {
		t.Errorf("got %v, want CANCELED", err)
	}
	close(release)
	receive(t, caller.Done())
}

func testStopEndsHandlers(t *testing.T, p pair) {
	arrived := make(chan struct{})
	causes := make(chan error, 1)
	sub := serve(t, p.receiver, "svc.stop", func(ctx context.Context, _ []byte) ([]byte, error) {
		close(arrived)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil, fault.Unavailable("GOING", "going away")
	})
	result := make(chan error, 1)
	caller := loop.Start(t.Context(), "caller", func(context.Context) error {
		_, err := p.sender.Request(limit(t), "svc.stop", nil)
		result <- err
		return nil
	})
	receive(t, arrived)
	sub.Stop()
	if err := receive(t, causes); !errors.Is(err, loop.ErrShutdown) {
		t.Errorf("the handler's context ended for %v, want ErrShutdown", err)
	}
	if err := receive(t, result); !fault.HasReason(err, "GOING") {
		t.Errorf("the caller got %v, want the handler's last word", err)
	}
	receive(t, caller.Done())
	if _, err := p.sender.Request(limit(t), "svc.stop", nil); !fault.HasReason(err, bus.ReasonNoResponder) {
		t.Errorf("after Stop: got %v, want NO_RESPONDER", err)
	}
}

func testPanic(t *testing.T, p pair) {
	serve(t, p.receiver, "svc.panic", func(_ context.Context, data []byte) ([]byte, error) {
		if len(data) > 0 {
			panic("hunter2")
		}
		return nil, nil
	})
	if _, err := p.sender.Request(limit(t), "svc.panic", []byte("x")); !fault.Is(err, fault.CodeInternal) {
		t.Errorf("got %v, want Internal", err)
	}
	if _, err := p.sender.Request(limit(t), "svc.panic", nil); err != nil {
		t.Errorf("after a panic the subject is dead: %v", err)
	}
}

func testConcurrent(t *testing.T, p pair) {
	const callers = 50
	var inside sync.WaitGroup
	inside.Add(callers)
	serve(t, p.receiver, "svc.meet", func(_ context.Context, data []byte) ([]byte, error) {
		inside.Done()
		inside.Wait() // Returns only when all are here at once.
		return data, nil
	})
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			want := fmt.Sprint(i)
			if got, err := p.sender.Request(limit(t), "svc.meet", []byte(want)); err != nil || string(got) != want {
				t.Errorf("answer %q, %v; want %q", got, err, want)
			}
		})
	}
	group.Wait()
}

func testLimits(t *testing.T, p pair) {
	serve(t, p.receiver, "svc.big", func(_ context.Context, data []byte) ([]byte, error) { return append(data, data...), nil })
	full := bytes.Repeat([]byte("x"), bus.MaxMessage/2)
	if got, err := p.sender.Request(limit(t), "svc.big", full); err != nil || len(got) != bus.MaxMessage {
		t.Errorf("an answer of just the limit: %d bytes, %v", len(got), err)
	}
	over := bytes.Repeat([]byte("x"), bus.MaxMessage+1)
	_, requestErr := p.sender.Request(limit(t), "svc.big", over)
	_, answerErr := p.sender.Request(limit(t), "svc.big", append(full, 'x'))
	for what, err := range map[string]error{"request": requestErr, "answer": answerErr, "message": p.sender.Publish("svc.big", over)} {
		if !fault.HasReason(err, bus.ReasonTooLarge) || !strings.Contains(err.Error(), "svc.big") {
			t.Errorf("%s over the limit: got %v, want MESSAGE_TOO_LARGE that names the subject", what, err)
		}
	}
}

func testSubjects(t *testing.T, p pair) {
	for _, subject := range []string{"", "a..b", ".a", "a.", "a b", "a.*", "a.>", ">"} {
		_, err := p.sender.Request(limit(t), subject, nil)
		if !fault.HasReason(err, bus.ReasonBadSubject) || !fault.HasReason(p.sender.Publish(subject, nil), bus.ReasonBadSubject) {
			t.Errorf("%q is taken as a subject to send to", subject)
		}
	}
	if _, err := p.receiver.Subscribe("a.>.b", func(bus.Msg) {}); !fault.HasReason(err, bus.ReasonBadSubject) {
		t.Errorf("a.>.b: got %v, want BAD_SUBJECT", err)
	}
	serve(t, p.receiver, "svc.once", echo)
	if _, err := p.receiver.Serve("svc.once", echo); !fault.HasReason(err, bus.ReasonServedTwice) {
		t.Errorf("served twice: got %v", err)
	}
}

func testCopies(t *testing.T, p pair) {
	kept := make([]byte, 4)
	serve(t, p.receiver, "svc.scribble", func(_ context.Context, data []byte) ([]byte, error) {
		copy(data, "XXXX")
		return kept, nil
	})
	first, second := make(chan []byte, 1), make(chan []byte, 1)
	scribble := func(to chan []byte) func(bus.Msg) {
		return func(msg bus.Msg) {
			got := string(msg.Data)
			copy(msg.Data, "XXXX")
			to <- []byte(got)
		}
	}
	subscribe(t, p.receiver, "pub.scribble", scribble(first))
	subscribe(t, p.receiver, "pub.*", scribble(second))
	data := []byte("mine")
	answer, err := p.sender.Request(limit(t), "svc.scribble", data)
	if err != nil {
		t.Fatal(err)
	}
	copy(answer, "YYYY")
	if err := p.sender.Publish("pub.scribble", data); err != nil {
		t.Fatal(err)
	}
	one, other := receive(t, first), receive(t, second)
	if string(data) != "mine" || string(kept) != "\x00\x00\x00\x00" || string(one) != "mine" || string(other) != "mine" {
		t.Errorf("bytes are shared: sent %q, handler's %q, received %q and %q", data, kept, one, other)
	}
}

func testWildcards(t *testing.T, p pair) {
	got := make(chan string, 10)
	subscribe(t, p.receiver, "run.*.done", func(msg bus.Msg) { got <- "star " + msg.Subject })
	publish(t, p.sender, "run.7", "")
	publish(t, p.sender, "run.7.done.late", "")
	publish(t, p.sender, "run.7.done", "")
	if first := receive(t, got); first != "star run.7.done" {
		t.Errorf("first was %q", first)
	}
	serve(t, p.receiver, "shard.>", func(context.Context, []byte) ([]byte, error) { return []byte("any"), nil })
	if answer, err := p.sender.Request(limit(t), "shard.3.claim", nil); err != nil || string(answer) != "any" {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func testOrder(t *testing.T, p pair) {
	const count = 2000
	var next atomic.Int64
	done := make(chan string, 1)
	subscribe(t, p.receiver, "seq", func(msg bus.Msg) {
		if want := fmt.Sprint(next.Load()); string(msg.Data) != want {
			t.Errorf("got %s, want %s", msg.Data, want)
		}
		if next.Add(1) == count {
			done <- "all"
		}
	})
	for i := range count {
		publish(t, p.sender, "seq", fmt.Sprint(i))
	}
	receive(t, done)
}

func testSlowSubscriber(t *testing.T, p pair) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	var handled atomic.Int64
	sub := subscribe(t, p.receiver, "flood", func(bus.Msg) {
		first.Do(func() { close(arrived); <-release })
		handled.Add(1)
	})
	publish(t, p.sender, "flood", "first")
	receive(t, arrived)
	last := make(chan struct{})
	subscribe(t, p.receiver, "flood.end", func(bus.Msg) { close(last) })
	for range bus.MaxQueued + 500 {
		publish(t, p.sender, "flood", "x")
	}
	publish(t, p.sender, "flood.end", "")
	receive(t, last) // A subscriber that is behind holds up neither the sender nor other subscribers.
	dropped := func() uint64 { return p.receiver.(*bus.NATS).Stats().Dropped }
	for ctx := limit(t); dropped() < 500 && ctx.Err() == nil; { // Each subscription has its own way through the client.
		runtime.Gosched()
	}
	close(release)
	if got := dropped(); got != 500 {
		t.Errorf("%d messages were dropped, want 500", got)
	}
	sub.Stop()
	if got := handled.Load(); got > bus.MaxQueued+1 {
		t.Errorf("%d messages were handled", got)
	}
}

func testPlainPanic(t *testing.T, p pair) {
	got := make(chan string, 1)
	subscribe(t, p.receiver, "boom", func(msg bus.Msg) {
		if string(msg.Data) == "bad" {
			panic("boom")
		}
		got <- string(msg.Data)
	})
	publish(t, p.sender, "boom", "bad")
	publish(t, p.sender, "boom", "good")
	receive(t, got)
}

func testStopped(t *testing.T, p pair) {
	sub := subscribe(t, p.receiver, "gone", func(bus.Msg) { t.Error("a stopped subscription got a message") })
	sub.Stop()
	sub.Stop()
	seen := make(chan struct{}, 1)
	subscribe(t, p.receiver, "after", func(bus.Msg) { seen <- struct{}{} })
	publish(t, p.sender, "gone", "x")
	publish(t, p.sender, "after", "x")
	receive(t, seen)
}
