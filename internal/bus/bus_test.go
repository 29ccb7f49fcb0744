package bus_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, subject string
		want             bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"a.*", "a.b", true},
		{"a.*", "a.b.c", false},
		{"a.*", "a", false},
		{"*.b", "a.b", true},
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{">", "a", true},
		{">", "a.b", true},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.b.d", false},
		{"*", "a", true},
		{"*.*", "a", false},
	} {
		if got := bus.Match(test.pattern, test.subject); got != test.want {
			t.Errorf("Match(%q, %q) = %v", test.pattern, test.subject, got)
		}
	}
}

// TestLocalDeliveryIsNotDoubled guards against the echo of the server.
func TestLocalDeliveryIsNotDoubled(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	one, other := testkit.BusOn(t, server), testkit.BusOn(t, server)
	here, back := make(chan string, 3), make(chan struct{})
	subscribe(t, one, "hint", func(msg bus.Msg) { here <- string(msg.Data) })
	subscribe(t, one, "back", func(bus.Msg) { close(back) })
	subscribe(t, other, "hint", func(bus.Msg) {
		if err := other.Publish("back", nil); err != nil {
			t.Error(err)
		}
	})
	publish(t, one, "hint", "x")
	receive(t, back) // Whatever the server would have echoed came before this.
	publish(t, one, "hint", "end")
	if first, second := receive(t, here), receive(t, here); first != "x" || second != "end" {
		t.Errorf("the local subscriber got %q, then %q", first, second)
	}
}

func TestOneOfSeveralServersAnswers(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	caller, one, other := testkit.BusOn(t, server), testkit.BusOn(t, server), testkit.BusOn(t, server)
	var calls atomic.Int64
	count := func(context.Context, []byte) ([]byte, error) { calls.Add(1); return nil, nil }
	serve(t, one, "svc", count)
	serve(t, other, "svc", count)
	for range 100 {
		if _, err := caller.Request(limit(t), "svc", nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := calls.Load(); got != 100 {
		t.Errorf("100 requests were handled %d times", got)
	}
	mine := make(chan struct{}, 1)
	serve(t, caller, "svc", func(context.Context, []byte) ([]byte, error) { mine <- struct{}{}; return nil, nil })
	if _, err := caller.Request(limit(t), "svc", nil); err != nil {
		t.Fatal(err)
	}
	receive(t, mine)
}

func TestServerGone(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	one := testkit.BusOn(t, server)
	serve(t, one, "local", echo)
	server.Shutdown()
	if _, err := one.Request(limit(t), "local", nil); err != nil {
		t.Errorf("a call within the process needs NATS: %v", err)
	}
	if _, err := one.Request(limit(t), "remote", nil); !fault.Is(err, fault.CodeUnavailable) {
		t.Errorf("got %v, want Unavailable", err)
	}
}

// TestServerGoneUnderARequest loses the connection while the answer is awaited: the caller hears of it long before its deadline.
func TestServerGoneUnderARequest(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	caller, handler := testkit.BusOn(t, server), testkit.BusOn(t, server)
	serve(t, handler, "svc", func(ctx context.Context, _ []byte) ([]byte, error) {
		server.Shutdown()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if _, err := caller.Request(ctx, "svc", nil); !fault.HasReason(err, bus.ReasonDisconnected) {
		t.Errorf("got %v, want BUS_DISCONNECTED", err)
	}
}

func TestFaultsHarmWhatTheyAreToldTo(t *testing.T) {
	t.Parallel()
	inner := testkit.Bus(t)
	faulty := bus.WithFaults(inner, func(call bus.Call) bus.Harm {
		switch string(call.Data) {
		case "drop":
			return bus.Harm{Drop: true}
		case "double":
			return bus.Harm{Duplicate: true}
		case "late":
			return bus.Harm{Delay: 30 * time.Millisecond}
		case "drop answer":
			return bus.Harm{Drop: call.Op == bus.OpAnswer}
		}
		return bus.Harm{}
	})
	t.Cleanup(faulty.Close)
	got := make(chan string, 10)
	subscribe(t, faulty, "pub", func(msg bus.Msg) { got <- string(msg.Data) })
	for _, text := range []string{"late", "drop", "double", "plain"} {
		publish(t, faulty, "pub", text)
	}
	for _, want := range []string{"double", "double", "plain", "late"} {
		if text := receive(t, got); text != want {
			t.Errorf("got %q, want %q", text, want)
		}
	}
	var calls atomic.Int64
	serve(t, faulty, "svc", func(_ context.Context, data []byte) ([]byte, error) { calls.Add(1); return data, nil })
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	if _, err := faulty.Request(short(), "svc", []byte("drop")); !fault.Is(err, fault.CodeDeadlineExceeded) || calls.Load() != 0 {
		t.Errorf("a dropped request: %v, handled %d times", err, calls.Load())
	}
	if _, err := faulty.Request(short(), "svc", []byte("drop answer")); !fault.Is(err, fault.CodeDeadlineExceeded) || calls.Load() != 1 {
		t.Errorf("a dropped answer: %v, handled %d times", err, calls.Load())
	}
	if _, err := faulty.Request(limit(t), "svc", []byte("double")); err != nil || calls.Load() != 3 {
		t.Errorf("a doubled request: %v, handled %d times", err, calls.Load())
	}
}

func TestNewRefusesAConnectionWithEcho(t *testing.T) {
	t.Parallel()
	conn, err := testkit.NATS(t).Conn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if _, err := bus.New(conn, testkit.Logger(t)); err == nil {
		t.Error("a connection with echo is accepted")
	}
}
