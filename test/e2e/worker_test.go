package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func client(t *testing.T, server *apptest.Server, role string) *tenon.Client {
	t.Helper()
	_, token := server.Token(t, server.Owner, role, time.Hour)
	c, err := tenon.NewClient(tenon.WithAddress(server.Address), tenon.WithToken(token), tenon.WithLogger(testkit.Logger(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// work runs a worker until the test ends.
func work(t *testing.T, c *tenon.Client, opts ...tenon.WorkerOption) {
	t.Helper()
	worker, err := c.NewWorker(opts...)
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
}

// untilKnown calls until the worker has declared its workflow.
func untilKnown[T any](t *testing.T, call func() (T, error)) T {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, err := call()
		if err == nil {
			return out
		}
		if connect.CodeOf(err) != connect.CodeNotFound || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A worker with a single slot finishes a parent and the children that it awaits: the parent gives its slot back meanwhile.
func TestOneSlotFinishesParentAndChildren(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	double := tenon.NewTask("double", func(_ tenon.Context, n int) (int, error) { return 2 * n, nil })
	sum := tenon.NewTask("sum", func(ctx tenon.Context, n int) (int, error) {
		children := make([]tenon.Child[int], n)
		for i := range children {
			children[i] = tenon.Child[int]{Key: fmt.Sprint(i), Input: i}
		}
		doubled, err := tenon.Children(ctx, double, children)
		total := 0
		for _, d := range doubled {
			total += d
		}
		return total, err
	})
	work(t, client(t, server, ""), tenon.WithSlots(1), tenon.WithWorkflows(double, sum))
	c := client(t, server, authz.RoleDeveloper)
	run := untilKnown(t, func() (*tenon.Run[int], error) { return sum.Trigger(t.Context(), c, 50) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := run.Result(ctx)
	if err != nil || got != 50*49 {
		t.Errorf("the sum is %d, want %d: %v", got, 50*49, err)
	}
}

// A worker's token starts nothing but children of what its worker is running.
func TestWorkerTokenTriggersOnlyChildren(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	free := tenon.NewTask("free", func(_ tenon.Context, n int) (int, error) { return n, nil })
	c := client(t, server, "")
	work(t, c, tenon.WithWorkflows(free))
	untilKnown(t, func() (*tenon.Run[int], error) {
		return free.Trigger(t.Context(), client(t, server, authz.RoleDeveloper), 1)
	})
	_, err := c.Runs().Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "free", InputJson: "1"}})
	if connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("a trigger without a parent: %v", err)
	}
	forged := &runsv1.ParentAssignment{RunId: "run_01h455vb4pex5vsknk084sn02q", Task: "free", AssignmentId: make([]byte, 16), ChildKey: "k"}
	_, err = c.Runs().Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "free", InputJson: "1", Parent: forged}})
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a trigger with a forged parent: %v", err)
	}
}

// The README's first worker, in an empty module outside the checkout, runs its task.
func TestReadmesFirstWorker(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(package main.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("the README has no first worker")
	}
	const most = 30
	if lines := bytes.Count(block[1], []byte("\n")); lines >= most {
		t.Errorf("the first worker has %d lines, it should have fewer than %d", lines, most)
	}
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), block[1], 0o600); err != nil {
		t.Fatal(err)
	}
	module := "github.com/tenon-run/tenon/"
	for _, args := range [][]string{
		{"mod", "init", "example.com/hello"},
		{"mod", "edit", "-require", module + "sdk/go@v0.0.0", "-replace", module + "sdk/go=" + checkout + "/sdk/go"},
		{"mod", "edit", "-require", module + "proto@v0.0.0", "-replace", module + "proto=" + checkout + "/proto"},
		{"mod", "tidy"},
		{"build", "-o", "hello", "."},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...) //nolint:gosec // the README's own lines
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	server := apptest.Start(t)
	_, token := server.Token(t, server.Owner, "", time.Hour)
	var log bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(dir, "hello")) //nolint:gosec // just built
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return len(v) > 6 && v[:6] == "TENON_" }), "TENON_CLIENT_TOKEN="+token)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the worker ended with %v\n%s", err, log.String())
		}
	})
	greet := tenon.NewTask("greet", func(tenon.Context, string) (string, error) { return "", nil })
	c := client(t, server, authz.RoleDeveloper)
	run := untilKnown(t, func() (*tenon.Run[string], error) { return greet.Trigger(t.Context(), c, "world") })
	got, err := run.Result(t.Context())
	if err != nil || got != "Hello, world!" {
		t.Errorf("the first worker says %q: %v", got, err)
	}
}
