package pages

import (
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
	CSRF     string
	SignedIn bool
	// Tenants are the user's tenants by slug, Tenant the slug of the one shown.
	Tenants []Choice
	Tenant  string
}

// Choice is an option of a select.
type Choice struct{ Value, Label string }

// AccountForm is what sign-in and sign-up show again after a refusal. It never holds the password.
type AccountForm struct{ Email, Name, Next, Error string }

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
	// Address is the API's address as the viewer reaches it.
	Address string
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

// elapsed is the time from start to end, or to now while there is no end; a dash before the start.
func elapsed(start, end *timestamppb.Timestamp, now time.Time) string {
	if start == nil {
		return "–"
	}
	if end != nil {
		now = end.AsTime()
	}
	return duration(now.Sub(start.AsTime()))
}

// duration writes a span in its two largest units. The clocks of server and database may differ: below zero is zero.
func duration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		// Cut, not rounded: 59.96 s must not read 60.0 s.
		return fmt.Sprintf("%.1f s", d.Truncate(time.Second/10).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d m %02d s", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%d h %02d m", d/time.Hour, d%time.Hour/time.Minute)
	}
}

// curlLine is a first trigger, ready to paste once TENON_API_TOKEN is set.
func curlLine(address string) string {
	return "curl -s '" + strings.ReplaceAll(address, "'", "") + "/tenon.runs.v1.RunService/TriggerAndWait' \\\n" +
		"  -H 'Content-Type: application/json' -H \"Authorization: Bearer $TENON_API_TOKEN\" \\\n" +
		`  -d '{"run": {"workflow": "greet", "input": "Ada"}}'`
}

// workerLine starts the README's first worker.
func workerLine(address string) string {
	return "export TENON_CLIENT_TOKEN=...   # a worker token\n" +
		"export TENON_CLIENT_ADDRESS='" + strings.ReplaceAll(address, "'", "") + "'\ngo run ./firstworker           # in examples/go"
}
