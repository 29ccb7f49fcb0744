package testkit

import (
	"testing"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/embedded"
)

// NATS starts a NATS server in this process for one test (3 ms), shut down at its end.
func NATS(t testing.TB) *embedded.NATS {
	t.Helper()
	server, err := embedded.StartNATS(embedded.NATSConfig{Name: "test"})
	if err != nil {
		t.Fatalf("start NATS: %v", err)
	}
	t.Cleanup(server.Shutdown)
	return server
}

// BusOn returns a bus with a connection of its own to the server, as another process would have. It is closed at the test's end.
func BusOn(t testing.TB, server *embedded.NATS) *bus.NATS {
	t.Helper()
	log := Logger(t)
	conn, err := server.Conn(bus.Options(t.Name(), log)...)
	if err != nil {
		t.Fatalf("connect to NATS: %v", err)
	}
	t.Cleanup(conn.Close)
	made, err := bus.New(conn, log)
	if err != nil {
		t.Fatalf("make bus: %v", err)
	}
	t.Cleanup(made.Close)
	return made
}

// Bus returns a bus on a NATS server of the test's own.
func Bus(t testing.TB) *bus.NATS {
	t.Helper()
	return BusOn(t, NATS(t))
}
