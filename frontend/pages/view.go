package pages

import (
	_ "embed" // firstworker.txt
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"google.golang.org/protobuf/types/known/timestamppb"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Shell is the frame around every page.
type Shell struct {
	Title string
	// Stylesheet and Script are the addresses of the assets.
	Stylesheet, Script string
	// CSRF is the token that every form of the page sends along.
	CSRF string
	// User is the address of who is signed in; empty when nobody is.
	User string
	// Tenants are the user's tenants by slug, Tenant the slug of the one shown.
	Tenants []Choice
	Tenant  string
}

// Choice is an option of a select.
type Choice struct{ Value, Label string }

// AccountForm is what sign-in and sign-up show again after a refusal. It never holds the password.
// Notice says why the form is shown, when it was not asked for.
type AccountForm struct{ Email, Name, Next, Notice, Error string }

// TenantForm is what a new tenant's form shows again after a refusal.
type TenantForm struct{ Slug, Name, Error string }

// RunsView is the list of runs.
type RunsView struct {
	Filter Filter
	Runs   []Run
	// Chosen holds the run asked for when it is not on this page of the list.
	Chosen []Run
	// Next is the token of the page with older runs; empty on the last.
	Next  string
	Error string
	// First is shown when there is no run yet.
	First FirstSteps
}

// FirstSteps leads a tenant to its first run.
type FirstSteps struct {
	// Tenant is its slug.
	Tenant string
	// Address is the API's address as the viewer reaches it.
	Address string
	// WorkerToken and APIToken have just been made; empty leaves a gap for the viewer to fill.
	WorkerToken, APIToken string
}

// Filter is the part of the list that an address names.
type Filter struct{ Tenant, Status, Workflow, Parent, Page string }

// IsZero reports whether all runs are shown from the newest on.
func (f Filter) IsZero() bool {
	return f.Status == "" && f.Workflow == "" && f.Parent == "" && f.Page == ""
}

// At is the same filter on another page.
func (f Filter) At(page string) Filter {
	f.Page = page
	return f
}

// Link is the address of the list with this filter; run, if any, is the one whose tasks are shown.
func (f Filter) Link(run string) templ.SafeURL {
	query := url.Values{}
	for name, value := range map[string]string{
		"tenant": f.Tenant, "status": f.Status, "workflow": f.Workflow, "parent": f.Parent, "page_token": f.Page, "run": run,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	link := url.URL{Path: "/runs", RawQuery: query.Encode()}
	return templ.SafeURL(link.String())
}

// Run is a run in the list at the instant Now.
type Run struct {
	Run *runsv1.Run
	Now time.Time
	// Open shows the tasks below the run.
	Open bool
}

// Toggle is the address that opens the run's tasks, or closes them, and keeps the viewer where they are.
func (r Run) Toggle(f Filter) templ.SafeURL {
	id := r.Run.GetId()
	if r.Open {
		return f.Link("") + templ.SafeURL("#"+url.PathEscape(id))
	}
	return f.Link(id) + templ.SafeURL("#"+url.PathEscape(id))
}

// Status is a state as a viewer reads it. Tone chooses the colour, which never stands alone: ok, bad, warn, busy or idle.
type Status struct{ Label, Tone string }

var runStatuses = []struct {
	status runsv1.RunStatus
	value  string
	Status
}{
	{runsv1.RunStatus_RUN_STATUS_QUEUED, "queued", Status{"Queued", "idle"}},
	{runsv1.RunStatus_RUN_STATUS_RUNNING, "running", Status{"Running", "busy"}},
	{runsv1.RunStatus_RUN_STATUS_COMPLETED, "completed", Status{"Completed", "ok"}},
	{runsv1.RunStatus_RUN_STATUS_FAILED, "failed", Status{"Failed", "bad"}},
	{runsv1.RunStatus_RUN_STATUS_CANCELLED, "cancelled", Status{"Cancelled", "warn"}},
	{runsv1.RunStatus_RUN_STATUS_TIMED_OUT, "timed_out", Status{"Timed out", "bad"}},
}

// ParseRunStatus reads a state as addresses name it ("timed_out").
func ParseRunStatus(value string) (runsv1.RunStatus, bool) {
	for _, known := range runStatuses {
		if known.value == value {
			return known.status, true
		}
	}
	return 0, false
}

func statusChoices() []Choice {
	choices := []Choice{{"", "All"}}
	for _, known := range runStatuses {
		choices = append(choices, Choice{known.value, known.Label})
	}
	return choices
}

func runStatus(s runsv1.RunStatus) Status {
	for _, known := range runStatuses {
		if known.status == s {
			return known.Status
		}
	}
	return Status{"Unknown", "idle"}
}

func taskStatus(s runsv1.TaskStatus) Status {
	tone := "idle"
	switch s {
	case runsv1.TaskStatus_TASK_STATUS_COMPLETED:
		tone = "ok"
	case runsv1.TaskStatus_TASK_STATUS_FAILED, runsv1.TaskStatus_TASK_STATUS_TIMED_OUT:
		tone = "bad"
	case runsv1.TaskStatus_TASK_STATUS_CANCELLED, runsv1.TaskStatus_TASK_STATUS_BACKING_OFF, runsv1.TaskStatus_TASK_STATUS_STOPPING:
		tone = "warn"
	case runsv1.TaskStatus_TASK_STATUS_ASSIGNED, runsv1.TaskStatus_TASK_STATUS_RUNNING, runsv1.TaskStatus_TASK_STATUS_WAITING:
		tone = "busy"
	default:
	}
	name, known := strings.CutPrefix(s.String(), "TASK_STATUS_")
	if !known || s == runsv1.TaskStatus_TASK_STATUS_UNSPECIFIED {
		return Status{"Unknown", tone}
	}
	return Status{name[:1] + strings.ToLower(strings.ReplaceAll(name[1:], "_", " ")), tone}
}

// unit is the word after a number: "run" or "runs".
func unit(n int32, one string) string {
	if n == 1 {
		return one
	}
	return one + "s"
}

// attempts counts what a task has used: "2", or "2 + 1 lost" when workers were lost.
func attempts(t *runsv1.Task) string {
	text := strconv.Itoa(int(t.GetAttempt()))
	if lost := t.GetLostAttempts(); lost > 0 {
		text += fmt.Sprintf(" + %d lost", lost)
	}
	return text
}

func clock(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.DateTime) }

func instant(t *timestamppb.Timestamp) string {
	return t.AsTime().UTC().Format("2006-01-02T15:04:05.000Z")
}

// ago says how long before now an instant was, in its largest unit; beyond 30 days its date.
func ago(t *timestamppb.Timestamp, now time.Time) string {
	const day = 24 * time.Hour
	switch d := now.Sub(t.AsTime()); {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d m ago", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	case d < 30*day: //nolint:mnd // said above
		return fmt.Sprintf("%d d ago", d/day)
	default:
		return t.AsTime().UTC().Format(time.DateOnly)
	}
}

// retryIn says when a task that backs off is queued again.
func retryIn(t *timestamppb.Timestamp, now time.Time) string {
	if d := t.AsTime().Sub(now); d >= time.Second {
		return "retry in " + duration(d.Truncate(time.Second))
	}
	return "retry due"
}

// firstWords cuts a message that would fill the table.
func firstWords(message string) string {
	const most = 200 // characters
	if runes := []rune(message); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return message
}

// wholeError is what firstWords leaves out of an error, and its stack; empty when nothing is left out.
func wholeError(err *runsv1.TaskError) string {
	message := err.GetMessage()
	if firstWords(message) == message {
		return err.GetStack()
	}
	return strings.TrimSpace(message + "\n\n" + err.GetStack())
}

// elapsed is the time from start to end, or to now while there is no end; a dash before the start.
func elapsed(start, end *timestamppb.Timestamp, now time.Time) string {
	if start == nil {
		return "–"
	}
	if end != nil {
		return duration(end.AsTime().Sub(start.AsTime()))
	}
	// What still runs is seen every other second: tenths of it would only flicker, and so would zero.
	return duration(max(now.Sub(start.AsTime()).Truncate(time.Second), time.Second))
}

// duration writes a span in its two largest units. The clocks of server and database may differ: below zero is zero.
func duration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute && d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Minute:
		// Cut, not rounded: 59.96 s must not read 60.0 s.
		return fmt.Sprintf("%.1f s", d.Truncate(time.Second/10).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d m %02d s", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%d h %02d m", d/time.Hour, d%time.Hour/time.Minute)
	}
}

// firstWorker is the README's first worker, as in examples/go/firstworker.
//
//go:embed firstworker.txt
var firstWorker string

// curlLine is a first trigger, ready to paste.
func (f FirstSteps) curlLine() string {
	return f.export("TENON_API_TOKEN", f.APIToken, "an API token") +
		"curl -s '" + f.address() + "/tenon.runs.v1.RunService/TriggerAndWait' \\\n" +
		"  -H 'Content-Type: application/json' -H \"Authorization: Bearer $TENON_API_TOKEN\" \\\n" +
		`  -d '{"run": {"workflow": "greet", "input": "Ada"}}'`
}

// workerLine starts the README's first worker.
func (f FirstSteps) workerLine() string {
	return f.export("TENON_CLIENT_TOKEN", f.WorkerToken, "a worker token") +
		"export TENON_CLIENT_ADDRESS='" + f.address() + "'\ngo run ./firstworker    # in examples/go of a clone"
}

func (FirstSteps) export(name, token, what string) string {
	if token == "" {
		return "export " + name + "='...'    # " + what + "\n"
	}
	return "export " + name + "='" + token + "'\n"
}

func (f FirstSteps) address() string { return strings.ReplaceAll(f.Address, "'", "") }
