package command_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/cmd/tenon/command"
	"github.com/tenon-run/tenon/internal/authz"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

const nobodysRun = "run_01h455vb4pex5vsknk084sn02q"

func TestTrigger(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	y.types("runs", "trigger", "greet", "--input", "world")
	y.types("runs", "trigger", "greet", "--input", "")
	y.types("runs", "trigger", "greet", "--input", "@no-such-file.json")
	y.types("runs", "trigger", "nobody")
	y.types("runs", "trigger", "greet", "--priority", "12")
	y.types("runs", "trigger", "greet", "--run-id", "mine")
	y.types("runs", "trigger", "greet", "--wait", "--watch")
	y.types("runs", "trigger", "greet", "--workflow-version", "9")
	file := filepath.Join(t.TempDir(), "input.json")
	if err := os.WriteFile(file, []byte("\"Ada\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := y.quietly("", "runs", "trigger", "greet", "--input", "@"+file, "--wait"); a.code != 0 || a.out != "\"Hello, Ada!\"\n" {
		t.Errorf("exit %d, %s%s", a.code, a.out, a.err)
	}
	y.pipes(`"Grace"`, "runs", "trigger", "greet", "--input", "-", "--wait")
	y.types("runs", "trigger", "greet", "--input", `"world"`, "--wait")
	y.types("runs", "trigger", "order", "--input", "1", "--wait")
	y.types("runs", "trigger", "fails", "--wait")
	y.types("runs", "trigger", "expires", "--wait")
	id, err := tenon.NewRunID()
	if err != nil {
		t.Fatal(err)
	}
	y.types("runs", "trigger", "greet", "--input", `"world"`, "--run-id", id)
	y.types("runs", "trigger", "greet", "--input", `"world"`, "--run-id", id)
	y.types("runs", "trigger", "greet", "--input", `"Ada"`, "--run-id", id)
	y.types("runs", "trigger", "greet", "--input", `"world"`, "--run-id", id, "-o", "json")
	_, viewer := server.Token(t, server.Owner, authz.RoleViewer, time.Hour)
	denied := y.with("TENON_CLIENT_TOKEN", viewer)
	denied.env["TENON_CLIENT_ADDRESS"] = server.Address
	denied.types("runs", "trigger", "greet")
	y.transcript.WriteString(denied.transcript.String())
	y.golden("trigger")
}

// ended triggers a run, waits for its end and gives its id.
func (y *typist) ended(workflow, input string) string {
	y.t.Helper()
	a := y.quietly("", "runs", "trigger", workflow, "--input", input, "--wait", "-o", "json")
	id := idText.FindString(a.out)
	if id == "" {
		y.t.Fatalf("exit %d, %s%s", a.code, a.out, a.err)
	}
	return id
}

func TestRuns(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	y.types("runs", "list")
	works(t, server)
	order, fails := y.ended("order", "1"), y.ended("fails", "{}")
	y.types("runs", "list")
	y.types("runs", "list", "--status", "failed,timed_out", "--workflow", "fails", "--since", "1h")
	y.types("runs", "list", "--limit", "1")
	y.types("runs", "list", "--until", "2020-01-01")
	y.types("runs", "list", "--status", "broken")
	y.types("runs", "list", "--since", "yesterday")
	y.types("runs", "list", "--page-token", "mine")
	y.types("runs", "list", "--parent", "mine")
	y.types("runs", "get", order)
	y.types("runs", "get", fails)
	y.types("runs", "get", nobodysRun)
	y.types("runs", "get", "mine")
	y.types("runs", "get")
	y.types("runs", "attempts", fails)
	y.types("runs", "attempts", nobodysRun)
	y.golden("runs")
	// Where the worker's id and the stack of the error stand depends on the run; what a program reads is checked by name.
	a := y.quietly("", "runs", "get", order, "-o", "json")
	for _, want := range []string{`"input": 1`, `"output": 5`, `"status": "RUN_STATUS_COMPLETED"`, `"createTime": "20`} {
		if !strings.Contains(a.out, want) {
			t.Errorf("the answer lacks %s: %s", want, a.out)
		}
	}
	if a := y.quietly("", "runs", "get", order, "-o", "yaml"); !strings.Contains(a.out, "\n  input: 1\n") {
		t.Errorf("exit %d: %s", a.code, a.out)
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	y.types("runs", "trigger", "greet", "--label", "env")
	y.types("runs", "trigger", "greet", "--label", "env=prod", "--label", "env=dev")
	y.types("runs", "trigger", "greet", "--label", "for.whom?=me")
	y.types("runs", "trigger", "greet", "--label", "note="+strings.Repeat("a", 256))
	y.types("runs", "trigger", "greet", "--input", `"Ada"`, "--label", "env=prod", "--label", "customer=Acme, Inc.", "--label", "empty=", "--wait")
	y.ended("greet", `"Grace"`)
	y.types("runs", "trigger", "fails", "--label", "env=prod", "--wait")
	y.types("runs", "list", "--label", "env=prod")
	y.types("runs", "list", "--label", "customer=Acme, Inc.", "--label", "env=prod", "--label", "empty=")
	y.types("runs", "list", "--label", "env=")
	y.types("runs", "list", "--label", "prod")
	y.types("runs", "tail", "--label", "prod")
	id := idText.FindString(y.quietly("", "runs", "list", "--label", "empty=", "-o", "json").out)
	y.types("runs", "get", id)
	y.types("runs", "replay", "--label", "env=prod")
	y.types("runs", "replay", "--label", "env=prod", "--yes")
	y.golden("labels")
	if a := y.quietly("", "runs", "get", id, "-o", "json"); !strings.Contains(a.out, `"customer": "Acme, Inc."`) {
		t.Errorf("exit %d: %s", a.code, a.out)
	}
}

func TestListReadsAllPages(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	const all = 7
	for range all {
		y.ended("greet", `"world"`)
	}
	a := y.quietly("", "runs", "list", "--limit", "3", "-o", "json")
	next := regexp.MustCompile(`"nextPageToken": "([^"]+)"`).FindStringSubmatch(a.out)
	if next == nil {
		t.Fatalf("no token for the next page: %s", a.out)
	}
	rest := y.quietly("", "runs", "list", "--limit", "0", "-o", "json", "--page-token", next[1])
	seen := map[string]bool{}
	for _, id := range regexp.MustCompile(`"id": "run_\w+"`).FindAllString(a.out+rest.out, -1) {
		seen[id] = true
	}
	if len(seen) != all || strings.Contains(rest.out, "nextPageToken") {
		t.Errorf("%d runs, want %d: %s", len(seen), all, rest.out)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	greet, fails := y.ended("greet", `"world"`), y.ended("fails", "null")
	for _, id := range []string{greet, fails} {
		y.until(func(a answered) bool { return a.out != "" }, "runs", "logs", id)
	}
	y.types("runs", "logs", greet)
	y.types("runs", "logs", fails)
	y.types("runs", "logs", greet, "-o", "yaml")
	y.types("runs", "logs", greet, "--task", "other")
	y.types("runs", "logs", nobodysRun)
	y.types("runs", "logs", "mine")
	y.golden("logs")
}

// until runs a command quietly until its answer is as wanted: logs are stored a moment after the run has ended.
func (y *typist) until(wanted func(answered) bool, args ...string) {
	y.t.Helper()
	deadline := time.Now().Add(patience)
	for a := y.quietly("", args...); !wanted(a); a = y.quietly("", args...) {
		if time.Now().After(deadline) {
			y.t.Fatalf("tenon %s: exit %d\n%s%s", quoted(args), a.code, a.out, a.err)
		}
	}
}

// Runs that filters pick are counted first, and steered when that is said to be meant.
func TestSteerByFilter(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	for range 3 {
		y.ended("fails", "null")
	}
	y.types("runs", "cancel", "--workflow", "fails")
	y.types("runs", "replay", "--workflow", "fails")
	y.types("runs", "replay", "--workflow", "fails", nobodysRun)
	y.types("runs", "replay", "--status", "broken")
	y.types("runs", "replay", "--workflow", "fails", "--yes")
	y.until(func(a answered) bool { return strings.Count(a.out, "RUN_STATUS_FAILED") == 3 }, "runs", "list", "--workflow", "fails", "-o", "json")
	y.terminal = true
	y.env["NO_COLOR"] = "1"
	y.pipes("no\n", "runs", "replay", "--since", "1h")
	y.pipes("y\n", "runs", "replay", "--since", "1h", "--status", "failed")
	y.golden("steer_filter")
}

// What a run logs is shown while it runs, and the following ends with it.
func TestFollowLogs(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	gate := works(t, server)
	for name, args := range map[string][]string{"table": nil, "json": {"-o", "json"}} {
		t.Run(name, func(t *testing.T) {
			slow := strings.TrimSpace(y.quietly("", "runs", "trigger", "slow").out)
			screen := newScreen("waiting at the gate")
			code := make(chan int, 1)
			go func() {
				code <- command.Run(t.Context(), y.host(nil, screen, io.Discard), append([]string{"runs", "logs", slow, "--follow"}, args...))
			}()
			screen.wait(t)
			gate.open()
			if got := <-code; got != 0 {
				t.Errorf("exit %d", got)
			}
			text := screen.String()
			if strings.Count(text, "waiting at the gate") != 1 || strings.Count(text, "through the gate") != 1 {
				t.Errorf("lines are missing or told twice:\n%s", text)
			}
		})
	}
	greet := y.ended("greet", `"world"`)
	y.types("runs", "logs", nobodysRun, "--follow")
	y.types("runs", "logs", greet, "--follow", "--limit", "3")
	y.types("runs", "logs", greet, "--level", "loud")
	y.types("runs", "logs", greet, "--follow", "--level", "info", "--text", "GREET")
	y.types("runs", "logs", greet, "--follow", "--level", "error")
	y.golden("logs_follow")
}

// Changes of the tenant's runs are told as they come.
func TestTail(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	screen := newScreen("completed")
	ctx, interrupt := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		code <- command.Run(ctx, y.host(nil, screen, io.Discard), []string{"runs", "tail", "--workflow", "greet"})
	}()
	for done := false; !done; { // until it is being watched
		y.ended("greet", `"world"`)
		select {
		case <-screen.shown:
			done = true
		default:
		}
	}
	y.ended("order", "1")
	interrupt()
	if got := <-code; got != command.ExitInterrupted {
		t.Errorf("exit %d", got)
	}
	if text := screen.String(); !strings.Contains(text, "completed  greet  ") || strings.Contains(text, "order") {
		t.Errorf("got %s", text)
	}
	y.types("runs", "stats", "--since", "8d")
	if a := y.quietly("", "runs", "stats", "--since", "7d", "-o", "json"); a.code != 0 {
		t.Errorf("the longest window: exit %d, %s", a.code, a.err)
	}
	y.types("runs", "stats", "--since", "soon")
	y.types("workflows", "health", "nobody")
	y.types("workflows", "health", "order", "--since", "40d")
	y.types("queues")
	if _, err := developer(t, server).Registry().PutWorkflow(t.Context(), &registryv1.PutWorkflowRequest{Spec: &registryv1.WorkflowSpec{
		Name: "unserved", Tasks: []*registryv1.TaskSpec{{Name: "unserved"}},
	}}); err != nil {
		t.Fatal(err)
	}
	y.types("runs", "trigger", "unserved")
	y.types("queues")
	y.golden("tail")
	for _, want := range []string{"queued now  ", "completed  ", "since 20", "ended  "} {
		if a := y.quietly("", "runs", "stats"); a.code != 0 || !strings.Contains(a.out, want) {
			t.Errorf("exit %d, %q is missing:\n%s%s", a.code, want, a.out, a.err)
		}
	}
	if a := y.quietly("", "workflows", "health", "greet"); a.code != 0 || !strings.Contains(a.out, "Success rate  100.0%") {
		t.Errorf("exit %d\n%s%s", a.code, a.out, a.err)
	}
}

func TestCancelAndReplay(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	gate := works(t, server)
	greet := y.ended("greet", `"world"`)
	slow := strings.TrimSpace(y.quietly("", "runs", "trigger", "slow").out)
	y.until(func(a answered) bool { return strings.Contains(a.out, "RUN_STATUS_RUNNING") }, "runs", "get", slow, "-o", "json")
	y.types("runs", "cancel", greet)
	y.types("runs", "cancel", nobodysRun)
	y.types("runs", "cancel", "mine")
	y.types("runs", "cancel")
	y.types("runs", "cancel", nobodysRun, greet)
	y.types("runs", "replay", slow)
	// Whether the worker has stopped by the time of the answer is open.
	if a := y.quietly("", "runs", "cancel", slow, "--reason", "enough"); a.code != 0 || !strings.HasPrefix(a.out, "run "+slow+" is ") || !strings.Contains(a.out, "cancelled") {
		t.Errorf("exit %d: %s%s", a.code, a.out, a.err)
	}
	y.until(func(a answered) bool { return strings.Contains(a.out, "CANCELLED") }, "runs", "get", slow, "-o", "json")
	y.types("runs", "watch", slow)
	gate.open()
	y.types("runs", "replay", greet, "--task", "other")
	y.types("runs", "replay", nobodysRun)
	y.types("runs", "replay", greet, slow, "--watch")
	y.types("runs", "replay", greet, nobodysRun, slow)
	y.until(func(a answered) bool { return a.code == 0 }, "runs", "watch", slow)
	y.types("runs", "watch", slow)
	y.golden("steer")
}
