package embedded_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
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
	if conn, err = server.Conn(); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	address, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, stranger := range []*url.Userinfo{nil, url.UserPassword("tenon", ""), url.UserPassword("tenon", "guess")} {
		address.User = stranger
		if conn, err := nats.Connect(address.String()); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("as %s: %v, want an authorization error", stranger, err)
			conn.Close()
		}
	}
}

// listening returns the inodes of the TCP sockets that this machine listens on.
func listening(t *testing.T) map[string]bool {
	t.Helper()
	inodes := make(map[string]bool)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			const state, inode, listen = 3, 9, "0A"
			if fields := strings.Fields(line); len(fields) > inode && fields[state] == listen {
				inodes[fields[inode]] = true
			}
		}
	}
	return inodes
}

// TestNATSOpensNoSocket asks the kernel which of this process's sockets listen: an embedded server adds none.
func TestNATSOpensNoSocket(t *testing.T) {
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		t.Log("this system has no /proc: TestNATSInProcessHasNoListener is all there is")
		return
	}
	mine := func() (count int) {
		links, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		open := listening(t)
		for _, link := range links {
			target, _ := os.Readlink(link) // "socket:[1234]"; a descriptor may be closed meanwhile
			if inode, ok := strings.CutPrefix(target, "socket:["); ok && open[strings.TrimSuffix(inode, "]")] {
				count++
			}
		}
		return count
	}
	before := mine()
	server, err := embedded.StartNATS(embedded.NATSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	if after := mine(); after != before {
		t.Errorf("%d listening sockets, %d before", after, before)
	}
	loud, err := embedded.StartNATS(embedded.NATSConfig{Listen: "127.0.0.1", Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer loud.Shutdown()
	if after := mine(); after != before+1 {
		t.Errorf("the test does not see the listener of a server that has one: %d listening sockets, %d before", after, before)
	}
}
