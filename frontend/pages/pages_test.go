package pages

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestGolden(t *testing.T) {
	shell := Shell{Title: "Runs", Stylesheet: "/assets/app.css", Script: "/assets/app.js", CSRF: "token", User: "ada@example.com", Tenant: "acme"}
	shell.Tenants = []Choice{{"acme", "Acme"}, {"beta", "Beta & Sons"}}
	visitor := Shell{Title: "Sign in", Stylesheet: "/assets/app.css", Script: "/assets/app.js", CSRF: "token"}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	at := func(before time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-before)) }
	failed := &runsv1.Run{
		Id: "run_01jdx5zv2nf8vr2m0k6zq0v3vw", Workflow: "index", WorkflowVersion: 2, Status: runsv1.RunStatus_RUN_STATUS_FAILED, ChildRuns: 3,
		CreateTime: at(time.Minute), StartTime: at(time.Minute), EndTime: at(30 * time.Second),
		Parent: &runsv1.ParentTask{RunId: "run_01jdx5zv2nf8vr2m0k6zq0v300", Task: "fan_out"},
		Tasks: []*runsv1.Task{
			{Name: "list", Status: runsv1.TaskStatus_TASK_STATUS_COMPLETED, Attempt: 1, StartTime: at(time.Minute), EndTime: at(59 * time.Second)},
			{
				Name: "parse", Status: runsv1.TaskStatus_TASK_STATUS_FAILED, Attempt: 3, LostAttempts: 1, StartTime: at(59 * time.Second), EndTime: at(30 * time.Second),
				Error: &runsv1.TaskError{Kind: "syntax", Message: "<b>unexpected</b> EOF", Stack: "parse.go:12"},
			},
			{
				Name: "send", Status: runsv1.TaskStatus_TASK_STATUS_BACKING_OFF, Attempt: 1, StartTime: at(9 * time.Second), RetryTime: at(-90 * time.Second),
				Error: &runsv1.TaskError{Kind: "error", Message: strings.Repeat("long ", 60)},
			},
			{Name: "merge", Status: runsv1.TaskStatus_TASK_STATUS_SKIPPED},
		},
	}
	running := &runsv1.Run{
		Id: "run_01jdx5zv2nf8vr2m0k6zq0v3vx", Workflow: "greet", WorkflowVersion: 1, Status: runsv1.RunStatus_RUN_STATUS_RUNNING,
		CreateTime: at(5 * time.Second), StartTime: at(4 * time.Second),
	}
	filter := Filter{Tenant: "acme", Workflow: "index"}
	for name, page := range map[string]templ.Component{
		"sign_in":         SignIn(visitor, AccountForm{Next: "/runs"}),
		"sign_in_refused": SignIn(visitor, AccountForm{Email: "ada@example.com", Next: "/runs?a=b&c=d", Error: "The address or the password is wrong."}),
		"sign_in_ended":   SignIn(visitor, AccountForm{Next: "/runs", Notice: "Your session has ended."}),
		"sign_up":         SignUp(visitor, AccountForm{Next: "/runs"}),
		"create_tenant":   CreateTenant(shell, TenantForm{Slug: "Acme", Error: "A short name is lower case."}),
		"runs": Runs(shell, RunsView{
			Filter: filter, Next: "older", Runs: []Run{{Run: running, Now: now}, {Run: failed, Now: now, Open: true}},
		}),
		"runs_chosen":  Runs(shell, RunsView{Filter: filter.At("p2"), Chosen: []Run{{Run: failed, Now: now, Open: true}}, Runs: []Run{{Run: running, Now: now}}}),
		"runs_none":    Runs(shell, RunsView{Filter: Filter{Tenant: "acme"}, First: FirstSteps{Tenant: "acme", Address: "http://127.0.0.1:7070"}}),
		"first_worker": FirstWorker(shell, FirstSteps{Tenant: "acme", Address: "http://127.0.0.1:7070", WorkerToken: "w.w.w", APIToken: "a.a.a"}),
		"runs_nomatch": Runs(shell, RunsView{Filter: filter}),
		"runs_error":   Runs(shell, RunsView{Filter: filter, Error: "there is no workflow \"index\""}),
		"message":      Message(visitor, "There is no page at this address."),
		"no_tenant":    Message(Shell{Title: "No such tenant", User: "ada@example.com", Tenants: shell.Tenants}, "You are not a member of a tenant called “x”."),
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := page.Render(t.Context(), &got); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("the page differs from %s (run with -update if it should):\n%s", file, diff)
			}
		})
	}
}

func TestDuration(t *testing.T) {
	for span, want := range map[time.Duration]string{
		-time.Second: "<1 ms", 0: "<1 ms", 340 * time.Millisecond: "340 ms", 2400 * time.Millisecond: "2.4 s", 59960 * time.Millisecond: "59.9 s",
		time.Minute: "1 m 00 s", 192 * time.Second: "3 m 12 s", 65 * time.Minute: "1 h 05 m", 30 * time.Hour: "30 h 00 m",
	} {
		if got := duration(span); got != want {
			t.Errorf("%v reads %q, want %q", span, got, want)
		}
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for before, want := range map[time.Duration]string{
		-time.Hour: "just now", 900 * time.Millisecond: "just now", 59 * time.Second: "59 s ago", 90 * time.Second: "1 m ago", 23 * time.Hour: "23 h ago",
		49 * time.Hour: "2 d ago", 31 * 24 * time.Hour: "2026-10-24",
	} {
		if got := ago(timestamppb.New(now.Add(-before)), now); got != want {
			t.Errorf("%v before now reads %q, want %q", before, got, want)
		}
	}
	for after, want := range map[time.Duration]string{-time.Second: "retry due", 0: "retry due", 2500 * time.Millisecond: "retry in 2 s", time.Hour: "retry in 1 h 00 m"} {
		if got := retryIn(timestamppb.New(now.Add(after)), now); got != want {
			t.Errorf("a retry %v from now reads %q, want %q", after, got, want)
		}
	}
	start := timestamppb.New(now.Add(-1500 * time.Millisecond))
	for want, end := range map[string]*timestamppb.Timestamp{"1 s": nil, "1.4 s": timestamppb.New(now.Add(-100 * time.Millisecond))} {
		if got := elapsed(start, end, now); got != want {
			t.Errorf("a task that ended at %v took %q, want %q", end, got, want)
		}
	}
}

// The first worker that a newcomer is shown is the one that the examples build and the README's test runs.
func TestFirstWorkerIsTheExample(t *testing.T) {
	example, err := os.ReadFile("../../examples/go/firstworker/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(example), "package main")
	if diff := cmp.Diff("package main"+code, firstWorker); diff != "" {
		t.Errorf("firstworker.txt differs from examples/go/firstworker/main.go (copy it from \"package main\" on):\n%s", diff)
	}
}

func TestEveryStateHasAName(t *testing.T) {
	for number, name := range runsv1.RunStatus_name {
		if got := runStatus(runsv1.RunStatus(number)); (number == 0) != (got.Label == "Unknown") {
			t.Errorf("%s reads %q", name, got.Label)
		}
	}
	for number, name := range runsv1.TaskStatus_name {
		if got := taskStatus(runsv1.TaskStatus(number)); (number == 0) != (got.Label == "Unknown") {
			t.Errorf("%s reads %q", name, got.Label)
		}
	}
	if got := taskStatus(runsv1.TaskStatus_TASK_STATUS_BACKING_OFF); got.Label != "Backing off" || got.Tone != "warn" {
		t.Errorf("a task that backs off reads %v", got)
	}
}
