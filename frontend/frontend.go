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
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
)

const (
	// callTimeout bounds all API calls of one page together.
	callTimeout = 15 * time.Second
	// maxForm bounds a posted form, in bytes.
	maxForm = 64 << 10
)

// Config is what the dashboard needs. All fields but Secure are required.
type Config struct {
	// API carries the calls to the API.
	API connect.HTTPClient
	// BaseURL is the API's address, for example "http://127.0.0.1:7070".
	BaseURL string
	// Secure says that browsers reach the dashboard over HTTPS: cookies are then kept to it. Default false.
	Secure bool
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
	}
	mux := http.NewServeMux()
	mux.Handle("GET /assets/{name}", files)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, runsPath, http.StatusSeeOther) })
	mux.HandleFunc("GET "+signInPath, s.showSignIn)
	mux.HandleFunc("POST "+signInPath, s.checked(s.signIn))
	mux.HandleFunc("GET "+signUpPath, s.showSignUp)
	mux.HandleFunc("POST "+signUpPath, s.checked(s.signUp))
	mux.HandleFunc("POST /sign-out", s.checked(s.signOut))
	mux.HandleFunc("POST /tenants", s.checked(s.createTenant))
	mux.HandleFunc("POST /first-worker", s.checked(s.firstWorker))
	mux.HandleFunc("GET "+runsPath, s.showRuns)
	// A form that was refused is shown at the address it was sent to; whoever loads that again lands here.
	for _, path := range []string{"/sign-out", "/tenants", "/first-worker"} {
		mux.Handle("GET "+path, http.RedirectHandler(runsPath, http.StatusSeeOther))
	}
	mux.HandleFunc("/", s.notFound)

	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(s.refuseForm))
	return s.guarded(protection.Handler(mux)), nil
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
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// shell is the frame of a page for a visitor.
func (s *site) shell(title, csrf string) pages.Shell {
	return pages.Shell{Title: title, Stylesheet: s.assets.path("app.css"), Script: s.assets.path("app.js"), CSRF: csrf}
}

func (s *site) notFound(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusNotFound, pages.Message(s.shell("Page not found", ""), "There is no page at this address."))
}

func (s *site) refuseForm(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusForbidden, pages.Message(s.shell("Form refused", ""),
		"This form was not sent from a page of this dashboard, or the page was too old. Nothing was changed: open the page again and send it once more."))
}
