package pages

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestGolden(t *testing.T) {
	shell := Shell{Title: "Runs", Stylesheet: "/assets/app.css", Script: "/assets/time.js", CSRF: "token", SignedIn: true, Tenant: "acme"}
	shell.Tenants = []Choice{{"acme", "Acme"}, {"beta", "Beta & Sons"}}
	visitor := Shell{Title: "Sign in", Stylesheet: "/assets/app.css", Script: "/assets/time.js", CSRF: "token"}
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
		"sign_up":         SignUp(visitor, AccountForm{Next: "/runs"}),
		"create_tenant":   CreateTenant(shell, TenantForm{Slug: "Acme", Error: "A short name is lower case."}),
		"runs": Runs(shell, RunsView{
			Filter: filter, Next: "older", Runs: []Run{{Run: running, Now: now}, {Run: failed, Now: now, Open: true}},
		}),
		"runs_chosen":  Runs(shell, RunsView{Filter: filter.At("p2"), Chosen: []Run{{Run: failed, Now: now, Open: true}}, Runs: []Run{{Run: running, Now: now}}}),
		"runs_none":    Runs(shell, RunsView{Filter: Filter{Tenant: "acme"}, Address: "http://127.0.0.1:7070"}),
		"runs_nomatch": Runs(shell, RunsView{Filter: filter}),
		"runs_error":   Runs(shell, RunsView{Filter: filter, Error: "there is no workflow \"index\""}),
		"message":      Message(visitor, "There is no page at this address."),
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
		-time.Second: "0 ms", 0: "0 ms", 340 * time.Millisecond: "340 ms", 2400 * time.Millisecond: "2.4 s", 59960 * time.Millisecond: "59.9 s",
		time.Minute: "1 m 00 s", 192 * time.Second: "3 m 12 s", 65 * time.Minute: "1 h 05 m", 30 * time.Hour: "30 h 00 m",
	} {
		if got := duration(span); got != want {
			t.Errorf("%v reads %q, want %q", span, got, want)
		}
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
