package natsconf_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/bus/natsconf"
	"github.com/tenon-run/tenon/internal/bus/natsconf/natstest"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { testkit.Main(m) }

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has changed (write it anew with -update):\n%s", path, got)
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	config := natsconf.Config{RoutePassword: "secret", TLS: &natsconf.TLS{CertFile: "/etc/nats/tls.crt", KeyFile: "/etc/nats/tls.key", CAFile: "/etc/nats/ca.crt"}}
	for _, text := range []string{"nats-1=10.0.0.1", "nats-2=nats-2.internal:4223", "nats-3=[fd00::3]:4222:6222:0"} {
		node, err := natsconf.ParseNode(text)
		if err != nil {
			t.Fatal(err)
		}
		config.Nodes = append(config.Nodes, node)
	}
	for i, service := range bus.Services() {
		key := "U" + strings.Repeat(string(rune('A'+i)), 55)
		config.Users = append(config.Users, natsconf.User{Services: []string{service}, PublicKey: key})
	}
	config.Users = append(config.Users, natsconf.User{Services: bus.Services(), PublicKey: "U" + strings.Repeat("Z", 55)})
	users, err := config.UsersFile()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "users.conf", users)
	for _, node := range config.Nodes {
		golden(t, node.Name+".conf", config.NodeFile(node))
	}
	if got, want := config.ClientURL(), "tls://10.0.0.1:4222,tls://nats-2.internal:4223,tls://[fd00::3]:4222"; got != want {
		t.Errorf("NATS_URL is %s, want %s", got, want)
	}
}

func TestWriteKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "nats")
	first, err := natsconf.Write(natsconf.Request{Folder: folder})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.NewSeeds) != len(bus.Services())+1 || len(first.Files) != 4 {
		t.Errorf("wrote %v and %v", first.NewSeeds, first.Files)
	}
	before := contents(t, folder)
	for name := range before {
		info, err := os.Stat(filepath.Join(folder, name))
		want := fs.FileMode(0o600)
		if name == "users.conf" {
			want = 0o644
		}
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", name, info.Mode(), err, want)
		}
		if strings.HasSuffix(name, ".nk") && !strings.HasPrefix(before[name], "SU") {
			t.Errorf("%s is no seed of a user", name)
		}
	}
	for name, text := range before {
		for seed, secret := range before {
			if seed != name && strings.HasSuffix(seed, ".nk") && strings.Contains(text, strings.TrimSpace(secret)) {
				t.Errorf("the seed %s is in %s", seed, name)
			}
		}
	}
	second, err := natsconf.Write(natsconf.Request{Folder: folder, Sets: [][]string{{"registry", "frontend"}, {"scheduler"}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(second.NewSeeds) != 1 || filepath.Base(second.NewSeeds[0]) != "registry-frontend.nk" || len(second.Config.Users) != len(first.Config.Users)+1 {
		t.Errorf("the second call made %v, users %v", second.NewSeeds, second.Config.Users)
	}
	after := contents(t, folder)
	for name, text := range before {
		if name != "users.conf" && after[name] != text {
			t.Errorf("%s has changed", name)
		}
	}
	if !strings.HasPrefix(after["users.conf"], strings.TrimSuffix(before["users.conf"], "  ]\n}\n")[:200]) || !strings.Contains(after["users.conf"], "# registry-frontend\n") {
		t.Errorf("users.conf:\n%s", after["users.conf"])
	}
	if err := os.WriteFile(filepath.Join(folder, "stranger.nk"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := natsconf.Write(natsconf.Request{Folder: folder}); err == nil || !strings.Contains(err.Error(), "stranger.nk") {
		t.Errorf("a stranger's seed: %v", err)
	}
}

func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		texts[entry.Name()] = string(text)
	}
	return texts
}

func TestServerReadsTheConfiguration(t *testing.T) {
	t.Parallel()
	made, err := natsconf.Write(natsconf.Request{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(made.Files[2])
	if err != nil {
		t.Fatal(err)
	}
	if options.ServerName != "nats-2" || options.Port != 4222 || options.Cluster.Port != 6222 || options.Host != "0.0.0.0" || len(options.Routes) != 2 ||
		options.MaxPayload != 1_000_000 && options.MaxPayload != 1<<20 || options.HTTPHost != "127.0.0.1" || options.Cluster.Password == "" {
		t.Errorf("got %+v", options)
	}
	if len(options.Nkeys) != len(bus.Services())+1 {
		t.Errorf("%d users", len(options.Nkeys))
	}
	for _, user := range options.Nkeys {
		if user.Permissions == nil || user.Permissions.Response == nil || user.Permissions.Response.MaxMsgs != 1 {
			t.Errorf("user %s: %+v", user.Nkey, user.Permissions)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]natsconf.Node{
		"a":                          {Name: "a", Host: "a", ClientPort: 4222, ClusterPort: 6222, MonitorPort: 8222},
		"a=h":                        {Name: "a", Host: "h", ClientPort: 4222, ClusterPort: 6222, MonitorPort: 8222},
		"a=127.0.0.1:4223":           {Name: "a", Host: "127.0.0.1", ClientPort: 4223, ClusterPort: 6222, MonitorPort: 8222},
		"a=127.0.0.1:4223:6223:0":    {Name: "a", Host: "127.0.0.1", ClientPort: 4223, ClusterPort: 6223},
		"a=[::1]:4223":               {Name: "a", Host: "::1", ClientPort: 4223, ClusterPort: 6222, MonitorPort: 8222},
		"nats-1=nats-1.internal:1:2": {Name: "nats-1", Host: "nats-1.internal", ClientPort: 1, ClusterPort: 2, MonitorPort: 8222},
	} {
		if got, err := natsconf.ParseNode(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "=h", "a=h:0", "a=h:x", "a=h:1:2:3:4", "a=h:70000", "../a=h", "a=:1", "a=h\" }"} {
		if got, err := natsconf.ParseNode(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
	set, err := natsconf.ParseSet("scheduler,identity,scheduler")
	if err != nil || strings.Join(set, " ") != "identity scheduler" {
		t.Errorf("got %v, %v", set, err)
	}
	if set, err := natsconf.ParseSet("all"); err != nil || len(set) != len(bus.Services()) {
		t.Errorf("got %v, %v", set, err)
	}
	for _, text := range []string{"", "identity,x", "all,identity"} {
		if set, err := natsconf.ParseSet(text); err == nil {
			t.Errorf("%q is read as %v", text, set)
		}
	}
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	node := natsconf.Node{Name: "a", Host: "h", ClientPort: 1, ClusterPort: 2}
	for want, request := range map[string]natsconf.Request{
		"named a":     {Nodes: []natsconf.Node{node, node}},
		"one address": {Nodes: []natsconf.Node{node, {Name: "b", Host: "h", ClientPort: 1, ClusterPort: 3}}},
		"three files": {Nodes: []natsconf.Node{node}, TLS: &natsconf.TLS{CertFile: "x"}},
	} {
		request.Folder = t.TempDir()
		if _, err := natsconf.Write(request); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// ask sends a request until it is answered: the servers of a cluster hear of a subscription one after the other, and what is on its way
// through a server that goes is lost, so that its caller waits until the deadline.
func ask(t *testing.T, from *bus.NATS, subject string) {
	t.Helper()
	natstest.Until(t, "an answer on "+subject, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := from.Request(ctx, subject, []byte("?"))
		if err != nil && !fault.Is(err, fault.CodeUnavailable) && !fault.Is(err, fault.CodeDeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil && string(got) == "?!"
	})
}

// TestClusterLosesANode runs services on different servers of a cluster, each with its own credentials, and stops the server of some.
func TestClusterLosesANode(t *testing.T) {
	t.Parallel()
	cluster := natstest.Start(t, 3)
	scheduler := cluster.Bus(t, 0, "scheduler")
	second := cluster.Bus(t, 2, "scheduler")
	dispatcher := cluster.Bus(t, 1, "dispatcher")
	identity := cluster.Bus(t, 0, "identity")
	answer := func(_ context.Context, data []byte) ([]byte, error) { return append(data, '!'), nil }
	for _, b := range []*bus.NATS{scheduler, second} {
		sub, err := b.Serve("tenon.shard.1.1", answer)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sub.Stop)
	}
	orders, revoked := make(chan string, 10_000), make(chan string, 10_000)
	listen := func(b *bus.NATS, subject string, to chan string) {
		sub, err := b.Subscribe(subject, func(msg bus.Msg) { to <- string(msg.Data) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sub.Stop)
	}
	listen(dispatcher, "tenon.dispatcher.d1", orders)
	listen(dispatcher, "tenon.revoked", revoked)
	// tell publishes until it is heard: a message to a server that does not know the listener yet is lost, as hints may be.
	tell := func(from *bus.NATS, subject, text string, heard chan string) {
		t.Helper()
		natstest.Until(t, text+" arrives", func() bool {
			if err := from.Publish(subject, []byte(text)); err != nil {
				t.Fatal(err)
			}
			for {
				select {
				case got := <-heard:
					if got == text {
						return true
					}
				default:
					return false
				}
			}
		})
	}
	round := func(name string) {
		t.Helper()
		ask(t, dispatcher, "tenon.shard.1.1")
		tell(scheduler, "tenon.dispatcher.d1", name, orders)
		tell(second, "tenon.dispatcher.d1", name+" second", orders)
		tell(identity, "tenon.revoked", name, revoked)
	}
	round("whole")
	cluster.Stop(1) // the dispatcher's
	round("one gone")
	cluster.Stop(0) // the scheduler's and the identity's
	round("two gone")
	if _, err := identity.Request(limit(t), "tenon.shard.1.1", nil); !fault.HasReason(err, bus.ReasonRefused) {
		t.Errorf("after a reconnect the permissions are others: %v", err)
	}
	if _, err := second.Request(limit(t), "tenon.process.none", nil); !fault.HasReason(err, bus.ReasonNoResponder) {
		t.Errorf("nobody serves it, and the answer is %v", err)
	}
}

// makeTLS writes a CA and a certificate from it that serves both ends of a connection on 127.0.0.1.
func makeTLS(t *testing.T) *natsconf.TLS {
	t.Helper()
	folder := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	node := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	made := &natsconf.TLS{}
	for template, path := range map[*x509.Certificate]*string{root: &made.CAFile, node: &made.CertFile} {
		der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		*path = write(template.Subject.CommonName+".crt", "CERTIFICATE", der)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	made.KeyFile = write("node.key", "PRIVATE KEY", der)
	return made
}

// TestClusterWithTLS lets in those who trust the CA and have a key, and nobody else.
func TestClusterWithTLS(t *testing.T) {
	t.Parallel()
	cluster := natstest.StartWith(t, natsconf.Request{Folder: t.TempDir(), Nodes: natstest.Nodes(t, 2), TLS: makeTLS(t)})
	sub, err := cluster.Bus(t, 0, "scheduler").Serve("tenon.shard.1.1", func(_ context.Context, data []byte) ([]byte, error) { return append(data, '!'), nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Stop)
	ask(t, cluster.Bus(t, 1, "dispatcher"), "tenon.shard.1.1")
	credentials := cluster.Credentials("scheduler")
	credentials.CAFile = ""
	options, err := credentials.Options()
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := nats.Connect(cluster.URL(0), options...); err == nil {
		t.Error("a server of an unknown CA is trusted")
		conn.Close()
	}
	plain, err := net.Dial("tcp", strings.TrimPrefix(strings.Split(cluster.URL(0), ",")[0], "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	if _, err := io.WriteString(plain, "CONNECT {\"tls_required\":false}\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	if said, _ := io.ReadAll(plain); strings.Contains(string(said), "PONG") {
		t.Errorf("without TLS it answers %q", said)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	cluster := natstest.Start(t, 1, []string{"identity"})
	for name, options := range map[string][]nats.Option{
		"nobody":   nil,
		"password": {nats.UserInfo("tenon-route", cluster.Config.RoutePassword)},
		"token":    {nats.Token("x")},
	} {
		if conn, err := nats.Connect(cluster.URL(0), options...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v, want an authorization error", name, err)
			conn.Close()
		}
	}
	other := natstest.Start(t, 1, []string{"identity"})
	options, err := other.Credentials("identity").Options()
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := nats.Connect(cluster.URL(0), options...); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("another install's key: %v, want an authorization error", err)
		conn.Close()
	}
}
