package frontend

import (
	"net/http"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

func (s *site) showSettings(w http.ResponseWriter, r *http.Request, v visitor) {
	s.settings(w, r, v, http.StatusOK, pages.SettingsView{Name: v.membership.GetTenant().GetDisplayName()})
}

func (s *site) settings(w http.ResponseWriter, r *http.Request, v visitor, status int, view pages.SettingsView) {
	view.Tenant, view.Now = v.membership.GetTenant(), s.now()
	v.shell.Section, v.shell.Title = "settings", "Settings"
	s.render(w, r, status, pages.Settings(v.shell, view))
}

func (s *site) renameTenant(w http.ResponseWriter, r *http.Request, v visitor) {
	view := pages.SettingsView{Name: r.PostForm.Get("name")}
	_, err := s.identity.RenameTenant(v.call(r), &identityv1.RenameTenantRequest{DisplayName: view.Name})
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		s.fail(w, r, v, err)
		return
	default:
	}
	if err != nil {
		var status int
		if status, view.Error = s.problem(r, err); connect.CodeOf(err) == connect.CodeInvalidArgument {
			view.Error = "A name has 1 to 100 characters."
		}
		s.settings(w, r, v, status, view)
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "settings")), "The tenant is called "+view.Name+" now.")
}
