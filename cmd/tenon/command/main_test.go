package command_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/tenon-run/tenon/cmd/tenon/command"
	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var update = flag.Bool("update", false, "write the golden files and docs/cli.md")

// patience bounds every wait for something to come true.
const patience = 30 * time.Second

// typist is somebody at a terminal, or a script: an environment with a folder for profiles, and a transcript of what was typed and answered.
type typist struct {
	t          *testing.T
	env        map[string]string
	transcript strings.Builder
	seen       map[string]string // ids as they stand in the transcript
	// terminal makes the streams terminals; secrets are what is typed without echo there.
	terminal bool
	secrets  []string
}

func newTypist(t *testing.T) *typist {
	t.Helper()
	return &typist{t: t, env: map[string]string{"TENON_CONFIG_DIR": filepath.Join(t.TempDir(), "config")}, seen: map[string]string{}}
}

// with is a typist who shares the folder, under another environment.
func (y *typist) with(key, value string) *typist {
	env := maps.Clone(y.env)
	env[key] = value
	return &typist{t: y.t, env: env, seen: y.seen}
}

// answered is what came of a command.
type answered struct {
	out, err string
	code     int
}

func (y *typist) host(in io.Reader, out, err io.Writer) command.Host {
	h := command.Host{
		In: in, Out: out, Err: err, Getenv: func(key string) string { return y.env[key] }, Now: time.Now, Zone: time.UTC,
		OutTerminal: y.terminal, ErrTerminal: y.terminal, Size: func() (int, int) { return 100, 40 },
	}
	if y.terminal {
		h.Secret = func(context.Context) (string, error) {
			secret := y.secrets[0]
			y.secrets = y.secrets[1:]
			return secret, nil
		}
	}
	return h
}

// quietly runs a command that does not get into the transcript.
func (y *typist) quietly(stdin string, args ...string) answered {
	y.t.Helper()
	var out, err bytes.Buffer
	ctx, cancel := context.WithTimeout(y.t.Context(), patience)
	defer cancel()
	code := command.Run(ctx, y.host(strings.NewReader(stdin), &out, &err), args)
	return answered{out.String(), err.String(), code}
}

// types runs a command and writes it down.
func (y *typist) types(args ...string) answered {
	y.t.Helper()
	return y.pipes("", args...)
}

// pipes is types with something on standard input.
func (y *typist) pipes(stdin string, args ...string) answered {
	y.t.Helper()
	a := y.quietly(stdin, args...)
	y.transcript.WriteString("$ tenon " + quoted(args) + "\n" + a.out)
	for line := range strings.Lines(a.err) {
		y.transcript.WriteString("! " + line)
	}
	if a.code != 0 {
		fmt.Fprintf(&y.transcript, "exit %d\n", a.code)
	}
	y.transcript.WriteString("\n")
	return a
}

func quoted(args []string) string {
	out := make([]string, len(args))
	for i, arg := range args {
		if out[i] = arg; strings.ContainsAny(arg, " '\"{}\n") || arg == "" {
			out[i] = "'" + arg + "'"
		}
	}
	return strings.Join(out, " ")
}

var (
	idText     = regexp.MustCompile(`\b(run|usr|tnt|tok|wfl|wkr|ses|inv)_[0-9a-z]{26}\b`)
	inviteText = regexp.MustCompile(`\btnt_[0-9a-z]{26}\.inv_[0-9a-z]{26}\.[\w-]{43}`)
	jwtText    = regexp.MustCompile(`\beyJ[\w-]+\.[\w-]+\.[\w-]+`)
	wireTime   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	tableTime  = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	clockTime  = regexp.MustCompile(`\b\d\d:\d\d:\d\d\.\d{3}\b`)
	tookTime   = regexp.MustCompile(`\b\d+(\.\d+)?m?s\b( *)`)
	tookHead   = regexp.MustCompile(`\b(WAITED|TOOK) +`)
	port       = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	goText     = regexp.MustCompile(`go1\.\S+ \w+/\w+`)
	lineText   = regexp.MustCompile(`\bid: [\w-]{22}-\d+`)
	revision   = regexp.MustCompile(` \([0-9a-f]{40}\)`)
)

// settled replaces what differs from run to run by something of the same length, so that columns stay where they are. Durations are of any length:
// what follows them is two blanks away.
func (y *typist) settled(text string) string {
	text = inviteText.ReplaceAllString(text, "INVITATION-TOKEN")
	text = idText.ReplaceAllStringFunc(text, func(id string) string {
		if y.seen[id] == "" {
			y.seen[id] = fmt.Sprintf("%s%026d", id[:4], len(y.seen)+1)
		}
		return y.seen[id]
	})
	text = lineText.ReplaceAllString(text, "id: LINE")
	text = jwtText.ReplaceAllString(text, "eyJ...")
	text = wireTime.ReplaceAllString(text, "2026-01-02T03:04:05Z")
	text = tableTime.ReplaceAllString(text, "2026-01-02 03:04:05")
	text = clockTime.ReplaceAllString(text, "03:04:05.000")
	text = tookHead.ReplaceAllString(text, "$1  ")
	text = tookTime.ReplaceAllStringFunc(text, func(took string) string {
		if strings.HasSuffix(took, "  ") {
			return "7ms  "
		}
		return "7ms" + strings.TrimLeft(took, "0123456789.ms")
	})
	text = port.ReplaceAllString(text, "127.0.0.1:12345")
	text = revision.ReplaceAllString(goText.ReplaceAllString(text, "go1.26 linux/amd64"), "")
	return strings.ReplaceAll(text, y.env["TENON_CONFIG_DIR"], "CONFIG")
}

// golden compares the transcript with the file of that name.
func (y *typist) golden(name string) {
	y.t.Helper()
	compare(y.t, filepath.Join("testdata", name+".golden"), y.settled(y.transcript.String()))
}

func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what it was; if that is right, run go test with -update (-was +is):\n%s", path, diff)
	}
}

// signedIn is a server with its owner signed in.
func signedIn(t *testing.T) (*apptest.Server, *typist) {
	t.Helper()
	server := apptest.Start(t)
	y := newTypist(t)
	if a := y.quietly(server.Password, "login", server.Address, "--email", apptest.Email("acme")); a.code != 0 {
		t.Fatalf("sign in: exit %d, %s", a.code, a.err)
	}
	return server, y
}

// gate is a task that waits until it is opened.
type gate struct {
	opened chan struct{}
	once   sync.Once
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// works runs a worker that serves what the tests trigger, and gives the gate that the workflow "slow" waits at.
func works(t *testing.T, server *apptest.Server) *gate {
	t.Helper()
	g := &gate{opened: make(chan struct{})}
	greet := tenon.NewTask("greet", func(ctx tenon.Context, name string) (string, error) {
		ctx.Logger().Info("greeting", "name", name)
		return "Hello, " + name + "!", nil
	}, tenon.WithRetries(3))
	order := tenon.NewWorkflow[int, int]("order", tenon.WithDescription("An order from payment to parcel"))
	add := func(more int) func(tenon.Context, int) (int, error) {
		return func(_ tenon.Context, n int) (int, error) { return n + more, nil }
	}
	reserve := tenon.AddTask(order, "reserve", add(1))
	charge := tenon.AddTask(order, "charge", add(2), tenon.WithParents(reserve), tenon.WithRetries(2))
	pack := tenon.AddTask(order, "pack", add(3), tenon.WithParents(reserve))
	tenon.AddTask(order, "ship", add(4), tenon.WithParents(charge, pack))
	fails := tenon.NewTask("fails", func(ctx tenon.Context, _ any) (any, error) {
		ctx.Logger().Error("no card on file", "customer", 17)
		return nil, tenon.Errorf("declined", "the card was declined")
	})
	slow := tenon.NewTask("slow", func(ctx tenon.Context, _ any) (string, error) {
		ctx.Logger().Info("waiting at the gate")
		select {
		case <-g.opened:
			ctx.Logger().Info("through the gate")
			return "at last", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	})
	expires := tenon.NewTask("expires", func(ctx tenon.Context, _ any) (any, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}, tenon.WithExecutionTimeout(50*time.Millisecond))
	_, secret := server.Token(t, server.Owner, "", time.Hour)
	client, err := tenon.NewClient(tenon.WithAddress(server.Address), tenon.WithToken(secret), tenon.WithLogger(testkit.Logger(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	worker, err := client.NewWorker(tenon.WithWorkflows(greet, order, fails, slow, expires), tenon.WithSlots(10))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(g.open)
	// The workflows are declared one by one: the last says that all are.
	_, developer := server.Token(t, server.Owner, authz.RoleDeveloper, time.Hour)
	reader, err := tenon.NewClient(tenon.WithAddress(server.Address), tenon.WithToken(developer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	deadline := time.Now().Add(patience)
	for {
		known, err := 0, error(nil)
		for _, name := range []string{"greet", "order", "fails", "slow", "expires"} {
			if _, err = reader.Registry().GetWorkflow(t.Context(), getWorkflow(name)); err == nil {
				known++
			} else if connect.CodeOf(err) != connect.CodeNotFound {
				t.Fatal(err)
			}
		}
		if known == 5 {
			return g
		}
		if time.Now().After(deadline) {
			t.Fatalf("the worker has not declared its workflows: %v", err)
		}
	}
}
