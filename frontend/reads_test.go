package frontend

import (
	"bufio"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

func TestFiltersStayInTheAddress(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.runs, b.api.next = []*runsv1.Run{failedRun()}, "older&more"
	page := b.get("/t/acme/runs?status=timed_out&workflow=index&page_token=p2&parent=run_parent&range=24h&id=run_01jdx")
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, `aria-current="true"`, `<option value="index" selected>index</option>`, `<option value="24h" selected>`, `value="run_01jdx"`,
		"id=run_01jdx&amp;page_token=older%26more&amp;parent=run_parent&amp;range=24h&amp;status=timed_out&amp;workflow=index", "Newest", "1,234")
	got := b.api.listed[len(b.api.listed)-1]
	if got.GetWorkflow() != "index" || got.GetPageToken() != "p2" || got.GetParentRunId() != "run_parent" || got.GetIdPrefix() != "run_01jdx" ||
		!got.GetCreatedAfter().AsTime().Equal(testNow.Add(-24*time.Hour)) || !slices.Equal(got.GetStatuses(), []runsv1.RunStatus{runsv1.RunStatus_RUN_STATUS_TIMED_OUT}) {
		t.Errorf("the API was asked for %v", got)
	}
	bad := b.get("/t/acme/runs?status=sleepy")
	wantStatus(t, bad, http.StatusBadRequest)
	wantText(t, bad, "There is no run status “sleepy”; choose one of those shown.")
	b.api.runs, b.api.next = nil, ""
	wantText(t, b.get("/t/acme/runs?workflow=other"), "No runs match")
}

func TestLabelsStayInTheAddress(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.runs, b.api.next = []*runsv1.Run{failedRun()}, "older"
	page := b.get("/t/acme/runs?workflow=index&label=env%3Dprod&label=note%3D%3Cb%3E&label=+&label=env%3Dprod&page_token=p2")
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, `<input type="hidden" name="label" value="env=prod">`, "note=&lt;b&gt;", "label=env%3Dprod&amp;label=note%3D%3Cb%3E&amp;page_token=older&amp;workflow=index",
		`href="/t/acme/runs?label=note%3D%3Cb%3E&amp;workflow=index" aria-label="Without the label env=prod"`)
	if got := b.api.listed[len(b.api.listed)-1].GetLabels(); !maps.Equal(got, map[string]string{"env": "prod", "note": "<b>"}) {
		t.Errorf("the API was asked for the labels %v", got)
	}
	if strings.Contains(page.Body.String(), "1,234") {
		t.Error("counts that are not of the labels are shown beside them")
	}
	for label, said := range map[string]string{"prod": "“prod” is no label", "%3Dprod": "is no label", "env%3Da&label=env%3Db": "A run has one value for “env”"} {
		bad := b.get("/t/acme/runs?label=" + label)
		wantStatus(t, bad, http.StatusBadRequest)
		wantText(t, bad, said)
	}
	b.api.runs, b.api.listed = nil, nil
	wantText(t, b.get("/t/acme/runs?label=env%3Dprod"), "Look further back", "page_token=older")
	if calls := len(b.api.listed); calls < 2 || b.api.listed[1].GetPageToken() != "older" {
		t.Errorf("the list was asked for %d times although more may follow", calls)
	}
}

func TestRunPage(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	path := "/t/acme/runs/" + failedRun().GetId()
	wantText(t, b.get(path), "Failed", "2.4 s", `hx-sse:connect="/t/acme/live/runs/`, "Replay…", "&lt;script&gt;alert(4)")
	page := b.get(path + "?task=parse")
	wantText(t, page, "3 + 1 lost", `data-chosen="parse"`, "flaky", "&lt;img src=x")
	for _, raw := range []string{"<script>alert", "<img", "<u>", "<i>"} {
		if strings.Contains(page.Body.String(), raw) {
			t.Errorf("the page holds %q unescaped", raw)
		}
	}
	wantText(t, b.get(path+"?task=none"), "no task called “none”")
	panel := b.get(path + "/panel?task=parse").Body.String()
	if !strings.HasPrefix(panel, `<div id="panel-body"`) || !strings.Contains(page.Body.String(), `<div id="panel-body"`) {
		t.Errorf("the panel is %s", panel)
	}
	raw := b.get(path + "/json")
	wantText(t, raw, `"workflow": "index"`)
	if got := raw.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("the JSON is %s", got)
	}
	missing := b.get("/t/acme/runs/run_none")
	wantStatus(t, missing, http.StatusNotFound)
	wantText(t, missing, "There is no run run_none.")
}

func TestWorkflowPages(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	wantText(t, b.get("/t/acme/workflows"), "Nothing has run here yet")
	b.api.workflows = orders()
	wantText(t, b.get("/t/acme/workflows"), "/t/acme/workflows/greet", "/t/acme/trigger?workflow=order")
	wantText(t, b.get("/t/acme/workflows/order"), "data-graph", "Input schema")
	wantStatus(t, b.get("/t/acme/workflows/none"), http.StatusNotFound)
	wantText(t, b.get("/t/acme/palette"), "Workflow order", "Trigger greet")
}

// events reads a live page as a browser would.
type events struct {
	t  *testing.T
	in *bufio.Scanner
}

func listen(t *testing.T, b bundle, path string) events {
	t.Helper()
	server := httptest.NewServer(b.site)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range b.cookies {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s, %s", path, answer.Status, answer.Header.Get("Content-Type"))
	}
	in := bufio.NewScanner(answer.Body)
	in.Buffer(nil, 1<<20)
	return events{t, in}
}

// next returns the name and the data of the next event.
func (e events) next() (name, data string) {
	e.t.Helper()
	for e.in.Scan() {
		line := e.in.Text()
		switch {
		case line == "" && (name != "" || data != ""):
			return name, data
		case strings.HasPrefix(line, "event: "):
			name = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data:"):
			data += strings.TrimPrefix(strings.TrimPrefix(line, "data:"), " ") + "\n"
		}
	}
	e.t.Fatalf("the stream has ended: %v", e.in.Err())
	return "", ""
}

// live is setup over real connections: streams need them.
func live(t *testing.T) bundle {
	t.Helper()
	b := setup(t, false)
	api := httptest.NewServer(b.apiHandler)
	t.Cleanup(api.CloseClientConnections)
	t.Cleanup(api.Close)
	site, err := newSite(Config{API: api.Client(), BaseURL: api.URL, Log: slog.New(slog.DiscardHandler)}, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	b.site = site
	b.signIn()
	return b
}

func TestListOfRunsIsLive(t *testing.T) {
	b := live(t)
	in := listen(t, b, "/t/acme/live/runs?status=failed")
	if _, data := in.next(); !strings.Contains(data, "No runs match") {
		t.Errorf("the first picture is %s", data)
	}
	b.api.mu.Lock()
	b.api.runs = []*runsv1.Run{failedRun()}
	b.api.mu.Unlock()
	b.api.changes <- failedRun()
	if _, data := in.next(); !strings.Contains(data, failedRun().GetId()) {
		t.Errorf("after a change the picture is %s", data)
	}
	close(b.api.changes) // the session is revoked
	if name, _ := in.next(); name != "ended" {
		t.Errorf("after the session's end came %q", name)
	}
}

func TestRunIsLive(t *testing.T) {
	b := live(t)
	in := listen(t, b, "/t/acme/live/runs/"+failedRun().GetId())
	running := proto.CloneOf(failedRun())
	running.Status = runsv1.RunStatus_RUN_STATUS_RUNNING
	b.api.changes <- running
	if _, data := in.next(); !strings.Contains(data, "Running") || !strings.Contains(data, "Cancel…") {
		t.Errorf("while the run runs the picture is %s", data)
	}
	b.api.changes <- failedRun()
	if _, data := in.next(); !strings.Contains(data, "Replay…") {
		t.Errorf("after its end the picture is %s", data)
	}
	missing := listen(t, b, "/t/acme/live/runs/run_none")
	if name, data := missing.next(); name != "refused" || !strings.Contains(data, "there is no run") {
		t.Errorf("of a run that is not there came %q: %s", name, data)
	}
}

func TestLogsAreLive(t *testing.T) {
	b := live(t)
	in := listen(t, b, "/t/acme/live/runs/"+failedRun().GetId()+"/logs?task=parse")
	if _, data := in.next(); !strings.Contains(data, "&lt;u&gt;logged&lt;/u&gt; after") {
		t.Errorf("the log is %s", data)
	}
	if name, _ := in.next(); name != "final" {
		t.Errorf("after the log's end came %q", name)
	}
}

func TestWorkersAreLive(t *testing.T) {
	b := live(t)
	wantText(t, b.get("/t/acme/workers"), "&lt;b&gt;host&lt;/b&gt;", "4 of 10 slots in use")
	wantText(t, b.get("/t/acme/workers/wkr_a"), "/t/acme/runs/run_a?task=parse", "Pause", "Drain…")
	wantStatus(t, b.get("/t/acme/workers/wkr_none"), http.StatusNotFound)
	for _, path := range []string{"/t/acme/live/workers", "/t/acme/live/workers/wkr_a"} {
		in := listen(t, b, path)
		if _, data := in.next(); !strings.Contains(data, "&lt;b&gt;host&lt;/b&gt;") {
			t.Errorf("%s: the first picture is %s", path, data)
		}
	}
}

// A worker that goes is seen without a run and without a reload, and one that stays as it was is no news.
func TestWorkersAreSeenGoing(t *testing.T) {
	b := live(t)
	in := listen(t, b, "/t/acme/live/workers")
	in.next()
	b.api.workerChanges <- oneWorker()
	b.api.mu.Lock()
	b.api.idle = true
	b.api.mu.Unlock()
	b.api.workerChanges <- oneWorker()
	if _, data := in.next(); !strings.Contains(data, "No worker has attached yet") {
		t.Errorf("after the worker has gone the picture is %s", data)
	}
	close(b.api.workerChanges) // the session is revoked
	if name, _ := in.next(); name != "ended" {
		t.Errorf("after the session's end came %q", name)
	}
}

// An empty tenant's overview leads on as soon as a worker is there, and so does the page with the first worker's code.
func TestFirstRunIsLive(t *testing.T) {
	for path, before := range map[string]string{"/t/acme/live/overview": "Nothing has run here yet", "/t/acme/live/first-run": "No worker yet"} {
		b := live(t)
		b.api.idle, b.api.workflows = true, orders()
		in := listen(t, b, path)
		if _, data := in.next(); !strings.Contains(data, before) {
			t.Errorf("%s: the first picture is %s", path, data)
		}
		b.api.mu.Lock()
		b.api.idle = false
		b.api.mu.Unlock()
		b.api.workerChanges <- oneWorker()
		if _, data := in.next(); !strings.Contains(data, "Worker connected") || !strings.Contains(data, "/t/acme/trigger?input=%22Ada%22&amp;workflow=greet") {
			t.Errorf("%s: with a worker the picture is %s", path, data)
		}
	}
}

func TestLivePagesOfStrangers(t *testing.T) {
	b := setup(t, false)
	wantStatus(t, b.get("/t/acme/live/runs"), http.StatusUnauthorized)
	b.signIn()
	b.api.revoked = true
	wantStatus(t, b.get("/t/acme/live/runs"), http.StatusUnauthorized)
}
