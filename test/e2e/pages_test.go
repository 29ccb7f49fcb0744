package e2e

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// browser is a client with cookies that follows no redirect by itself.
type browser struct {
	t       *testing.T
	client  *http.Client
	address string
}

func newBrowser(t *testing.T, address string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, address}
}

func (b *browser) do(req *http.Request, err error) (*http.Response, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(body)
}

func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	return b.do(http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.address+path, http.NoBody))
}

func (b *browser) post(path string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.address+path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(req, err)
}

func (b *browser) token(page string) string {
	b.t.Helper()
	found := csrfField.FindStringSubmatch(page)
	if found == nil {
		b.t.Fatalf("the page has no CSRF field: %s", page)
	}
	return found[1]
}

// A stranger signs up, makes a tenant, and sees its runs; the pages go through the same interceptors as every caller.
func TestPages(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	b := newBrowser(t, server.Address)
	for _, path := range []string{"/", "/t/acme/runs", "/account/sessions"} {
		if resp, _ := b.get(path); resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), "/sign-in") {
			t.Errorf("a stranger at %s: %s to %q", path, resp.Status, resp.Header.Get("Location"))
		}
	}
	resp, page := b.get("/sign-up")
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("content security policy: %q", policy)
	}
	account := url.Values{"email": {"eve@example.com"}, "password": {"correct horse battery"}, "display_name": {"Eve"}, "next": {"/tenants/new"}}
	if resp, _ := b.post("/sign-up", account); resp.StatusCode < http.StatusBadRequest {
		t.Errorf("a form without its CSRF token is taken: %s", resp.Status)
	}
	account.Set("csrf", b.token(page))
	if resp, body := b.post("/sign-up", account); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-up: %s: %s", resp.Status, body)
	}
	_, page = b.get("/tenants/new")
	tenant := url.Values{"csrf": {b.token(page)}, "slug": {"eves"}, "display_name": {"Eves"}}
	if resp, body := b.post("/tenants/new", tenant); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("create a tenant: %s: %s", resp.Status, body)
	}
	if resp, page = b.get("/t/eves/runs"); resp.StatusCode != http.StatusOK || strings.Contains(page, "/runs/run_") || !strings.Contains(page, "eve@example.com") {
		t.Errorf("an empty tenant's runs: %s: %s", resp.Status, page)
	}
	workerToken := tokenShown(t, b, page)
	if _, err := tenon.NewClient(tenon.WithToken(workerToken)); err != nil {
		t.Errorf("the worker token that the page shows: %v", err)
	}
}

// tokenShown makes the first worker's tokens and returns the worker's, as the page's commands hold it.
func tokenShown(t *testing.T, b *browser, page string) string {
	t.Helper()
	resp, page := b.post("/t/eves/first-worker", url.Values{"csrf": {b.token(page)}})
	shown := regexp.MustCompile(`const token = (?:"|&#34;)([\w.-]+)(?:"|&#34;)`).FindStringSubmatch(page)
	if resp.StatusCode != http.StatusOK || shown == nil {
		t.Fatalf("the first worker's page: %s: %s", resp.Status, page)
	}
	return shown[1]
}

// A member sees the runs of the tenant with their tasks, and a wrong password says nothing about which part was wrong.
func TestRunsPageShowsRuns(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	shout := tenon.NewTask("shout", func(_ tenon.Context, s string) (string, error) {
		return "", tenon.Errorf("too_quiet", "<b>%s</b> is too quiet", s)
	})
	work(t, client(t, server, ""), tenon.WithWorkflows(shout))
	c := client(t, server, authz.RoleDeveloper)
	run := untilKnown(t, func() (*tenon.Run[string], error) { return shout.Trigger(t.Context(), c, "mouse") })
	if _, err := run.Result(t.Context()); err == nil {
		t.Fatal("the task did not fail")
	}
	b := newBrowser(t, server.Address)
	_, page := b.get("/sign-in")
	form := url.Values{"csrf": {b.token(page)}, "email": {apptest.Email("acme")}, "password": {"wrong password here"}}
	if resp, _ := b.post("/sign-in", form); resp.StatusCode == http.StatusSeeOther {
		t.Error("a wrong password signs in")
	}
	form.Set("password", server.Password)
	form.Set("next", "//evil.example")
	resp, body := b.post("/sign-in", form)
	if resp.StatusCode != http.StatusSeeOther || strings.Contains(resp.Header.Get("Location"), "evil") {
		t.Fatalf("sign-in: %s to %q: %s", resp.Status, resp.Header.Get("Location"), body)
	}
	begin := time.Now()
	_, page = b.get("/t/acme/runs")
	if !strings.Contains(page, run.ID()) || !strings.Contains(page, "Failed") || !strings.Contains(page, "shout") {
		t.Errorf("the page lacks the run %s after %s: %s", run.ID(), time.Since(begin), page)
	}
	if strings.Contains(page, "<b>mouse</b>") {
		t.Error("a task's error reaches the page as HTML")
	}
}
