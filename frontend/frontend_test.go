package frontend

import (
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
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
	wantLocation(t, b.get("/t/acme/runs?status=failed"), "/sign-in?next=%2Ft%2Facme%2Fruns%3Fstatus%3Dfailed")
	page := b.get("/sign-in?next=%2Ft%2Facme%2Fruns%3Fstatus%3Dfailed")
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, `name="next" value="/t/acme/runs?status=failed"`)
	answer := b.post("/sign-in", url.Values{
		"csrf": {b.token("/sign-in")}, "email": {goodEmail}, "password": {goodPassword}, "next": {"/t/acme/runs?status=failed"},
	})
	wantLocation(t, answer, "/t/acme/runs?status=failed")
	wantStatus(t, b.get("/t/acme/runs?status=failed"), http.StatusOK)
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

func TestSignOutRevokesTheSession(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	wantLocation(t, b.post("/sign-out", url.Values{"csrf": {b.token("/t/acme/runs")}}), "/sign-in")
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
	form := url.Values{"csrf": {b.token("/t/acme/runs")}}
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
		"/t/acme/runs?status=failed": "/t/acme/runs?status=failed",
		"":                           "/", "https://evil.test/": "/", "//evil.test": "/", `/\evil.test`: "/", "/\t/evil.test": "/",
		"javascript:alert(1)": "/", "runs": "/", "/%zz": "/", "\n//evil.test": "/",
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
	wantLocation(t, b.get("/t/acme/runs?workflow=index"), "/sign-in?ended=1&next=%2Ft%2Facme%2Fruns%3Fworkflow%3Dindex")
	if _, ok := b.cookies[sessionCookie]; ok {
		t.Error("the browser still has the ended session, and would be sent round in circles")
	}
	wantText(t, b.get("/sign-in?ended=1&next=%2Fruns"), `role="status"`, "Your session has ended")
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	b := setup(t, true)
	for _, path := range []string{"/", "/sign-in", "/t/acme/runs", "/nowhere", "/assets/none.css"} {
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
	links := assetLink.FindAllStringSubmatch(b.get("/sign-in").Body.String(), -1)
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
		r := httptest.NewRequest(http.MethodGet, link[1], nil)
		r.Header.Set("Accept-Encoding", "br;q=1.0, gzip;q=0.8")
		packed := b.do(r)
		in, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatalf("%s: %v", link[1], err)
		}
		if plain, err := io.ReadAll(in); err != nil || string(plain) != asset.Body.String() {
			t.Errorf("%s: what is compressed differs from what is not: %v", link[1], err)
		}
	}
	wantStatus(t, b.get("/assets/app.css"), http.StatusNotFound)
}

var assetLink = regexp.MustCompile(`(?:href|src)="(/assets/[a-z.-]+\.[0-9a-f]{12}\.(?:css|js))"`)

// The first page, with everything that it loads, stays small.
func TestFirstPageIsSmall(t *testing.T) {
	const most = 150 << 10 // bytes, compressed
	b := setup(t, false)
	b.signIn()
	for range 50 {
		b.api.runs = append(b.api.runs, failedRun())
	}
	weigh := func(path string) int {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		return b.do(r).Body.Len()
	}
	for _, path := range []string{"/t/acme/", "/t/acme/runs"} {
		all := weigh(path)
		for _, link := range assetLink.FindAllStringSubmatch(b.get(path).Body.String(), -1) {
			all += weigh(link[1])
		}
		t.Logf("%s weighs %d bytes", path, all)
		if all > most {
			t.Errorf("%s weighs %d bytes, want at most %d", path, all, most)
		}
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
	wantLocation(t, b.post("/sign-up", form), "/")
	wantLocation(t, b.get("/"), "/tenants/new")
	token := b.token("/tenants/new")
	refused := b.post("/tenants/new", url.Values{"csrf": {token}, "slug": {"x"}})
	wantStatus(t, refused, http.StatusBadRequest)
	wantText(t, refused, "A short name is 3 to 63")
	wantLocation(t, b.post("/tenants/new", url.Values{"csrf": {token}, "slug": {"fresh"}}), "/t/fresh/")
	b.api.idle = true
	wantText(t, b.get("/t/fresh/"), "Nothing has run here yet", "/t/fresh/first-worker")
}

func TestThePageSaysWhoIsWhere(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	wantText(t, b.get("/t/acme/runs"), goodEmail, "Tenant acme", "Sign out", "owner")
	wantText(t, b.get("/t/foreign/runs"), goodEmail, `<a href="/t/acme/">Tenant acme</a>`)
}

func TestOnlyOwnTenantsAreAskedFor(t *testing.T) {
	b := setup(t, false)
	b.api.tenants = []string{"acme", "beta"}
	b.signIn()
	wantLocation(t, b.get("/"), "/t/acme/")
	b.get("/t/beta/runs")
	wantLocation(t, b.get("/"), "/t/beta/") // remembered
	for _, path := range []string{"/t/foreign/runs", "/t/foreign/", "/t/foreign/tokens", "/t/foreign/live/runs"} {
		foreign := b.get(path)
		wantStatus(t, foreign, http.StatusNotFound)
	}
	b.cookies[tenantCookie].Value = "foreign"
	wantLocation(t, b.get("/"), "/t/acme/")
	if want := []string{"beta"}; !slices.Equal(b.api.seen, want) {
		t.Errorf("the API was asked for the tenants %q, want %q", b.api.seen, want)
	}
}

func TestFaultsOfTheAPI(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.listErr = connect.NewError(connect.CodeNotFound, errors.New(`there is no workflow "indx"`))
	page := b.get("/t/acme/runs?workflow=indx")
	wantStatus(t, page, http.StatusNotFound)
	wantText(t, page, "There is no workflow &#34;indx&#34;.", `value="indx"`)
	b.api.listErr = connect.NewError(connect.CodePermissionDenied, errors.New("this needs run:read"))
	wantStatus(t, b.get("/t/acme/runs"), http.StatusForbidden)
	wantStatus(t, b.get("/t/acme/"), http.StatusForbidden)

	down := newBrowser(t, broken{}, false)
	down.cookies[sessionCookie] = &http.Cookie{Name: sessionCookie, Value: goodToken}
	answer := down.get("/t/acme/runs")
	wantStatus(t, answer, http.StatusServiceUnavailable)
	wantText(t, answer, "The API does not answer at the moment")
	if strings.Contains(answer.Body.String(), "10.1.2.3") {
		t.Error("the page tells where the API is")
	}
	wantStatus(t, down.get("/t/acme/live/runs"), http.StatusServiceUnavailable)
}

func TestThemeOfThePage(t *testing.T) {
	b := setup(t, false)
	for value, want := range map[string]string{"dark": `<html lang="en" data-theme="dark">`, "light": `<html lang="en" data-theme="light">`, "purple": `<html lang="en">`, "": `<html lang="en">`} {
		b.cookies[themeCookie] = &http.Cookie{Name: themeCookie, Value: value}
		wantText(t, b.get("/sign-in"), want)
	}
}
