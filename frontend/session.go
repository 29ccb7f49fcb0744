package frontend

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
)

const (
	signInPath    = "/sign-in"
	signUpPath    = "/sign-up"
	newTenantPath = "/tenants/new"

	sessionCookie = "tenon_session"
	tenantCookie  = "tenon_tenant"
	// visitorCookie holds a random value that a form's token is made from as long as there is no session.
	visitorCookie = "tenon_visitor"
	// themeCookie is read by the script too, and holds "light" or "dark".
	themeCookie = "tenon_theme"
	csrfField   = "csrf"
	// endedField in the address of the sign-in page says that a session has ended.
	endedField   = "ended"
	tenantHeader = "Tenon-Tenant"

	tenantCookieLife = 365 * 24 * time.Hour
)

// cookieName binds a cookie to this host and to HTTPS by its prefix, where browsers allow that.
func (s *site) cookieName(name string) string {
	if s.cfg.Secure {
		return "__Host-" + name
	}
	return name
}

// setCookie keeps a value in the browser for life; zero keeps it until the browser closes, below zero removes it.
func (s *site) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	cookie := &http.Cookie{ //nolint:gosec // Secure follows the config: plain HTTP on loopback has no other way
		Name: s.cookieName(name), Value: value, Path: "/", HttpOnly: true, Secure: s.cfg.Secure, SameSite: http.SameSiteLaxMode,
		MaxAge: int(life / time.Second),
	}
	if life < 0 {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

func (s *site) cookie(r *http.Request, name string) string {
	cookie, err := r.Cookie(s.cookieName(name))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// csrfToken is the token of a form: made from a secret that only this browser's cookie holds, so no process has to remember it.
func csrfToken(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("tenon form"))
	return hex.EncodeToString(mac.Sum(nil))
}

// visitorToken returns the form token of a browser without a session, giving it a cookie first if need be.
func (s *site) visitorToken(w http.ResponseWriter, r *http.Request) string {
	secret := s.cookie(r, visitorCookie)
	if secret == "" {
		secret = rand.Text()
		s.setCookie(w, visitorCookie, secret, 0)
	}
	return csrfToken(secret)
}

// checked lets a form through only with the token of the page it was sent from. Requests of other origins are refused before.
func (s *site) checked(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			s.refuseForm(w, r)
			return
		}
		got := r.PostForm.Get(csrfField)
		for _, name := range []string{sessionCookie, visitorCookie} {
			secret := s.cookie(r, name)
			if secret != "" && subtle.ConstantTimeCompare([]byte(got), []byte(csrfToken(secret))) == 1 {
				next(w, r)
				return
			}
		}
		s.refuseForm(w, r)
	}
}

// call returns a context whose API call is made with the given token and tenant, either of which may be empty. The API counts calls
// without a token by address, so the browser's goes along; it is believed where the API trusts this process as a proxy.
func call(r *http.Request, token, tenant string) context.Context {
	ctx, info := connect.NewClientContext(r.Context())
	header := info.RequestHeader()
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	if tenant != "" {
		header.Set(tenantHeader, tenant)
	}
	hops := r.Header.Values("X-Forwarded-For")
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		hops = append(slices.Clip(hops), host)
	}
	if len(hops) > 0 {
		header.Set("X-Forwarded-For", strings.Join(hops, ", "))
	}
	return context.WithValue(ctx, browserKey{}, r.UserAgent())
}

type browserKey struct{}

// asBrowser names the browser as the program that calls, for the list of somebody's sessions. Connect writes its own name over the header that a
// call's context has.
func asBrowser(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		if name, _ := ctx.Value(browserKey{}).(string); name != "" {
			request.Header().Set("User-Agent", name)
		}
		return next(ctx, request)
	}
}

// toSignIn ends a session that the API does not know any more and asks for another, coming back to the page afterwards.
func (s *site) toSignIn(w http.ResponseWriter, r *http.Request) {
	query := url.Values{}
	if s.cookie(r, sessionCookie) != "" {
		s.setCookie(w, sessionCookie, "", -1)
		query.Set(endedField, "1")
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		query.Set("next", r.URL.RequestURI())
	}
	target := url.URL{Path: signInPath, RawQuery: query.Encode()}
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
}

// safeNext returns where to go after signing in: a page of this dashboard, whatever the address said.
func safeNext(next string) string {
	// Browsers read "\" as "/" and drop tabs and line ends, so "/\evil" and "/<tab>/evil" would lead away.
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsFunc(next, func(c rune) bool { return c < ' ' || c == '\\' || c == 0x7f }) {
		return "/"
	}
	parsed, err := url.Parse(next)
	if err != nil || parsed.Scheme != "" || parsed.Host != "" || parsed.User != nil {
		return "/"
	}
	return next
}

// publicText is the API's own text of an error, without the code that Error() puts before it.
func publicText(err error) string {
	if wire, ok := errors.AsType[*connect.Error](err); ok {
		return wire.Message()
	}
	return err.Error()
}
