package frontend

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

func wantStatus(t *testing.T, got *httptest.ResponseRecorder, status int) {
	t.Helper()
	if got.Code != status {
		t.Fatalf("answered %d, want %d: %s", got.Code, status, got.Body)
	}
}

func wantLocation(t *testing.T, got *httptest.ResponseRecorder, location string) {
	t.Helper()
	wantStatus(t, got, http.StatusSeeOther)
	if to := got.Header().Get("Location"); to != location {
		t.Fatalf("leads to %q, want %q", to, location)
	}
}

func wantText(t *testing.T, got *httptest.ResponseRecorder, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(got.Body.String(), text) {
			t.Errorf("the page lacks %q:\n%s", text, got.Body)
		}
	}
}

func TestNewRefusesBadConfig(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, cfg := range map[string]Config{
		"API":     {BaseURL: "http://api.test", Log: log},
		"Log":     {BaseURL: "http://api.test", API: broken{}},
		"BaseURL": {BaseURL: "api.test", API: broken{}, Log: log},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("without %s: got %v, want an error that names the field", name, err)
		}
	}
	if _, err := New(Config{API: broken{}, BaseURL: "http://api.test/", Log: log}); err != nil {
		t.Errorf("a whole Config was refused: %v", err)
	}
}

func TestSignIn(t *testing.T) {
	b := setup(t, false)
	wantLocation(t, b.get("/runs?status=failed"), "/sign-in?next=%2Fruns%3Fstatus%3Dfailed")
	page := b.get("/sign-in?next=%2Fruns%3Fstatus%3Dfailed")
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, `name="next" value="/runs?status=failed"`)
	answer := b.post("/sign-in", url.Values{
		"csrf": {b.token("/sign-in")}, "email": {goodEmail}, "password": {goodPassword}, "next": {"/runs?status=failed"},
	})
	wantLocation(t, answer, "/runs?status=failed")
	wantStatus(t, b.get("/runs?status=failed"), http.StatusOK)
	if !slices.Equal(b.api.forwards, []string{"192.0.2.1"}) {
		t.Errorf("the API heard of the addresses %q, want the browser's", b.api.forwards)
	}
	if !slices.Equal(b.api.browsers, []string{"a browser"}) {
		t.Errorf("the API heard of the programs %q, want the browser's", b.api.browsers)
	}
}

func TestSignInWithABadPassword(t *testing.T) {
	b := setup(t, false)
	answer := b.post("/sign-in", url.Values{"csrf": {b.token("/sign-in")}, "email": {goodEmail}, "password": {"wrong secret"}})
	wantStatus(t, answer, http.StatusUnauthorized)
	wantText(t, answer, `role="alert"`, "The address or the password is wrong.", `value="`+goodEmail+`"`)
	if strings.Contains(answer.Body.String(), "wrong secret") {
		t.Error("the page repeats the password")
	}
	if _, ok := b.cookies[sessionCookie]; ok {
		t.Error("a refused sign-in left a session")
	}
}

func TestSignUp(t *testing.T) {
	b := setup(t, false)
	b.api.tenants = nil
	form := url.Values{"csrf": {b.token("/sign-up")}, "email": {goodEmail}, "password": {goodPassword}}
	taken := b.post("/sign-up", form)
	wantStatus(t, taken, http.StatusConflict)
	wantText(t, taken, "Another user has this address")
	form.Set("email", "new@example.com")
	wantLocation(t, b.post("/sign-up", form), "/runs")
	page := b.get("/runs")
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, "<h1>Create a tenant</h1>")
	token := b.token("/runs")
	refused := b.post("/tenants", url.Values{"csrf": {token}, "slug": {"x"}})
	wantStatus(t, refused, http.StatusBadRequest)
	wantText(t, refused, "A short name is 3 to 63")
	wantLocation(t, b.post("/tenants", url.Values{"csrf": {token}, "slug": {"fresh"}}), "/runs?tenant=fresh")
	wantText(t, b.get("/runs"), "No runs yet")
}

func TestSignOutRevokesTheSession(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	wantLocation(t, b.post("/sign-out", url.Values{"csrf": {b.token("/runs")}}), "/sign-in")
	if !b.api.revoked {
		t.Error("the API still knows the session")
	}
	if _, ok := b.cookies[sessionCookie]; ok {
		t.Error("the browser still has the session")
	}
}

func TestFormsWithoutTheirTokenAreRefused(t *testing.T) {
	b := setup(t, false)
	other := setup(t, false)
	b.get("/sign-in")
	for name, token := range map[string]string{"none": "", "made up": strings.Repeat("0", 64), "of another visitor": other.token("/sign-in")} {
		answer := b.post("/sign-in", url.Values{"csrf": {token}, "email": {goodEmail}, "password": {goodPassword}})
		if answer.Code != http.StatusForbidden {
			t.Errorf("a token %s: answered %d, want 403", name, answer.Code)
		}
	}
	if _, ok := b.cookies[sessionCookie]; ok {
		t.Error("a refused form opened a session")
	}
	b.signIn()
	wantStatus(t, b.post("/sign-out", url.Values{}), http.StatusForbidden)
	if b.api.revoked {
		t.Error("a refused form ended the session")
	}
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	form := url.Values{"csrf": {b.token("/runs")}}
	r := httptest.NewRequest(http.MethodPost, "/sign-out", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	wantStatus(t, b.do(r), http.StatusForbidden)
	if b.api.revoked {
		t.Error("another site's form ended the session")
	}
}

func TestCookies(t *testing.T) {
	for _, secure := range []bool{false, true} {
		b := setup(t, secure)
		b.signIn()
		name := sessionCookie
		if secure {
			name = "__Host-" + name
		}
		cookie := b.cookies[name]
		if cookie == nil {
			t.Fatalf("secure %t: no cookie %s", secure, name)
		}
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Secure != secure || cookie.Path != "/" || cookie.Domain != "" {
			t.Errorf("secure %t: the cookie is %s", secure, cookie.Raw)
		}
		if cookie.MaxAge != 12*60*60 {
			t.Errorf("secure %t: the cookie lives %d s, want the session's 12 h", secure, cookie.MaxAge)
		}
	}
}

func TestOpenRedirectsAreRefused(t *testing.T) {
	for next, want := range map[string]string{
		"/runs?status=failed": "/runs?status=failed",
		"":                    "/runs", "https://evil.test/": "/runs", "//evil.test": "/runs", `/\evil.test`: "/runs", "/\t/evil.test": "/runs",
		"javascript:alert(1)": "/runs", "runs": "/runs", "/%zz": "/runs", "\n//evil.test": "/runs",
	} {
		b := setup(t, false)
		answer := b.post("/sign-in", url.Values{"csrf": {b.token("/sign-in")}, "email": {goodEmail}, "password": {goodPassword}, "next": {next}})
		if got := answer.Header().Get("Location"); got != want {
			t.Errorf("next %q leads to %q, want %q", next, got, want)
		}
	}
}

func TestAnEndedSessionLeadsToSignIn(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.revoked = true
	wantLocation(t, b.get("/runs?workflow=index"), "/sign-in?ended=1&next=%2Fruns%3Fworkflow%3Dindex")
	if _, ok := b.cookies[sessionCookie]; ok {
		t.Error("the browser still has the ended session, and would be sent round in circles")
	}
	wantText(t, b.get("/sign-in?ended=1&next=%2Fruns"), `role="status"`, "Your session has ended")
}

func TestThePageSaysWhoIsWhere(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	wantText(t, b.get("/runs"), goodEmail, "Tenant acme", "Sign out")
	wantText(t, b.get("/runs?tenant=foreign"), goodEmail, `<a href="/runs?tenant=acme">Tenant acme</a>`)
}

func TestUpdatesAreTheListAlone(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.runs = []*runsv1.Run{failedRun()}
	whole := b.get("/runs?tenant=acme").Body.String()
	asked := b.api.described
	r := httptest.NewRequest(http.MethodGet, "/runs?tenant=acme", nil)
	r.Header.Set(fragmentHeader, "runs")
	part := b.do(r)
	wantStatus(t, part, http.StatusOK)
	if got := part.Body.String(); !strings.HasPrefix(got, `<div id="live"`) || !strings.Contains(whole, got) {
		t.Errorf("the update is not the page's list:\n%s", got)
	}
	if b.api.described != asked {
		t.Error("an update asks who the viewer is, and shows it nowhere")
	}
}

func TestFirstWorker(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.tenants = []string{"acme", "beta"}
	form := url.Values{"csrf": {b.token("/runs")}, "tenant": {"beta"}}
	b.api.seen = nil
	page := b.post("/first-worker", form)
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, "TENON_CLIENT_TOKEN=&#39;secret of first worker&#39;", "TENON_API_TOKEN=&#39;secret of first trigger&#39;", "tenon.NewTask(")
	if want := []string{"beta", "beta"}; !slices.Equal(b.api.seen, want) {
		t.Errorf("the tokens are made in %q, want %q", b.api.seen, want)
	}
	b.api.tokenErr = connect.NewError(connect.CodePermissionDenied, errors.New("this needs token:create"))
	refused := b.post("/first-worker", form)
	wantStatus(t, refused, http.StatusForbidden)
	wantText(t, refused, "Ask an owner or an admin")
	form.Set("tenant", "foreign")
	wantStatus(t, b.post("/first-worker", form), http.StatusNotFound)
	form.Set("csrf", "forged")
	wantStatus(t, b.post("/first-worker", form), http.StatusForbidden)
}

func TestAddressesOfFormsLeadToTheRuns(t *testing.T) {
	b := setup(t, false)
	for _, path := range []string{"/tenants", "/first-worker", "/sign-out"} {
		wantLocation(t, b.get(path), "/runs")
	}
}

func TestOnlyOwnTenantsAreAskedFor(t *testing.T) {
	b := setup(t, false)
	b.api.tenants = []string{"acme", "beta"}
	b.signIn()
	b.get("/runs")
	b.get("/runs?tenant=beta")
	b.get("/runs") // remembered
	foreign := b.get("/runs?tenant=foreign")
	wantStatus(t, foreign, http.StatusNotFound)
	wantText(t, foreign, "You are not a member of a tenant called “foreign”")
	b.cookies[tenantCookie].Value = "foreign"
	page := b.get("/runs?run=" + failedRun().GetId())
	wantText(t, page, `<option value="acme" selected>Tenant acme</option>`, `<option value="beta">Tenant beta</option>`)
	if want := []string{"acme", "beta", "beta", "acme", "acme"}; !slices.Equal(b.api.seen, want) {
		t.Errorf("the API was asked for the tenants %q, want %q", b.api.seen, want)
	}
}

func TestFiltersStayInTheAddress(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.runs, b.api.next = []*runsv1.Run{failedRun()}, "older&more"
	page := b.get("/runs?status=timed_out&workflow=index&page_token=p2&parent=run_parent")
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, `<option value="timed_out" selected>Timed out</option>`, `name="workflow" maxlength="100"`, `value="index"`,
		"page_token=older%26more&amp;parent=run_parent&amp;status=timed_out&amp;tenant=acme&amp;workflow=index", "Newest")
	got := b.api.listed[len(b.api.listed)-1]
	if got.GetWorkflow() != "index" || got.GetPageToken() != "p2" || got.GetParentRunId() != "run_parent" ||
		!slices.Equal(got.GetStatuses(), []runsv1.RunStatus{runsv1.RunStatus_RUN_STATUS_TIMED_OUT}) {
		t.Errorf("the API was asked for %v", got)
	}
	bad := b.get("/runs?status=sleepy")
	wantStatus(t, bad, http.StatusBadRequest)
	wantText(t, bad, "There is no run status “sleepy”")
	b.api.runs, b.api.next = nil, ""
	wantText(t, b.get("/runs?workflow=other"), "No runs match")
}

func TestTasksOfARun(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.runs = []*runsv1.Run{{Id: failedRun().GetId(), Workflow: "index"}}
	page := b.get("/runs?run=" + failedRun().GetId())
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, `aria-expanded="true"`, "parse", "3 + 1 lost", "2.4 s")
	b.api.runs = nil
	wantText(t, b.get("/runs?run="+failedRun().GetId()), ">Chosen run</h2>", "3 + 1 lost")
	missing := b.get("/runs?run=run_none")
	wantStatus(t, missing, http.StatusNotFound)
	wantText(t, missing, "there is no run run_none")
}

func TestTextOfWorkflowsIsEscaped(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	page := b.get("/runs?run=" + failedRun().GetId() + "&workflow=%22%3E%3Cscript%3Ealert(3)%3C/script%3E")
	wantText(t, page, "bad &lt;script&gt;alert(1)&lt;/script&gt;", "&lt;img src=x")
	for _, raw := range []string{"<script>alert", "<img"} {
		if strings.Contains(page.Body.String(), raw) {
			t.Errorf("the page holds %q unescaped", raw)
		}
	}
}

func TestFaultsOfTheAPI(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.listErr = connect.NewError(connect.CodeNotFound, errors.New(`there is no workflow "indx"`))
	page := b.get("/runs?workflow=indx")
	wantStatus(t, page, http.StatusNotFound)
	wantText(t, page, "there is no workflow &#34;indx&#34;", `value="indx"`)
	b.api.listErr = connect.NewError(connect.CodePermissionDenied, errors.New("this needs run:read"))
	wantStatus(t, b.get("/runs"), http.StatusForbidden)

	down := newBrowser(t, broken{}, false)
	down.cookies[sessionCookie] = &http.Cookie{Name: sessionCookie, Value: goodToken}
	answer := down.get("/runs")
	wantStatus(t, answer, http.StatusServiceUnavailable)
	wantText(t, answer, "The API does not answer at the moment")
	if strings.Contains(answer.Body.String(), "10.1.2.3") {
		t.Error("the page tells where the API is")
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	b := setup(t, true)
	for _, path := range []string{"/", "/sign-in", "/runs", "/nowhere", "/assets/none.css"} {
		header := b.get(path).Header()
		policy := header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "style-src 'self'", "script-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy %q lacks %q", path, policy, part)
			}
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") == "" || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, header)
		}
	}
	wantStatus(t, b.get("/nowhere"), http.StatusNotFound)
}

func TestAssetsAreNamedByContent(t *testing.T) {
	b := setup(t, false)
	links := regexp.MustCompile(`(?:href|src)="(/assets/[a-z]+\.[0-9a-f]{12}\.(?:css|js))"`).FindAllStringSubmatch(b.get("/sign-in").Body.String(), -1)
	if len(links) != 2 {
		t.Fatalf("the page links the assets %q, want a style sheet and a script", links)
	}
	for _, link := range links {
		asset := b.get(link[1])
		wantStatus(t, asset, http.StatusOK)
		if got := asset.Header().Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", link[1], got)
		}
		if got := asset.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/css") && !strings.HasPrefix(got, "text/javascript") {
			t.Errorf("%s: Content-Type %q", link[1], got)
		}
	}
	wantStatus(t, b.get("/assets/app.css"), http.StatusNotFound)
}
