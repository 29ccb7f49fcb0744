package frontend

import (
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

func (s *site) showSignIn(w http.ResponseWriter, r *http.Request) {
	next := safeNext(r.URL.Query().Get("next"))
	if s.cookie(r, sessionCookie) != "" {
		http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // safeNext has checked that it stays here
		return
	}
	form := pages.AccountForm{Next: next}
	if r.URL.Query().Has(endedField) {
		form.Notice = "Your session has ended. Sign in to go on where you were."
	}
	s.render(w, r, http.StatusOK, pages.SignIn(s.shell(r, "Sign in", s.visitorToken(w, r)), form))
}

func (s *site) signIn(w http.ResponseWriter, r *http.Request) {
	form := accountForm(r)
	answer, err := s.identity.SignIn(call(r, "", ""), &identityv1.SignInRequest{Email: form.Email, Password: r.PostForm.Get("password")})
	if err != nil {
		status, text := s.problem(r, err)
		switch connect.CodeOf(err) {
		case connect.CodeUnauthenticated:
			text = "The address or the password is wrong."
		case connect.CodeInvalidArgument:
			text = "Enter your address and your password."
		default:
		}
		form.Error = text
		s.render(w, r, status, pages.SignIn(s.shell(r, "Sign in", s.visitorToken(w, r)), form))
		return
	}
	s.open(w, r, answer.GetSessionToken(), answer.GetExpireTime())
}

func (s *site) showSignUp(w http.ResponseWriter, r *http.Request) {
	form := pages.AccountForm{Next: safeNext(r.URL.Query().Get("next"))}
	s.render(w, r, http.StatusOK, pages.SignUp(s.shell(r, "Sign up", s.visitorToken(w, r)), form))
}

func (s *site) signUp(w http.ResponseWriter, r *http.Request) {
	form := accountForm(r)
	answer, err := s.identity.SignUp(call(r, "", ""), &identityv1.SignUpRequest{
		Email: form.Email, Password: r.PostForm.Get("password"), DisplayName: form.Name,
	})
	if err != nil {
		status, text := s.problem(r, err)
		switch connect.CodeOf(err) {
		case connect.CodeAlreadyExists:
			text = "Another user has this address: sign in instead."
		case connect.CodeInvalidArgument:
			text = "Enter a valid address and a password of 12 to 256 characters."
		default:
		}
		form.Error = text
		s.render(w, r, status, pages.SignUp(s.shell(r, "Sign up", s.visitorToken(w, r)), form))
		return
	}
	s.open(w, r, answer.GetSessionToken(), answer.GetExpireTime())
}

func accountForm(r *http.Request) pages.AccountForm {
	return pages.AccountForm{Email: r.PostForm.Get("email"), Name: r.PostForm.Get("name"), Next: safeNext(r.PostForm.Get("next"))}
}

// open puts a fresh session into the browser and goes on to the page asked for.
func (s *site) open(w http.ResponseWriter, r *http.Request, token string, expires *timestamppb.Timestamp) {
	// At least a second: a life of zero would keep the cookie until the browser closes.
	s.setCookie(w, sessionCookie, token, max(expires.AsTime().Sub(s.now()), time.Second))
	// From here on forms are bound to the session.
	s.setCookie(w, visitorCookie, "", -1)
	http.Redirect(w, r, safeNext(r.PostForm.Get("next")), http.StatusSeeOther) //nolint:gosec // safeNext keeps it here
}

func (s *site) signOut(w http.ResponseWriter, r *http.Request) {
	if token := s.cookie(r, sessionCookie); token != "" {
		_, err := s.identity.SignOut(call(r, token, ""), &identityv1.SignOutRequest{})
		if err != nil && connect.CodeOf(err) != connect.CodeUnauthenticated {
			s.cfg.Log.WarnContext(r.Context(), "frontend: a session was not revoked at sign-out; it ends when it expires", slog.Any("error", err))
		}
	}
	s.setCookie(w, sessionCookie, "", -1)
	s.setCookie(w, tenantCookie, "", -1)
	http.Redirect(w, r, signInPath, http.StatusSeeOther)
}

func (s *site) showNewTenant(w http.ResponseWriter, r *http.Request, v visitor) {
	s.lastTenant(r, &v)
	v.shell.Title = "Create a tenant"
	s.render(w, r, http.StatusOK, pages.CreateTenant(v.shell, pages.TenantForm{}))
}

func (s *site) createTenant(w http.ResponseWriter, r *http.Request, v visitor) {
	form := pages.TenantForm{Slug: r.PostForm.Get("slug"), Name: r.PostForm.Get("name")}
	_, err := s.identity.CreateTenant(call(r, v.token, ""), &identityv1.CreateTenantRequest{Slug: form.Slug, DisplayName: form.Name})
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated:
		s.toSignIn(w, r)
		return
	case connect.CodeInvalidArgument:
		form.Error = "A short name is 3 to 63 of a-z, 0-9 and hyphen, a letter first and no hyphen last."
	case connect.CodeAlreadyExists:
		form.Error = "Another tenant has this short name: choose another."
	default:
	}
	if err == nil {
		s.setCookie(w, tenantCookie, form.Slug, tenantCookieLife)
		http.Redirect(w, r, string(pages.At(form.Slug)), http.StatusSeeOther)
		return
	}
	status, text := s.problem(r, err)
	if form.Error == "" {
		form.Error = text
	}
	s.lastTenant(r, &v)
	v.shell.Title = "Create a tenant"
	s.render(w, r, status, pages.CreateTenant(v.shell, form))
}
