package bus_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/bus/natsconf/natstest"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/testkit"
)

// What a service may do with a subject: p publish to it or ask there, s subscribe to it, v serve it.
var shared = map[string]string{
	"tenon.presence": "ps", "tenon.presence.wanted": "ps", "tenon.process.prc_1": "pv", "tenon.revoked": "s", "tenon.revocations.beacon": "s",
	"tenon.registry.changed.7": "s",
}

var granted = map[string]map[string]string{
	"identity": {"tenon.revoked": "ps", "tenon.revocations.beacon": "ps"},
	"registry": {"tenon.registry.changed.7": "ps"},
	"scheduler": {
		"tenon.shard.3.9": "pv", "tenon.shards.free": "ps", "tenon.dispatcher.dsp_1": "p", "tenon.sessions.wanted": "ps",
		"tenon.notices.7": "ps",
	},
	"dispatcher": {
		"tenon.shard.3.9": "p", "tenon.dispatcher.dsp_1": "s", "tenon.notices.7": "s", "tenon.sessions.wanted": "s", "tenon.worker.wkr_1": "pv",
	},
	"ingest":   {},
	"frontend": {"tenon.notices.7": "s"},
}

// nobodys are subjects that no service has a use for: all at once, other people's answers, the servers' own.
var nobodys = []string{"tenon.other", "tenon.shard.3", "tenon.shard.3.9.more", "$SYS.REQ.SERVER.PING", "_INBOX.a.b", "_INBOX_UAAAAAAAAAAA.a"}

var nobodysPatterns = []string{">", "tenon.>", "tenon.shard.>", "tenon.shard.*.*", "tenon.worker.*", "tenon.process.*", "_INBOX.>", "_INBOX_UAAAAAAAAAAA.>", "$SYS.>"}

// TestPermissions tries every subject in every way as every service, on a real server.
func TestPermissions(t *testing.T) {
	t.Parallel()
	subjects := slices.Clone(nobodys)
	for subject := range shared {
		subjects = append(subjects, subject)
	}
	for _, own := range granted {
		for subject := range own {
			if !slices.Contains(subjects, subject) {
				subjects = append(subjects, subject)
			}
		}
	}
	slices.Sort(subjects)
	if want := len(bus.Services()); len(granted) != want {
		t.Fatalf("the test knows %d services of %d", len(granted), want)
	}
	for service, own := range granted {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t, 1).Bus(t, 0, service) // Servers of their own: who subscribes where another asks lets it wait.
			for _, subject := range subjects {
				want, mine := own[subject]
				if !mine {
					want = shared[subject]
				}
				if got := try(t, b, subject); got != want {
					t.Errorf("%s may do %q with %s, want %q", service, got, subject, want)
				}
			}
			for _, pattern := range nobodysPatterns {
				if sub, err := b.Subscribe(pattern, func(bus.Msg) {}); !fault.HasReason(err, bus.ReasonRefused) {
					t.Errorf("%s may subscribe to %s: %v", service, pattern, err)
					sub.Stop()
				}
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		b := natstest.Start(t, 1).Bus(t, 0, bus.Services()...)
		for _, subject := range subjects {
			var want string
			for _, way := range []string{"p", "s", "v"} {
				for _, own := range append([]map[string]string{shared}, granted["identity"], granted["registry"], granted["scheduler"], granted["dispatcher"], granted["frontend"]) {
					if strings.Contains(own[subject], way) {
						want += way
						break
					}
				}
			}
			if got := try(t, b, subject); got != want {
				t.Errorf("all may do %q with %s, want %q", got, subject, want)
			}
		}
	})
}

// try returns the ways in which the server lets a bus use a subject.
func try(t *testing.T, b *bus.NATS, subject string) (ways string) {
	t.Helper()
	_, err := b.Request(limit(t), subject, nil)
	switch {
	case fault.HasReason(err, bus.ReasonNoResponder):
		ways += "p"
	case subject == "$SYS.REQ.SERVER.PING" && err == nil:
		t.Errorf("the server answers %s", subject)
	case !fault.HasReason(err, bus.ReasonRefused):
		t.Errorf("asking %s: %v", subject, err)
	}
	if sub, err := b.Subscribe(subject, func(bus.Msg) {}); err == nil {
		sub.Stop()
		return ways + "s" // NATS lets who may hear all messages also hear some of them, in a group: that is no other way.
	} else if !fault.HasReason(err, bus.ReasonRefused) {
		t.Errorf("subscribing to %s: %v", subject, err)
	}
	if sub, err := b.Serve(subject, echo); err == nil {
		ways += "v"
		sub.Stop()
	} else if !fault.HasReason(err, bus.ReasonRefused) {
		t.Errorf("serving %s: %v", subject, err)
	}
	return ways
}

func TestPermissionsOfASetAreTheUnion(t *testing.T) {
	t.Parallel()
	got, err := bus.PermissionsOf("frontend", "registry", "frontend")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"tenon.presence", "tenon.presence.wanted", "tenon.process.*", "tenon.registry.changed.*"}
	if !slices.Equal(got.Publish, want) || !slices.Contains(got.Subscribe, "tenon.notices.*") || !slices.IsSorted(got.Subscribe) {
		t.Errorf("got %+v", got)
	}
	alone, err := bus.PermissionsOf("frontend")
	if err != nil || len(alone.Publish) != 3 {
		t.Errorf("the union has changed the table: %+v, %v", alone, err)
	}
	for _, bad := range [][]string{nil, {"scheduler", "shceduler"}} {
		if _, err := bus.PermissionsOf(bad...); err == nil || !strings.Contains(err.Error(), "dispatcher") {
			t.Errorf("%q: %v, want an error that lists the services", bad, err)
		}
	}
}

// TestServicesReachEachOther sends what crosses between services, each with its own credentials.
func TestServicesReachEachOther(t *testing.T) {
	t.Parallel()
	cluster := natstest.Start(t, 1)
	buses := make(map[string]*bus.NATS)
	for _, service := range bus.Services() {
		buses[service] = cluster.Bus(t, 0, service)
	}
	serve(t, buses["scheduler"], "tenon.shard.3.9", echo)
	got, err := buses["dispatcher"].Request(limit(t), "tenon.shard.3.9", []byte("report"))
	if err != nil || string(got) != "report" {
		t.Errorf("the dispatcher's request to a shard: %q, %v", got, err)
	}
	for service, b := range buses {
		heard := make(chan string, 4)
		note := func(msg bus.Msg) { heard <- msg.Subject }
		var subs []bus.Subscription
		for _, subject := range []string{"tenon.revoked", "tenon.registry.changed.7", "tenon.presence"} {
			subs = append(subs, subscribe(t, b, subject, note))
		}
		publish(t, buses["identity"], "tenon.revoked", "")
		first := receive(t, heard)
		publish(t, buses["registry"], "tenon.registry.changed.7", "")
		second := receive(t, heard)
		publish(t, buses["ingest"], "tenon.presence", "")
		if third := receive(t, heard); first != "tenon.revoked" || second != "tenon.registry.changed.7" || third != "tenon.presence" {
			t.Errorf("%s heard %s, %s, %s", service, first, second, third)
		}
		for _, sub := range subs {
			sub.Stop()
		}
		subject := "tenon.process." + service
		serve(t, b, subject, echo)
		if _, err := buses["scheduler"].Request(limit(t), subject, nil); err != nil {
			t.Errorf("the scheduler's request to the process of %s: %v", service, err)
		}
	}
}

// TestRefusalIsLoggedOnce counts the lines: a mistake in the credentials must be seen, and not drown the rest.
func TestRefusalIsLoggedOnce(t *testing.T) {
	t.Parallel()
	cluster := natstest.Start(t, 1)
	options, err := cluster.Credentials("identity").Options()
	if err != nil {
		t.Fatal(err)
	}
	var lines lockedLines
	log := slog.New(slog.NewTextHandler(&lines, nil))
	conn, err := nats.Connect(cluster.URL(0), append(bus.Options("test", log), options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	b, err := bus.New(conn, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	for range 3 {
		publish(t, b, "tenon.shard.1.1", "x")
		if _, err := b.Request(limit(t), "tenon.shard.1.1", nil); !fault.HasReason(err, bus.ReasonRefused) || strings.Contains(err.Error(), "shard") {
			t.Errorf("got %v, want SUBJECT_REFUSED that says nothing of the inside", err)
		}
		if _, err := b.Serve("tenon.shard.1.1", echo); !fault.HasReason(err, bus.ReasonRefused) {
			t.Errorf("got %v", err)
		}
	}
	if got := lines.with("subject=tenon.shard.1.1"); len(got) != 2 {
		t.Errorf("a publish and a subscription were refused, and logged in %d lines: %q", len(got), got)
	}
	for i := range 200 {
		if _, err := b.Request(limit(t), fmt.Sprintf("tenon.shard.2.%d", i), nil); !fault.HasReason(err, bus.ReasonRefused) {
			t.Fatal(err)
		}
	}
	if got := lines.with("level=ERROR"); len(got) != 65 || !strings.Contains(got[0], "nats-config") || !strings.Contains(got[64], "no further") {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
}

type lockedLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lockedLines) with(part string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}

// TestNoInboxFailsAtOnce is a user made by hand who may not hear answers: no request of theirs may hang.
func TestNoInboxFailsAtOnce(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := pair.Seed()
	public, _ := pair.PublicKey()
	seedFile, config := filepath.Join(folder, "user.nk"), filepath.Join(folder, "nats.conf")
	node := natstest.Nodes(t, 1)[0]
	text := fmt.Sprintf("listen: 127.0.0.1:%d\nauthorization { users: [{nkey: %s, permissions: {publish: \">\", subscribe: \"svc\"}}] }\n", node.ClientPort, public)
	for path, content := range map[string]string{seedFile: string(seed), config: text} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Run(t, config)
	options, err := bus.Credentials{NKeyFile: seedFile}.Options()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", node.ClientPort), append(bus.Options("test", testkit.Logger(t)), options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	b, err := bus.New(conn, testkit.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	for range 2 {
		if _, err := b.Request(limit(t), "svc", nil); !fault.HasReason(err, bus.ReasonRefused) {
			t.Errorf("got %v, want SUBJECT_REFUSED", err)
		}
	}
	serve(t, b, "svc", echo)
	if got, err := b.Request(limit(t), "svc", []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("a call within the process: %q, %v", got, err)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := pair.Seed()
	public, _ := pair.PublicKey()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nkey := file("user.nk", string(seed)+"\n")
	creds := file("user.creds", "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n"+string(seed)+"\n------END USER NKEY SEED------\n")
	for _, good := range []bus.Credentials{{NKeyFile: nkey}, {CredentialsFile: creds}, {}} {
		options, err := good.Options()
		if err != nil {
			t.Fatalf("%+v: %v", good, err)
		}
		var set nats.Options
		for _, option := range options {
			if err := option(&set); err != nil {
				t.Fatal(err)
			}
		}
		if want := bus.InboxPrefix(public); good != (bus.Credentials{}) && set.InboxPrefix != want {
			t.Errorf("%+v: inbox %q, want %q", good, set.InboxPrefix, want)
		}
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	accountSeed, _ := account.Seed()
	for _, bad := range []struct {
		bus.Credentials
		want string
	}{
		{bus.Credentials{NKeyFile: nkey, CredentialsFile: creds}, "TENON_NATS_CREDENTIALS_FILE"},
		{bus.Credentials{NKeyFile: filepath.Join(folder, "none")}, "none"},
		{bus.Credentials{NKeyFile: file("empty.nk", "")}, "empty.nk"},
		{bus.Credentials{NKeyFile: file("account.nk", string(accountSeed))}, "account.nk"},
	} {
		if _, err := bad.Options(); err == nil || !strings.Contains(err.Error(), bad.want) || strings.Contains(err.Error(), string(accountSeed)) {
			t.Errorf("%+v: %v, want an error with %q", bad.Credentials, err, bad.want)
		}
	}
}
