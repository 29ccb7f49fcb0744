package frontend

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

// tenantsShown bounds the list of tenants to switch to.
const tenantsShown = 1000

// visitor is who looks at a page, and in which tenant.
type visitor struct {
	token       string
	tenant      string
	memberships []*identityv1.Membership
	// membership is the one in the tenant.
	membership *identityv1.Membership
	shell      pages.Shell
}

// page answers a visitor who is signed in.
type page func(w http.ResponseWriter, r *http.Request, v visitor)

// call returns a context for an API call in the visitor's name.
func (v visitor) call(r *http.Request) context.Context { return call(r, v.token, v.tenant) }

// signedIn lets through who is signed in, and sends everybody else to sign in first.
func (s *site) signedIn(next page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := s.visit(w, r)
		if err != nil {
			s.fail(w, r, v, err)
			return
		}
		next(w, r, v)
	}
}

// inTenant is signedIn for a page of the tenant that the address names.
func (s *site) inTenant(next page) http.HandlerFunc {
	return s.signedIn(func(w http.ResponseWriter, r *http.Request, v visitor) {
		if !s.enter(r, &v) {
			v.shell.Title = "No such tenant"
			s.render(w, r, http.StatusNotFound, pages.Message(v.shell, "You are not a member of a tenant called “"+r.PathValue("tenant")+"”."))
			return
		}
		if v.tenant != s.cookie(r, tenantCookie) {
			s.setCookie(w, tenantCookie, v.tenant, tenantCookieLife)
		}
		v.shell.Said = s.takeSaid(w, r, v.token)
		next(w, r, v)
	})
}

// visit finds out who is signed in, and where they may go.
func (s *site) visit(_ http.ResponseWriter, r *http.Request) (visitor, error) {
	v := visitor{token: s.cookie(r, sessionCookie)}
	v.shell = s.shell(r, "Tenon", "")
	if v.token == "" {
		return v, connect.NewError(connect.CodeUnauthenticated, errSignIn)
	}
	v.shell.CSRF = csrfToken(v.token)
	list, err := s.identity.ListTenants(call(r, v.token, ""), &identityv1.ListTenantsRequest{PageSize: tenantsShown})
	if err == nil && !part(r) {
		var who *identityv1.WhoAmIResponse
		who, err = s.identity.WhoAmI(call(r, v.token, ""), &identityv1.WhoAmIRequest{})
		v.shell.User = who.GetUser().GetEmail()
	}
	v.memberships = list.GetMemberships()
	for _, m := range v.memberships {
		v.shell.Tenants = append(v.shell.Tenants, pages.Choice{Value: m.GetTenant().GetSlug(), Label: m.GetTenant().GetDisplayName()})
	}
	return v, err
}

// enter puts the visitor into the tenant of the address, and reports whether they are a member of it. Only the API's own list counts: an
// address never becomes a header by itself.
func (s *site) enter(r *http.Request, v *visitor) bool {
	asked := r.PathValue("tenant")
	i := slices.IndexFunc(v.memberships, func(m *identityv1.Membership) bool { return m.GetTenant().GetSlug() == asked })
	if i < 0 {
		return false
	}
	s.settle(v, v.memberships[i])
	return true
}

// settle puts the visitor into a tenant that they are a member of.
func (*site) settle(v *visitor, m *identityv1.Membership) {
	v.membership = m
	v.tenant, v.shell.Tenant = m.GetTenant().GetSlug(), m.GetTenant().GetSlug()
	role := m.GetRole()
	v.shell.Role = pages.RoleName(role)
	admin := role == identityv1.Role_ROLE_OWNER || role == identityv1.Role_ROLE_ADMIN
	developer := admin || role == identityv1.Role_ROLE_DEVELOPER
	v.shell.May = pages.May{Run: developer, Workers: developer, Tokens: admin, Members: admin, Tenant: role == identityv1.Role_ROLE_OWNER}
}

// lastTenant puts a visitor of a page that belongs to no tenant into the one looked at last, else the oldest, for the navigation; it reports
// whether there is any.
func (s *site) lastTenant(r *http.Request, v *visitor) bool {
	if len(v.memberships) == 0 {
		return false
	}
	last := s.cookie(r, tenantCookie)
	i := slices.IndexFunc(v.memberships, func(m *identityv1.Membership) bool { return m.GetTenant().GetSlug() == last })
	s.settle(v, v.memberships[max(i, 0)])
	return true
}

// start leads to the tenant looked at last, else the oldest, else to making one.
func (s *site) start(w http.ResponseWriter, r *http.Request) {
	s.signedIn(func(w http.ResponseWriter, r *http.Request, v visitor) {
		if !s.lastTenant(r, &v) {
			http.Redirect(w, r, newTenantPath, http.StatusSeeOther)
			return
		}
		http.Redirect(w, r, string(pages.At(v.tenant)), http.StatusSeeOther)
	})(w, r)
}

// fail answers with what went wrong; whoever is not signed in any more is sent to sign in.
func (s *site) fail(w http.ResponseWriter, r *http.Request, v visitor, err error) {
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		s.toSignIn(w, r)
		return
	}
	status, text := s.problem(r, err)
	v.shell.Title = "Something is wrong"
	switch status {
	case http.StatusNotFound:
		v.shell.Title = "Not found"
	case http.StatusForbidden:
		v.shell.Title = "Not allowed"
	}
	if part(r) {
		s.render(w, r, status, pages.Problem(text))
		return
	}
	s.render(w, r, status, pages.Message(v.shell, text))
}

// part reports whether a script asks for a piece of a page.
func part(r *http.Request) bool {
	return r.Header.Get("Hx-Request") != "" || r.Header.Get(fragmentHeader) != "" || streams(r)
}

// fragmentHeader asks for a form without the page around it.
const fragmentHeader = "Tenon-Fragment"

// streams reports whether the answer goes on for as long as somebody looks.
func streams(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/live/") && r.Method == http.MethodGet
}

// form shows a form: alone on a page, or bare where a page's script puts it into a dialog.
func (s *site) form(w http.ResponseWriter, r *http.Request, v visitor, status int, title string, form pages.Form) {
	v.shell.Title = title
	if r.Header.Get(fragmentHeader) != "" {
		s.render(w, r, status, pages.InDialog(form))
		return
	}
	s.render(w, r, status, pages.OnPage(v.shell, form))
}
