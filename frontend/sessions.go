package frontend

import (
	"net/http"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

const (
	sessionsPath  = "/account/sessions"
	sessionsShown = 200
)

func (s *site) showSessions(w http.ResponseWriter, r *http.Request, v visitor) {
	list, err := s.identity.ListSessions(v.call(r), &identityv1.ListSessionsRequest{PageSize: sessionsShown})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.lastTenant(r, &v)
	v.shell.Section, v.shell.Title, v.shell.Said = "sessions", "Your sessions", s.takeSaid(w, r, v.token)
	s.render(w, r, http.StatusOK, pages.Sessions(v.shell, pages.SessionsView{Sessions: list.GetSessions(), Now: s.now()}))
}

func (s *site) endSession(w http.ResponseWriter, r *http.Request, v visitor) {
	if _, err := s.identity.SignOutSession(v.call(r), &identityv1.SignOutSessionRequest{SessionId: r.PathValue("session")}); err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.done(w, r, v, sessionsPath, "The session is ended.")
}

func (s *site) endOtherSessions(w http.ResponseWriter, r *http.Request, v visitor) {
	if _, err := s.identity.SignOutOtherSessions(v.call(r), &identityv1.SignOutOtherSessionsRequest{}); err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.done(w, r, v, sessionsPath, "You are signed out everywhere else.")
}
