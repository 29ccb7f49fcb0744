package browser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// viewsOfAPage are wide and narrow, each light and dark.
const viewsOfAPage = 4

// page is a page to check; with Press it is the one that a form of Path leads to.
type page struct {
	Name   string            `json:"name"`
	User   string            `json:"user,omitempty"`
	Path   string            `json:"path"`
	Status int               `json:"status,omitempty"`
	Fill   map[string]string `json:"fill,omitempty"`
	Press  string            `json:"press,omitempty"`
}

// jobs is what drive.js reads, report what it answers.
type jobs struct {
	Chromium    string              `json:"chromium"`
	Base        string              `json:"base"`
	Screenshots string              `json:"screenshots,omitempty"`
	Users       map[string]account  `json:"users"`
	Pages       []page              `json:"pages"`
	Flows       []map[string]string `json:"flows"`
}

type report struct {
	Problems []struct{ Page, Kind, Detail string } `json:"problems"`
	Views    int                                   `json:"views"`
	// Spent is by kind of check, Took by job; both in milliseconds.
	Spent map[string]float64 `json:"spent"`
	Took  [][2]any           `json:"took"`
}

// drive does the jobs in a browser. With -v it tells how long they took.
func drive(t *testing.T, work jobs) report {
	t.Helper()
	if _, err := os.Stat("node_modules/playwright-core/package.json"); err != nil {
		t.Fatalf("%v; install what the tests need with scripts/setup-test.sh", err)
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			work.Chromium = path
			break
		}
	}
	if work.Chromium == "" {
		t.Fatal("there is no Chromium; install what the tests need with scripts/setup-test.sh")
	}
	if work.Screenshots != "" {
		must(t, os.MkdirAll(work.Screenshots, 0o755)) //nolint:gosec // pictures are no secret
	}
	input, err := json.Marshal(work)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), "node", "drive.js")
	cmd.Stdin = bytes.NewReader(input)
	cmd.WaitDelay = 5 * time.Second
	var words bytes.Buffer
	cmd.Stderr = io.MultiWriter(&words, os.Stderr)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("drive.js: %v\n%s%s", err, out, words.Bytes())
	}
	var got report
	must(t, json.Unmarshal(out, &got))
	t.Logf("milliseconds by kind of check: %v", got.Spent)
	t.Logf("milliseconds by job: %v", got.Took)
	return got
}

// Every page is fit to be used, by mouse, by keyboard and by screen reader, and the list of runs follows what happens.
func TestPages(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, err)
	server := apptest.Start(t, func(cfg *app.Config) { cfg.Checkout = checkout })
	many := addTenant(t, server, server.Owner, "many", "Many runs & Sons")
	addTenant(t, server, server.Owner, "long", strings.Repeat("A tenant with quite a name ", 3)+"(test)")
	steered := addTenant(t, server, server.Owner, "steered", "")
	made := fill(t, server, server.Owner)
	const runsOfMany = 65
	token := fillMany(t, server, many, runsOfMany)
	steerer := fillMany(t, server, steered, 1)
	work := jobs{
		Base: server.Address, Screenshots: os.Getenv("TENON_SCREENSHOTS"),
		Users: map[string]account{
			"acme":   {apptest.Email("acme"), server.Password},
			"fresh":  signUp(t, server, "fresh"),
			"lone":   signUp(t, server, "lone", "lone"),
			"viewer": member(t, server, "viewer", authz.RoleViewer),
			"solo":   member(t, server, "a.rather.long.address.of.one.person.alone", authz.RoleDeveloper),
		},
		Flows: []map[string]string{
			{"name": "firstRun", "tenant": "newcomers", "control": newcomer(t)},
			{"name": "followRuns", "user": "acme", "tenant": "many", "token": token, "workflow": "greet"},
			{"name": "steerWorker", "user": "acme", "tenant": "steered", "token": steerer, "workflow": "greet", "worker": workersOf(t, server, steered)[0]},
			{"name": "switchTenant", "user": "acme", "from": "acme", "to": "many", "label": "Many runs & Sons"},
			{"name": "byKeyboard", "user": "acme", "tenant": "acme", "run": made.failed},
			{"name": "sessionEnds", "user": "solo", "tenant": "acme"},
		},
	}
	work.Pages = append(visitorPages(invite(t, server)), accountPages()...)
	work.Pages = append(work.Pages, runPages(made, "/t/many/runs?page_token="+older(t, server, many))...)
	work.Pages = append(work.Pages, settingsPages(workersOf(t, server, server.Owner))...)
	got := drive(t, work)
	for _, problem := range got.Problems {
		t.Errorf("%s: %s: %s", problem.Page, problem.Kind, problem.Detail)
	}
	if want := viewsOfAPage * len(work.Pages); got.Views != want {
		t.Errorf("%d views were checked, want %d", got.Views, want)
	}
}

// visitorPages are seen without signing in.
func visitorPages(invitation string) []page {
	return []page{
		{Name: "join-stranger", Path: "/join/" + invitation},
		{Name: "join", User: "lone", Path: "/join/" + invitation},
		{Name: "join-ended", Path: "/join/nonsense", Status: http.StatusNotFound},
		{Name: "sign-in", Path: "/sign-in"},
		{
			Name: "sign-in-refused", Path: "/sign-in", Press: "main button", Status: http.StatusUnauthorized,
			Fill: map[string]string{"#email": "nobody@example.com", "#password": "not the password"},
		},
		{Name: "sign-up", Path: "/sign-up"},
		{
			Name: "sign-up-refused", Path: "/sign-up", Press: "main button", Status: http.StatusConflict,
			Fill: map[string]string{"#email": apptest.Email("acme"), "#password": "long enough for this"},
		},
		{Name: "form-refused", Path: "/sign-up", Press: "main button", Status: http.StatusForbidden, Fill: map[string]string{
			"#email": "eve@example.com", "#password": "long enough for this", "main [name=csrf]": "forged",
		}},
		{Name: "not-found", Path: "/nowhere", Status: http.StatusNotFound},
	}
}

// accountPages are seen before there is any run.
func accountPages() []page {
	return []page{
		{Name: "create-tenant", User: "fresh", Path: "/tenants/new"},
		{
			Name: "create-tenant-refused", User: "fresh", Path: "/tenants/new", Press: "main button", Status: http.StatusConflict,
			Fill: map[string]string{"#slug": "acme"},
		},
		{Name: "empty", User: "lone", Path: "/t/lone/"},
		{Name: "first-worker", User: "lone", Path: "/t/lone/", Press: ".empty button"},
		{Name: "wrong-tenant", User: "acme", Path: "/t/globex/", Status: http.StatusNotFound},
		{Name: "sessions", User: "acme", Path: "/account/sessions"},
	}
}

func runPages(made runs, older string) []page {
	acme := func(name, path string) page {
		return page{Name: name, User: "acme", Path: "/t/acme/" + path}
	}
	unknown, missing := acme("unknown-status", "runs?status=sleepy"), acme("missing-run", "runs/run_01h455vb4pex5vsknk084sn02q")
	labelled := acme("runs-bad-label", "runs?label=prod")
	labelled.Status = http.StatusBadRequest
	unknown.Status, missing.Status = http.StatusBadRequest, http.StatusNotFound
	refused := acme("trigger-refused", "trigger?workflow="+made.form)
	refused.Press, refused.Status, refused.Fill = "main .sheet button", http.StatusBadRequest, map[string]string{"#input": "{"}
	return []page{
		acme("overview", ""), acme("runs", "runs"), acme("run", "runs/"+made.order), acme("run-task", "runs/"+made.order+"?task=charge"), acme("run-layers", "runs/"+made.layers),
		acme("run-failed", "runs/"+made.failed+"?task=import-orders"), acme("run-long", "runs/"+made.long), acme("run-child", "runs/"+made.child),
		acme("run-retry", "runs/"+made.backingOff+"?task=charge-card"), acme("run-parent", "runs/"+made.parent), acme("runs-failed", "runs?status=failed&range=24h"),
		acme("runs-label", "runs?label=env%3Dprod&label=customer%3Dacme"), labelled,
		acme("runs-none-match", "runs?status=failed&workflow=greet"), unknown, missing, refused,
		{Name: "runs-many", User: "acme", Path: "/t/many/runs"},
		{Name: "runs-older", User: "acme", Path: older},
		{Name: "long-tenant", User: "acme", Path: "/t/long/runs"},
		acme("cancel", "runs/"+made.running+"/cancel"), acme("replay", "runs/"+made.order+"/replay"), acme("trigger", "trigger"), acme("trigger-form", "trigger?workflow="+made.form),
		acme("workflows", "workflows"), acme("workflow", "workflows/order-fulfilment"),
		{Name: "viewer-run", User: "viewer", Path: "/t/acme/runs/" + made.running},
		{Name: "viewer-runs", User: "viewer", Path: "/t/acme/runs?status=failed"},
		{Name: "viewer-tokens", User: "viewer", Path: "/t/acme/tokens", Status: http.StatusForbidden},
	}
}

// settingsPages are about who and what works in a tenant.
func settingsPages(workers []string) []page {
	acme := func(name, path string) page {
		return page{Name: name, User: "acme", Path: "/t/acme/" + path}
	}
	made, invited, renamed := acme("token-made", "tokens/new"), acme("invitation-made", "invitations/new"), acme("settings-refused", "settings")
	made.Press, made.Fill = "main .sheet button", map[string]string{"#token-name": "billing worker"}
	invited.Press = "main .sheet button"
	renamed.Press, renamed.Fill, renamed.Status = "main .settings button", map[string]string{"#tenant-name": strings.Repeat("long ", 50)}, http.StatusBadRequest
	pages := []page{
		acme("workers", "workers"), acme("tokens", "tokens"), acme("token-new", "tokens/new"), made, acme("members", "members"), acme("member-new", "members/new"),
		acme("invitation-new", "invitations/new"), invited, acme("settings", "settings"), renamed,
		{Name: "settings-denied", User: "viewer", Path: "/t/acme/settings"},
		acme("worker-drain", "workers/"+workers[0]+"/drain"),
		{Name: "viewer-worker", User: "viewer", Path: "/t/acme/workers/" + workers[0]},
	}
	for i, id := range workers {
		pages = append(pages, acme(fmt.Sprintf("worker-%d", i+1), "workers/"+id))
	}
	return pages
}

// The checks see what they are there for: a page with each fault is told off for each, in every view that has it.
func TestFaultsAreSeen(t *testing.T) {
	t.Parallel()
	const faults = `<!DOCTYPE html><html lang="en"><title>Faults</title><body><main><h1>Faults</h1>
		<p style="color:#ccc">inline</p><p class="pale">pale</p><p class="wide">wide</p><img src="/missing.png">
		<button class="bare">bare</button><a href="/" tabindex="-1">unreached</a></main><script src="/late.js"></script>`
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(strings.Replace(faults, "<body>", `<link rel="stylesheet" href="/faults.css"><body>`, 1)))
	})
	mux.HandleFunc("GET /faults.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		_, _ = w.Write([]byte(".pale { color: #ccc; background: #fff } .wide { width: 2000px } .bare:focus { outline: none }"))
	})
	mux.HandleFunc("GET /late.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write([]byte("throw new Error('on purpose')"))
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	got := drive(t, jobs{Base: site.URL, Users: map[string]account{}, Flows: []map[string]string{}, Pages: []page{{Name: "faults", Path: "/"}}})
	seen := map[string]int{}
	for _, problem := range got.Problems {
		seen[problem.Kind]++
	}
	for _, kind := range []string{"policy", "overflow", "axe", "console", "request", "focus", "keyboard"} {
		if seen[kind] < 2 {
			t.Errorf("%q was reported %d times, want it at both widths: %v", kind, seen[kind], got.Problems)
		}
	}
	if seen["failed"] > 0 {
		t.Errorf("a check broke: %v", got.Problems)
	}
}
