// Package natstest starts NATS servers in the test's process from the configuration that internal/bus/natsconf writes, with TCP listeners
// on loopback, so that what a test sees is what an operator gets: users, permissions, routes. Only tests import it.
package natstest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/bus/natsconf"
	"github.com/tenon-run/tenon/internal/testkit"
)

// wait bounds what takes milliseconds: 20 s.
const wait = 20 * time.Second

// Cluster is some servers with a user for each set of services.
type Cluster struct {
	// Folder is where natsconf wrote everything.
	Folder string
	Config natsconf.Config
	// caFile is what the servers' certificates come from, empty without TLS.
	caFile  string
	servers []*server.Server
}

// Start starts a cluster of so many servers and waits until each knows all others. It stops at the test's end. sets are the sets of
// services that have a user; default: each service alone, and all.
func Start(t testing.TB, count int, sets ...[]string) *Cluster {
	t.Helper()
	return StartWith(t, natsconf.Request{Folder: t.TempDir(), Sets: sets, Nodes: Nodes(t, count)})
}

// StartWith starts the cluster that a request describes.
func StartWith(t testing.TB, request natsconf.Request) *Cluster {
	t.Helper()
	written, err := natsconf.Write(request)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Folder: request.Folder, Config: written.Config}
	if request.TLS != nil {
		c.caFile = request.TLS.CAFile
	}
	for _, path := range written.Files[1:] {
		c.servers = append(c.servers, Run(t, path))
	}
	Until(t, "the cluster is whole", func() bool {
		for _, srv := range c.servers {
			if peers(srv) != len(c.servers)-1 {
				return false
			}
		}
		return true
	})
	return c
}

func peers(srv *server.Server) int {
	routes, err := srv.Routez(nil)
	if err != nil {
		return 0
	}
	known := make(map[string]struct{})
	for _, route := range routes.Routes {
		known[route.RemoteName] = struct{}{}
	}
	return len(known)
}

// Run starts one server from a configuration file.
func Run(t testing.TB, path string) *server.Server {
	t.Helper()
	options, err := server.ProcessConfigFile(path)
	if err != nil {
		text, _ := os.ReadFile(path)
		t.Fatalf("%v\n%s", err, text)
	}
	options.NoSigs, options.NoLog = true, true
	srv, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(wait) {
		t.Fatalf("the server of %s does not accept connections", path)
	}
	return srv
}

// Nodes returns so many nodes on free ports of 127.0.0.1, without monitoring.
func Nodes(t testing.TB, count int) []natsconf.Node {
	t.Helper()
	names := []string{"one", "two", "three", "four", "five"}
	var nodes []natsconf.Node
	var held []net.Listener
	port := func() int {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, listener)
		address, err := netip.ParseAddrPort(listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return int(address.Port())
	}
	for _, name := range names[:count] {
		nodes = append(nodes, natsconf.Node{Name: name, Host: "127.0.0.1", ClientPort: port(), ClusterPort: port()})
	}
	for _, listener := range held {
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

// Stop stops one server as SIGTERM does.
func (c *Cluster) Stop(node int) {
	c.servers[node].Shutdown()
	c.servers[node].WaitForShutdown()
}

// URL returns the addresses of all servers, beginning with node, as NATS_URL has them.
func (c *Cluster) URL(node int) string {
	urls := strings.Split(c.Config.ClientURL(), ",")
	return strings.Join(append(append([]string(nil), urls[node:]...), urls[:node]...), ",")
}

// Credentials are those of the user for a set of services; the set must have been asked for.
func (c *Cluster) Credentials(services ...string) bus.Credentials {
	return bus.Credentials{NKeyFile: natsconf.SeedFile(c.Folder, services), CAFile: c.caFile}
}

// Bus returns a bus of a process that runs these services, connected to node, or to another one when that is gone.
func (c *Cluster) Bus(t testing.TB, node int, services ...string) *bus.NATS {
	t.Helper()
	log := testkit.Logger(t)
	options, err := c.Credentials(services...).Options()
	if err != nil {
		t.Fatal(err)
	}
	options = append(append(bus.Options(t.Name(), log), options...), nats.DontRandomize())
	conn, err := nats.Connect(c.URL(node), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	made, err := bus.New(conn, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}

// Until asks again and again until the answer is yes, and fails the test after 20 s.
func Until(t testing.TB, what string, yes func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !yes() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}
