package frontend

import (
	"net/http"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

const joinPath = "/join/"

func (s *site) askInvitation(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "members"
	s.form(w, r, v, http.StatusOK, "Invite somebody", pages.NewInvitation(v.shell, pages.MemberForm{Role: "developer"}))
}

// createInvitation makes a link that lets whoever has it join, and shows it on the answer itself: it is nowhere else.
func (s *site) createInvitation(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section, v.shell.Title = "members", "Invitation made"
	made, err := s.identity.CreateInvitation(v.call(r), &identityv1.CreateInvitationRequest{Role: pages.ParseRole(r.PostForm.Get("role"))})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.render(w, r, http.StatusOK, pages.InvitationMade(v.shell, made.GetInvitation(), s.address(r)+joinPath+made.GetToken(), s.now()))
}

func (s *site) revokeInvitation(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "members"
	if _, err := s.identity.RevokeInvitation(v.call(r), &identityv1.RevokeInvitationRequest{InvitationId: r.PathValue("invitation")}); err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "members")), "The link does not work any more.")
}

// showJoin tells who has a link what it leads to; a stranger is asked to sign up or in first, and comes back.
func (s *site) showJoin(w http.ResponseWriter, r *http.Request) {
	read, err := s.identity.ReadInvitation(call(r, "", ""), &identityv1.ReadInvitationRequest{Token: r.PathValue("token")})
	if err != nil {
		status, text := s.problem(r, err)
		s.render(w, r, status, pages.Message(s.shell(r, "This invitation does not work", ""), text+" Ask whoever sent it for a new one."))
		return
	}
	shell := s.shell(r, "Join "+read.GetTenant().GetDisplayName(), "")
	if token := s.cookie(r, sessionCookie); token != "" {
		shell.CSRF = csrfToken(token)
	}
	s.render(w, r, http.StatusOK, pages.Join(shell, read.GetTenant(), read.GetInvitation(), r.URL.Path))
}

func (s *site) join(w http.ResponseWriter, r *http.Request, v visitor) {
	joined, err := s.identity.AcceptInvitation(v.call(r), &identityv1.AcceptInvitationRequest{Token: r.PathValue("token")})
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		s.toSignIn(w, r)
		return
	}
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.done(w, r, v, string(pages.At(joined.GetTenant().GetSlug())), "You are a member of "+joined.GetTenant().GetDisplayName()+" now.")
}
