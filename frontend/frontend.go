package frontend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
)

const (
	// callTimeout bounds all API calls of one page together.
	callTimeout = 15 * time.Second
	// maxForm bounds a posted form, in bytes.
	maxForm = 64 << 10
)

// Config is what the dashboard needs. All fields but Secure and Checkout are required.
type Config struct {
	// API carries the calls to the API.
	API connect.HTTPClient
	// BaseURL is the API's address, for example "http://127.0.0.1:7070".
	BaseURL string
	// Secure says that browsers reach the dashboard over HTTPS: cookies are then kept to it. Default false.
	Secure bool
	// Checkout is the folder of Tenon's source on the machine of whoever reads the dashboard, for the commands that it shows a newcomer. Default: they
	// are asked to put in theirs.
	Checkout string
	// Log receives faults of the API that a viewer is told about without details.
	Log *slog.Logger
}

// Validate names the first field that is missing or wrong.
func (c Config) Validate() error {
	if c.API == nil {
		return errors.New("frontend: Config.API is missing: give the client that carries the API's calls")
	}
	if c.Log == nil {
		return errors.New("frontend: Config.Log is missing: give a logger")
	}
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return fmt.Errorf("frontend: Config.BaseURL is %q; it must be the API's http or https address", c.BaseURL)
	}
	return nil
}

// site is the dashboard; it holds no state of its visitors.
type site struct {
	cfg      Config
	identity identityv1connect.IdentityServiceClient
	runs     runsv1connect.RunServiceClient
	registry registryv1connect.RegistryServiceClient
	workers  workersv1connect.WorkerAdminServiceClient
	assets   *assets
	now      func() time.Time
}

// New returns the dashboard as a handler for the root of an address, to be mounted below the API's own paths. It starts no goroutine.
func New(cfg Config) (http.Handler, error) {
	return newSite(cfg, time.Now)
}

func newSite(cfg Config, now func() time.Time) (http.Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	files, err := loadAssets()
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(cfg.BaseURL, "/")
	browser := connect.WithInterceptors(connect.UnaryInterceptorFunc(asBrowser))
	s := &site{
		cfg: cfg, assets: files, now: now,
		identity: identityv1connect.NewIdentityServiceClient(cfg.API, base, browser),
		runs:     runsv1connect.NewRunServiceClient(cfg.API, base, browser),
		registry: registryv1connect.NewRegistryServiceClient(cfg.API, base, browser),
		workers:  workersv1connect.NewWorkerAdminServiceClient(cfg.API, base, browser),
	}
	mux := http.NewServeMux()
	s.routes(mux)

	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(s.refuseForm))
	return s.guarded(protection.Handler(mux)), nil
}

// routes says which handler answers which address. What belongs to a tenant lies below "/t/{tenant}/".
func (s *site) routes(mux *http.ServeMux) {
	mux.Handle("GET /assets/{name}", s.assets)
	mux.HandleFunc("GET /{$}", s.start)
	mux.HandleFunc("GET "+signInPath, s.showSignIn)
	mux.HandleFunc("POST "+signInPath, s.checked(s.signIn))
	mux.HandleFunc("GET "+signUpPath, s.showSignUp)
	mux.HandleFunc("POST "+signUpPath, s.checked(s.signUp))
	mux.HandleFunc("POST /sign-out", s.checked(s.signOut))
	mux.HandleFunc("GET "+newTenantPath, s.signedIn(s.showNewTenant))
	mux.HandleFunc("POST "+newTenantPath, s.checked(s.signedIn(s.createTenant)))
	mux.Handle("GET /sign-out", http.RedirectHandler("/", http.StatusSeeOther))

	mux.HandleFunc("GET "+sessionsPath, s.signedIn(s.showSessions))
	mux.HandleFunc("POST "+sessionsPath+"/{session}/end", s.checked(s.signedIn(s.endSession)))
	mux.HandleFunc("POST "+sessionsPath+"/others/end", s.checked(s.signedIn(s.endOtherSessions)))

	mux.HandleFunc("GET "+joinPath+"{token}", s.showJoin)
	mux.HandleFunc("POST "+joinPath+"{token}", s.checked(s.signedIn(s.join)))
	for pattern, handle := range s.tenantPages() {
		handler := s.inTenant(handle)
		if strings.HasPrefix(pattern, "POST ") {
			handler = s.checked(handler)
		}
		mux.HandleFunc(pattern, handler)
	}
	mux.HandleFunc("GET /t/{tenant}/live/runs", s.live(s.followRuns))
	mux.HandleFunc("GET /t/{tenant}/live/overview", s.live(s.followOverview))
	mux.HandleFunc("GET /t/{tenant}/live/first-run", s.live(s.followFirstRun))
	mux.HandleFunc("GET /t/{tenant}/live/runs/{run}", s.live(s.followRun))
	mux.HandleFunc("GET /t/{tenant}/live/runs/{run}/logs", s.live(s.followLogs))
	mux.HandleFunc("GET /t/{tenant}/live/workers", s.live(s.followWorkers))
	mux.HandleFunc("GET /t/{tenant}/live/workers/{worker}", s.live(s.followWorker))
	mux.HandleFunc("/", s.notFound)
}

// tenantPages are the pages and forms of a tenant by their patterns.
func (s *site) tenantPages() map[string]page {
	return map[string]page{
		"GET /t/{tenant}/{$}":           s.showOverview,
		"GET /t/{tenant}/runs":          s.showRuns,
		"POST /t/{tenant}/runs":         s.steerRuns,
		"POST /t/{tenant}/first-worker": s.firstWorker,

		"GET /t/{tenant}/workflows":        s.showWorkflows,
		"GET /t/{tenant}/workflows/{name}": s.showWorkflow,
		"GET /t/{tenant}/trigger":          s.askTrigger,
		"POST /t/{tenant}/trigger":         s.trigger,
		"GET /t/{tenant}/palette":          s.showPalette,

		"GET /t/{tenant}/workers":                s.showWorkers,
		"GET /t/{tenant}/workers/{worker}":       s.showWorker,
		"POST /t/{tenant}/workers/{worker}":      s.steerWorker,
		"GET /t/{tenant}/workers/{worker}/drain": s.askDrain,

		"GET /t/{tenant}/tokens":                 s.showTokens,
		"GET /t/{tenant}/tokens/new":             s.askToken,
		"POST /t/{tenant}/tokens/new":            s.createToken,
		"GET /t/{tenant}/tokens/{token}/revoke":  s.askRevoke,
		"POST /t/{tenant}/tokens/{token}/revoke": s.revokeToken,

		"GET /t/{tenant}/invitations/new":                  s.askInvitation,
		"POST /t/{tenant}/invitations/new":                 s.createInvitation,
		"POST /t/{tenant}/invitations/{invitation}/revoke": s.revokeInvitation,

		"GET /t/{tenant}/members":                s.showMembers,
		"GET /t/{tenant}/members/new":            s.askMember,
		"POST /t/{tenant}/members/new":           s.addMember,
		"POST /t/{tenant}/members/{user}/role":   s.changeRole,
		"GET /t/{tenant}/members/{user}/remove":  s.askRemove,
		"POST /t/{tenant}/members/{user}/remove": s.removeMember,

		"GET /t/{tenant}/settings":  s.showSettings,
		"POST /t/{tenant}/settings": s.renameTenant,

		"GET /t/{tenant}/runs/{run}":         s.showRun,
		"GET /t/{tenant}/runs/{run}/panel":   s.showRunPanel,
		"GET /t/{tenant}/runs/{run}/json":    s.showRunJSON,
		"GET /t/{tenant}/runs/{run}/logs":    s.showLogs,
		"GET /t/{tenant}/runs/{run}/cancel":  s.askCancel,
		"POST /t/{tenant}/runs/{run}/cancel": s.cancelRun,
		"GET /t/{tenant}/runs/{run}/replay":  s.askReplay,
		"POST /t/{tenant}/runs/{run}/replay": s.replayRun,
	}
}

// guarded sets the headers that every answer has, and bounds how long and how large a request may be.
func (s *site) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "+
			"form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if s.cfg.Secure {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if !streams(r) {
			ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

// shell is the frame of a page for a visitor.
func (s *site) shell(r *http.Request, title, csrf string) pages.Shell {
	shell := pages.Shell{Title: title, Stylesheet: s.assets.path("app.css"), Script: s.assets.path("app.js"), CSRF: csrf}
	// The page's own script writes this cookie: it is a matter of taste, not of trust.
	if cookie, err := r.Cookie(themeCookie); err == nil && (cookie.Value == "light" || cookie.Value == "dark") {
		shell.Theme = cookie.Value
	}
	return shell
}

func (s *site) notFound(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusNotFound, pages.Message(s.shell(r, "Page not found", ""), "There is no page at this address."))
}

func (s *site) refuseForm(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusForbidden, pages.Message(s.shell(r, "Form refused", ""),
		"This form was not sent from a page of this dashboard, or the page was too old. Nothing was changed: open the page again and send it once more."))
}
