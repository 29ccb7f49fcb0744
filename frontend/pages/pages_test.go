package pages

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// shellOf is the frame for a member of a role.
func shellOf(may May) Shell {
	return Shell{
		Title: "Runs", Stylesheet: "/assets/app.css", Script: "/assets/app.js", CSRF: "token", User: "ada@example.com", Tenant: "acme", Role: "owner",
		Section: "runs", May: may, Tenants: []Choice{{"acme", "Acme"}, {"beta", "Beta & Sons"}},
	}
}

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(before time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-before)) }

func failedRun() *runsv1.Run {
	return &runsv1.Run{
		Id: "run_01jdx5zv2nf8vr2m0k6zq0v3vw", Workflow: "index", WorkflowVersion: 2, Status: runsv1.RunStatus_RUN_STATUS_FAILED, ChildRuns: 3, Generation: 2, Priority: 4,
		CreateTime: at(61 * time.Second), StartTime: at(time.Minute), EndTime: at(30 * time.Second), InputJson: `{"path":"/usr","n":12345678901234567890}`,
		Parent: &runsv1.ParentTask{RunId: "run_01jdx5zv2nf8vr2m0k6zq0v300", Task: "fan_out"}, Error: &runsv1.TaskError{Kind: "syntax", Message: "<b>unexpected</b> EOF"},
		Labels: map[string]string{"env": "prod", "customer": "Acme & <Sons>", "empty": ""},
		Tasks: []*runsv1.Task{
			{Name: "list", Queue: "index", Status: runsv1.TaskStatus_TASK_STATUS_COMPLETED, Attempt: 1, QueueTime: at(61 * time.Second), StartTime: at(time.Minute), EndTime: at(59 * time.Second), OutputJson: `["a.go"]`},
			{
				Name: "parse", Queue: "index", Status: runsv1.TaskStatus_TASK_STATUS_FAILED, Attempt: 3, LostAttempts: 1, Parents: []string{"list"}, WorkerId: "wkr_01jdx5zv2nf8vr2m0k6zq0v3vz",
				QueueTime: at(59 * time.Second), StartTime: at(40 * time.Second), EndTime: at(30 * time.Second),
				Error: &runsv1.TaskError{Kind: "syntax", Message: "<b>unexpected</b> EOF", Stack: "parse.go:12"},
			},
			{
				Name: "send", Queue: "mail", Status: runsv1.TaskStatus_TASK_STATUS_BACKING_OFF, Attempt: 1, QueueTime: at(10 * time.Second), StartTime: at(9 * time.Second), RetryTime: at(-90 * time.Second),
				Error: &runsv1.TaskError{Kind: "error", Message: strings.Repeat("long ", 60)},
			},
			{Name: "merge", Status: runsv1.TaskStatus_TASK_STATUS_SKIPPED, Parents: []string{"parse", "send"}},
		},
	}
}

func runView(task string) RunView {
	return RunView{
		Run: failedRun(), Now: now, Chosen: task,
		Attempts: []*runsv1.Attempt{
			{Task: "parse", Generation: 1, Number: 1, Outcome: runsv1.AttemptOutcome_ATTEMPT_OUTCOME_LOST, StartTime: at(time.Hour), EndTime: at(59 * time.Minute)},
			{Task: "parse", Generation: 2, Number: 2, Outcome: runsv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED, StartTime: at(58 * time.Second), EndTime: at(50 * time.Second), Error: &runsv1.TaskError{Kind: "io", Message: "gone"}},
			{Task: "send", Generation: 2, Number: 1, Outcome: runsv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED, StartTime: at(9 * time.Second), EndTime: at(8 * time.Second)},
		},
		Children: []*runsv1.Run{{Id: "run_01jdx5zv2nf8vr2m0k6zq0v3aa", Workflow: "greet", Status: runsv1.RunStatus_RUN_STATUS_RUNNING}},
	}
}

func workflow() *registryv1.Workflow {
	retries := &registryv1.RetryPolicy{MaxRetries: 3}
	return &registryv1.Workflow{Name: "index", CreateTime: at(time.Hour), Version: &registryv1.WorkflowVersion{
		Number: 2, Digest: "0123456789abcdef", CreateTime: at(time.Hour),
		Spec: &registryv1.WorkflowSpec{
			Name: "index", Description: "Reads a tree.\nSlowly.", InputSchemaJson: `{"type":"object"}`, RunTimeout: durationpb.New(time.Hour),
			Tasks: []*registryv1.TaskSpec{{Name: "list", Retry: retries}, {Name: "parse", Parents: []string{"list"}, Queue: "big", ExecutionTimeout: durationpb.New(time.Minute)}},
		},
	}}
}

func worker() *workersv1.Worker {
	return &workersv1.Worker{
		Id: "wkr_01jdx5zv2nf8vr2m0k6zq0v3vz", Name: "mailer", Status: workersv1.WorkerStatus_WORKER_STATUS_PAUSED, Slots: 10, SlotsUsed: 4, Assignments: 4, ActionCount: 2,
		Actions: []string{"index/list", "index/parse"}, Queues: []string{"index"}, Runtime: &workersv1.Runtime{Language: "go", LanguageVersion: "1.26", SdkVersion: "0.1", Host: "a.example", Pid: 7},
		RegisterTime: at(time.Hour), SessionTime: at(time.Minute),
	}
}

func stats() *runsv1.GetRunStatsResponse {
	out := &runsv1.GetRunStatsResponse{Queued: 2, Running: 1500, OpenLowerBound: true, Ended: &runsv1.RunCounts{Completed: 1234567, Failed: 8, Cancelled: 1}}
	for i := range int64(4) {
		out.Points = append(out.Points, &runsv1.RunStatsPoint{Time: at(time.Hour), Ended: &runsv1.RunCounts{Completed: 10 * i, TimedOut: i % 2}})
	}
	return out
}

func goldenPages() map[string]templ.Component {
	shell, viewer := shellOf(May{true, true, true, true, true}), shellOf(May{})
	viewer.Role, viewer.Theme, viewer.Said = "viewer", "dark", "Done <it>."
	visitor := Shell{Title: "Sign in", Stylesheet: "/assets/app.css", Script: "/assets/app.js", CSRF: "token"}
	running := &runsv1.Run{
		Id: "run_01jdx5zv2nf8vr2m0k6zq0v3vx", Workflow: "greet", WorkflowVersion: 1, Status: runsv1.RunStatus_RUN_STATUS_RUNNING,
		CreateTime: at(5 * time.Second), StartTime: at(4 * time.Second),
	}
	filter := Filter{Workflow: "index", Range: "24h"}
	list := RunsView{Filter: filter, Now: now, Next: "older", Workflows: []string{"greet"}, Stats: stats(), Runs: []*runsv1.Run{running, failedRun()}}
	first := FirstSteps{Address: "http://127.0.0.1:7070"}
	older := list
	older.Filter = filter.At("p2")
	token := &identityv1.Token{Id: "tok_a", Name: "billing", Kind: identityv1.TokenKind_TOKEN_KIND_API, Role: identityv1.Role_ROLE_DEVELOPER, Scopes: []string{"run:read"}, CreateTime: at(time.Hour), ExpireTime: at(-time.Hour)}
	user := &identityv1.User{Id: "usr_a", Email: "bo@example.com", DisplayName: "Bo"}
	tenant := &identityv1.Tenant{Slug: "acme", DisplayName: "Acme & <Co>", CreateTime: at(time.Hour)}
	before := workflow().GetVersion()
	before.Number, before.Spec.RunTimeout = 1, nil
	return map[string]templ.Component{
		"sign_in":         SignIn(visitor, AccountForm{Next: "/"}),
		"sign_in_refused": SignIn(visitor, AccountForm{Email: "ada@example.com", Next: "/t/acme/runs?a=b&c=d", Error: "The address or the password is wrong."}),
		"sign_in_ended":   SignIn(visitor, AccountForm{Next: "/", Notice: "Your session has ended."}),
		"sign_up":         SignUp(visitor, AccountForm{Next: "/"}),
		"create_tenant":   CreateTenant(shell, TenantForm{Slug: "Acme", Error: "A short name is lower case."}),
		"overview":        Overview(shell, OverviewView{Stats: stats(), Now: now, Open: []*runsv1.Run{running}, Failed: []*runsv1.Run{failedRun()}, Queues: []*runsv1.Queue{{Name: "mail", Waiting: 3, OldestRunId: running.GetId(), OldestWorkflow: "greet", OldestTask: "send", OldestQueueTime: at(time.Minute)}}}),
		"overview_quiet":  Overview(viewer, OverviewView{Stats: &runsv1.GetRunStatsResponse{}, Now: now}),
		"overview_fresh":  Overview(shell, OverviewView{Fresh: true, First: first, Now: now}),
		"runs":            Runs(shell, list),
		"runs_viewer":     Runs(viewer, list),
		"runs_older":      Runs(shell, older),
		"runs_none":       Runs(shell, RunsView{First: first, Now: now}),
		"runs_nomatch":    Runs(shell, RunsView{Filter: filter, Now: now}),
		"runs_labels":     Runs(shell, RunsView{Filter: Filter{Status: "failed", Labels: []string{"env=prod", "customer=Acme & <Sons>"}}, Now: now, Next: "older", Runs: []*runsv1.Run{failedRun()}}),
		"runs_further":    Runs(shell, RunsView{Filter: Labelled("env=prod").At("p2"), Now: now, Next: "older"}),
		"runs_error":      Runs(shell, RunsView{Filter: filter, Error: "there is no workflow \"index\"", Now: now}),
		"run":             Run(shell, runView("")),
		"run_task":        Run(viewer, runView("parse")),
		"panel_retry":     RunPanel(shell, runView("send")),
		"panel_unknown":   RunPanel(shell, runView("none")),
		"logs":            LogLines([]*runsv1.LogLine{{Id: "a", Task: "parse", Time: at(50 * time.Second), Level: runsv1.LogLevel_LOG_LEVEL_WARN, Message: "slow <disk>", FieldsJson: `{"ms":900}`}}, true),
		"workers":         Workers(shell, WorkersView{Workers: []*workersv1.Worker{worker(), {Id: "wkr_b", Name: "old", LastSeenTime: at(time.Hour)}}, Attached: 1, Slots: 10, Used: 4, Now: now, Next: "more"}),
		"worker":          Worker(shell, WorkerView{Worker: worker(), Tasks: []*workersv1.WorkerTask{{RunId: "run_a", Workflow: "index", Task: "parse", Attempt: 2, StartTime: at(time.Minute)}}, Now: now}),
		"worker_drain":    InDialog(DrainWorker(shell, WorkerView{Worker: worker(), Now: now})),
		"run_cancel":      InDialog(CancelRun(shell, runView(""), "")),
		"run_replay":      OnPage(shell, ReplayRun(shell, runView(""), "the run has not ended")),
		"trigger":         OnPage(shell, Trigger(shell, TriggerForm{Workflow: workflow(), Fields: Fields(orderSchema), Priority: "9", Labels: "env=prod\nnote=<b>", Error: "no"})),
		"trigger_raw":     InDialog(Trigger(shell, TriggerForm{Workflow: workflow(), Input: `{"a": "<"}`})),
		"trigger_choose":  InDialog(Trigger(shell, TriggerForm{Workflows: []*registryv1.Workflow{workflow()}})),
		"palette":         PaletteItems(shell, []*registryv1.Workflow{workflow()}),
		"workflows":       Workflows(shell, WorkflowsView{Workflows: []*registryv1.Workflow{workflow()}, Health: map[string]*runsv1.GetWorkflowHealthResponse{workflow().GetName(): {Ended: &runsv1.RunCounts{Completed: 199, Failed: 1}, Sampled: true, SuccessRate: new(0.995), RunP50: durationpb.New(time.Second), RunP95: durationpb.New(time.Minute)}}, Now: now, Next: "more"}),
		"workflows_none":  Workflows(viewer, WorkflowsView{First: first, Now: now}),
		"workflow":        Workflow(shell, WorkflowView{Workflow: workflow(), Versions: []*registryv1.WorkflowVersion{workflow().GetVersion(), before}, Before: before, Health: &runsv1.GetWorkflowHealthResponse{Ended: &runsv1.RunCounts{Completed: 2999, Failed: 1}, SuccessRate: new(0.9996), RunP50: durationpb.New(time.Second)}, Recent: []*runsv1.Run{running}, Now: now}),
		"tokens":          Tokens(shell, TokensView{Tokens: []*identityv1.Token{token, {Id: "tok_b", Name: "old", Kind: identityv1.TokenKind_TOKEN_KIND_WORKER, CreateTime: at(time.Hour), RevokeTime: at(time.Minute), ExpireTime: at(-time.Hour)}}, Now: now, Next: "more"}),
		"tokens_none":     Tokens(shell, TokensView{Now: now}),
		"token_new":       InDialog(NewTokenForm(shell, TokenForm{Kind: "api", Role: "viewer", Days: "7", Error: "no"})),
		"token_made":      TokenMade(shell, NewToken{Token: token, Secret: "s.s.s", Address: "http://127.0.0.1:7070"}),
		"token_revoke":    InDialog(RevokeToken(shell, token, "")),
		"members":         Members(shell, MembersView{Members: []*identityv1.Member{{User: user, Role: identityv1.Role_ROLE_ADMIN, CreateTime: at(time.Hour)}}, Now: now, Invitations: []*identityv1.Invitation{{Id: "inv_a", Role: identityv1.Role_ROLE_VIEWER, CreateTime: at(time.Hour), ExpireTime: at(-time.Hour)}, {Id: "inv_b", AcceptTime: at(time.Minute), CreateTime: at(time.Hour), ExpireTime: at(-time.Hour)}}}),
		"invitation_new":  InDialog(NewInvitation(shell, MemberForm{Role: "viewer"})),
		"invitation_made": InvitationMade(shell, &identityv1.Invitation{Role: identityv1.Role_ROLE_VIEWER, ExpireTime: at(-time.Hour)}, "http://127.0.0.1:7070/join/x", now),
		"join":            Join(visitor, &identityv1.Tenant{DisplayName: "Beta & Sons"}, &identityv1.Invitation{Role: identityv1.Role_ROLE_VIEWER}, "/join/x"),
		"join_stranger":   Join(Shell{Title: "Join"}, &identityv1.Tenant{DisplayName: "Beta & Sons"}, &identityv1.Invitation{Role: identityv1.Role_ROLE_VIEWER}, "/join/x"),
		"member_new":      InDialog(NewMember(shell, MemberForm{Email: "x@y.z", Role: "viewer", Error: "nobody has signed up with this address"})),
		"member_remove":   InDialog(RemoveMember(shell, &identityv1.Member{User: user})),
		"sessions":        Sessions(shell, SessionsView{Now: now, Sessions: []*identityv1.Session{{Id: "ses_a", Current: true, CreateTime: at(time.Hour), LastUseTime: at(0), ExpireTime: at(-time.Hour), Address: "192.0.2.1", UserAgent: "Mozilla/5.0 (X11; Linux x86_64) Chrome/150 Safari/537"}, {Id: "ses_b", UserAgent: "curl/8", CreateTime: at(time.Hour), LastUseTime: at(0), ExpireTime: at(-time.Hour)}}}),
		"overview_try":    Overview(shell, OverviewView{Fresh: true, Try: FirstRun{Worker: worker(), Workflows: []string{"bill", "greet"}}, Now: now}),
		"first_worker":    FirstWorker(shell, FirstSteps{Address: "http://127.0.0.1:7070", Checkout: "/home/ada's/tenon", WorkerToken: "w.w.w", APIToken: "a.a.a"}, FirstRun{}),
		"first_run":       FirstRunBody(viewer, FirstRun{Worker: worker(), Workflows: []string{"bill"}, Run: running}),
		"settings":        Settings(shell, SettingsView{Tenant: tenant, Name: "Acme & <Co>", Now: now}),
		"settings_denied": Settings(viewer, SettingsView{Tenant: tenant, Name: "Acme & <Co>", Now: now}),
		"settings_error":  Settings(shell, SettingsView{Tenant: tenant, Error: "display_name must have at least 1 character", Now: now}),
		"message":         Message(visitor, "There is no page at this address."),
		"no_tenant":       Message(Shell{Title: "No such tenant", User: "ada@example.com", Tenants: shell.Tenants}, "You are not a member of a tenant called “x”."),
	}
}

func TestGolden(t *testing.T) {
	for name, page := range goldenPages() {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := page.Render(t.Context(), &got); err != nil {
				t.Fatal(err)
			}
			// A tag a line: what differs is then seen.
			text := strings.ReplaceAll(got.String(), "><", ">\n<")
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("the page differs from %s (run with -update if it should):\n%s", file, diff)
			}
		})
	}
}

// No page sets a style or runs a script of its own: the content security policy would stop both.
func TestPagesKeepTheirPolicy(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<[^>]* (style|on[a-z]+)=|<style|<script(?:>| [^>]*>[^<])|javascript:`)
	for name, page := range goldenPages() {
		var got bytes.Buffer
		if err := page.Render(t.Context(), &got); err != nil {
			t.Fatal(err)
		}
		if found := inline.FindString(got.String()); found != "" {
			t.Errorf("%s has %q", name, found)
		}
	}
}

// A timeline tells waiting, earlier attempts and running apart, to scale.
func TestTimeline(t *testing.T) {
	v := runView("")
	v.Run.EndTime = at(0)
	got := map[string][]string{}
	for _, l := range v.timeline() {
		for _, s := range l.spans {
			got[l.task.GetName()] = append(got[l.task.GetName()], fmt.Sprintf("%s %d-%d %.0f+%.0f", s.kind, s.from, s.to, s.x, s.width))
		}
	}
	want := map[string][]string{
		"list":  {"wait 0-1000 0+16", "ok 1000-2000 16+16"},
		"parse": {"bad 3000-11000 49+131", "wait 11000-21000 180+164", "bad 21000-31000 344+164"},
		"send":  {"wait 51000-52000 836+16", "bad 52000-53000 852+16", "wait 53000-61000 869+131"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
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
	for after, want := range map[time.Duration]string{-time.Second: "now", 0: "now", 2500 * time.Millisecond: "in 2 s", time.Hour: "in 1 h 00 m", 90 * 24 * time.Hour: "in 90 d"} {
		if got := inTime(timestamppb.New(now.Add(after)), now); got != want {
			t.Errorf("%v from now reads %q, want %q", after, got, want)
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
