package embedded_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/embedded"
)

func TestNATSInProcessHasNoListener(t *testing.T) {
	server, err := embedded.StartNATS(embedded.NATSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	if server.URL() != "" {
		t.Errorf("it listens on %s", server.URL())
	}
	conn, err := server.Conn()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Flush(); err != nil {
		t.Error(err)
	}
}

func TestNATSListensWhenAsked(t *testing.T) {
	server, err := embedded.StartNATS(embedded.NATSConfig{Listen: "127.0.0.1", Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	conn, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
