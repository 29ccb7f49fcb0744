package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/presence"
	"github.com/tenon-run/tenon/services/dispatcher"
	"github.com/tenon-run/tenon/services/scheduler"
)

func TestNATSConfigCommand(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "nats")
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := natsCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetOut(&out)
		cmd.SetArgs(append([]string{"--out", folder}, args...))
		err := cmd.Execute()
		return strings.ReplaceAll(out.String(), folder, "DIR"), err
	}
	got, err := run("--set", "registry,identity", "--set", "scheduler", "--node", "a=127.0.0.1:4231:6231:0", "--node", "b=127.0.0.1:4232:6232:0")
	if err != nil {
		t.Fatal(err)
	}
	want := `new key        DIR/identity-registry.nk
new key        DIR/scheduler.nk
users          DIR/users.conf
node           nats-server -c DIR/a.conf
node           nats-server -c DIR/b.conf
scheduler      TENON_NATS_NKEY_FILE=DIR/scheduler.nk
identity-registry TENON_NATS_NKEY_FILE=DIR/identity-registry.nk
all processes  NATS_URL=nats://127.0.0.1:4231,nats://127.0.0.1:4232
`
	if got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
	before, err := os.ReadFile(filepath.Join(folder, "scheduler.nk"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err = run("--set", "scheduler", "--node", "a=127.0.0.1:4231:6231:0"); err != nil || strings.Contains(got, "new key") {
		t.Errorf("a second run: %v\n%s", err, got)
	}
	if after, err := os.ReadFile(filepath.Join(folder, "scheduler.nk")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a second run has changed a seed: %v", err)
	}
	for want, args := range map[string][]string{
		"--set schedular":  {"--set", "schedular"},
		"--node":           {"--node", "a=h:x"},
		"TLS takes three":  {"--tls-cert", "/etc/nats/tls.crt"},
		"unknown command ": {"something"},
	} {
		if _, err := run(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

// TestSubjectsAreInTheTable holds the table of permissions in internal/bus against the names that the packages use.
func TestSubjectsAreInTheTable(t *testing.T) {
	t.Parallel()
	if !slices.Equal(bus.Services(), app.AllServices()) {
		t.Errorf("the bus knows %v, the server runs %v", bus.Services(), app.AllServices())
	}
	publishes := func(p bus.Permissions) []string { return p.Publish }
	hears := func(p bus.Permissions) []string { return p.Subscribe }
	answers := func(p bus.Permissions) []string { return p.Serve }
	all := bus.Services()
	for _, use := range []struct {
		subject string
		way     string
		list    func(bus.Permissions) []string
		who     []string
	}{
		{presence.SubjectPresence, "publishes", publishes, all},
		{presence.SubjectPresence, "hears", hears, all},
		{presence.SubjectWanted, "publishes", publishes, all},
		{presence.SubjectWanted, "hears", hears, all},
		{presence.PingSubject("a1b2-c3"), "answers", answers, all},
		{presence.PingSubject("a1b2-c3"), "asks", publishes, all},
		{authn.SubjectRevoked, "publishes", publishes, []string{"identity"}},
		{authn.SubjectRevoked, "hears", hears, all},
		{authn.SubjectBeacon, "publishes", publishes, []string{"identity"}},
		{authn.SubjectBeacon, "hears", hears, all},
		{definition.ChangedSubject(7), "publishes", publishes, []string{"registry"}},
		{definition.ChangedSubject(7), "hears", hears, all},
		{lease.Subject(63, 123), "answers", answers, []string{"scheduler"}},
		{lease.Subject(63, 123), "asks", publishes, []string{"scheduler", "dispatcher"}},
		{dispatcher.OrderSubject("a1b2-c3"), "publishes", publishes, []string{"scheduler"}},
		{dispatcher.OrderSubject("a1b2-c3"), "hears", hears, []string{"dispatcher"}},
		{dispatcher.WorkerSubject(flow.ID{1}), "answers", answers, []string{"dispatcher"}},
		{dispatcher.WorkerSubject(flow.ID{1}), "asks", publishes, []string{"dispatcher"}},
		{scheduler.SubjectShardsFree, "publishes", publishes, []string{"scheduler"}},
		{scheduler.SubjectShardsFree, "hears", hears, []string{"scheduler"}},
		{scheduler.SubjectSessionsWanted, "publishes", publishes, []string{"scheduler"}},
		{dispatcher.SubjectSessionsWanted, "hears", hears, []string{"scheduler", "dispatcher"}},
	} {
		for _, service := range all {
			may, err := bus.PermissionsOf(service)
			if err != nil {
				t.Fatal(err)
			}
			allowed := slices.ContainsFunc(use.list(may), func(pattern string) bool { return bus.Match(pattern, use.subject) })
			if want := slices.Contains(use.who, service); allowed != want {
				t.Errorf("%s %s %s: %v, want %v", service, use.way, use.subject, allowed, want)
			}
		}
	}
}
