package frontend

import (
	"net/http"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

const (
	membersPerPage   = 200
	invitationsShown = 50
)

func (s *site) showMembers(w http.ResponseWriter, r *http.Request, v visitor) {
	list, err := s.identity.ListMembers(v.call(r), &identityv1.ListMembersRequest{PageSize: membersPerPage, PageToken: r.URL.Query().Get("page_token")})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	invitations, err := s.identity.ListInvitations(v.call(r), &identityv1.ListInvitationsRequest{PageSize: invitationsShown})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section, v.shell.Title = "members", "Members"
	s.render(w, r, http.StatusOK, pages.Members(v.shell, pages.MembersView{Members: list.GetMembers(), Invitations: invitations.GetInvitations(), Next: list.GetNextPageToken(), Now: s.now()}))
}

func (s *site) askMember(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "members"
	s.form(w, r, v, http.StatusOK, "Add a member", pages.NewMember(v.shell, pages.MemberForm{Role: "developer"}))
}

func (s *site) addMember(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "members"
	form := pages.MemberForm{Email: r.PostForm.Get("email"), Role: r.PostForm.Get("role")}
	_, err := s.identity.AddMember(v.call(r), &identityv1.AddMemberRequest{Email: form.Email, Role: pages.ParseRole(form.Role)})
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		s.fail(w, r, v, err)
		return
	}
	if err != nil {
		status, text := s.problem(r, err)
		form.Error = text
		s.form(w, r, v, status, "Add a member", pages.NewMember(v.shell, form))
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "members")), form.Email+" is a member now.")
}

func (s *site) changeRole(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "members"
	role := r.PostForm.Get("role")
	_, err := s.identity.ChangeMemberRole(v.call(r), &identityv1.ChangeMemberRoleRequest{UserId: r.PathValue("user"), Role: pages.ParseRole(role)})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "members")), "The role is "+role+" now.")
}

func (s *site) askRemove(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "members"
	member, err := s.findMember(r, v, r.PathValue("user"))
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.form(w, r, v, http.StatusOK, "Remove a member", pages.RemoveMember(v.shell, member))
}

// findMember looks a member up by its user's id, page by page: the API has no call for one.
func (s *site) findMember(r *http.Request, v visitor, id string) (*identityv1.Member, error) {
	const perPage = 1000
	req := &identityv1.ListMembersRequest{PageSize: perPage}
	for {
		list, err := s.identity.ListMembers(v.call(r), req)
		if err != nil {
			return nil, err
		}
		for _, m := range list.GetMembers() {
			if m.GetUser().GetId() == id {
				return m, nil
			}
		}
		if req.PageToken = list.GetNextPageToken(); req.GetPageToken() == "" {
			return nil, connect.NewError(connect.CodeNotFound, errNoMember)
		}
	}
}

func (s *site) removeMember(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "members"
	if _, err := s.identity.RemoveMember(v.call(r), &identityv1.RemoveMemberRequest{UserId: r.PathValue("user")}); err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "members")), "The member is removed.")
}
