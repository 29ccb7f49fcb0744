package command_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/authz"
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
	y.types("runs", "replay", slow)
	y.until(func(a answered) bool { return a.code == 0 }, "runs", "watch", slow)
	y.types("runs", "watch", slow)
	y.golden("steer")
}
