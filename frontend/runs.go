package frontend

import (
	"net/http"
	"net/url"
	"slices"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

const (
	runsPerPage = 50
	// tenantsShown bounds the select of tenants.
	tenantsShown = 1000
	// fragmentHeader asks for the changing part of a page alone.
	fragmentHeader = "Tenon-Fragment"
)

// visitor is who looks at a page.
type visitor struct {
	token       string
	memberships []*identityv1.Membership
	shell       pages.Shell
}

// visit finds out who is signed in. It answers the request itself, and returns false, when nobody is or the API does not say.
func (s *site) visit(w http.ResponseWriter, r *http.Request) (visitor, bool) {
	v := visitor{token: s.cookie(r, sessionCookie)}
	if v.token == "" {
		s.toSignIn(w, r)
		return v, false
	}
	v.shell = s.shell("Runs", csrfToken(v.token))
	list, err := s.identity.ListTenants(call(r, v.token, ""), &identityv1.ListTenantsRequest{PageSize: tenantsShown})
	if err == nil && r.Header.Get(fragmentHeader) == "" {
		var who *identityv1.WhoAmIResponse
		who, err = s.identity.WhoAmI(call(r, v.token, ""), &identityv1.WhoAmIRequest{})
		v.shell.User = who.GetUser().GetEmail()
	}
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		s.toSignIn(w, r)
		return v, false
	}
	if err != nil {
		status, text := s.problem(r, err)
		v.shell.Title = "Something is wrong"
		s.render(w, r, status, pages.Message(v.shell, text))
		return v, false
	}
	v.memberships = list.GetMemberships()
	for _, m := range v.memberships {
		v.shell.Tenants = append(v.shell.Tenants, pages.Choice{Value: m.GetTenant().GetSlug(), Label: m.GetTenant().GetDisplayName()})
	}
	return v, true
}

// enter chooses the tenant to show. It answers the request itself, and returns false, when there is none.
func (s *site) enter(w http.ResponseWriter, r *http.Request, v *visitor, asked string) bool {
	if len(v.memberships) == 0 {
		v.shell.Title = "Create a tenant"
		s.render(w, r, http.StatusOK, pages.CreateTenant(v.shell, pages.TenantForm{}))
		return false
	}
	tenant := chooseTenant(v.memberships, asked, s.cookie(r, tenantCookie))
	if tenant == "" {
		v.shell.Title = "No such tenant"
		s.render(w, r, http.StatusNotFound, pages.Message(v.shell, "You are not a member of a tenant called “"+asked+"”."))
		return false
	}
	v.shell.Tenant = tenant
	if asked != "" && asked != s.cookie(r, tenantCookie) {
		s.setCookie(w, tenantCookie, tenant, tenantCookieLife)
	}
	return true
}

// showRuns is the list of the latest runs. Its whole state is in the address: tenant, filters, page, and the run whose tasks are shown.
// The script that keeps the page up to date asks for the list alone.
func (s *site) showRuns(w http.ResponseWriter, r *http.Request) {
	v, ok := s.visit(w, r)
	if !ok || !s.enter(w, r, &v, r.URL.Query().Get("tenant")) {
		return
	}
	view, status, err := s.runList(r, v.token, v.shell.Tenant)
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		s.toSignIn(w, r)
		return
	}
	if r.Header.Get(fragmentHeader) != "" {
		s.render(w, r, status, pages.RunList(v.shell, view))
		return
	}
	s.render(w, r, status, pages.Runs(v.shell, view))
}

// chooseTenant returns the slug of the tenant to show: the one asked for (empty if the user is no member of it), else the one looked at
// last, else the oldest. Only the API's own list counts: a cookie or an address never becomes a header by itself.
func chooseTenant(memberships []*identityv1.Membership, asked, last string) string {
	member := func(slug string) bool {
		return slices.ContainsFunc(memberships, func(m *identityv1.Membership) bool { return m.GetTenant().GetSlug() == slug })
	}
	switch {
	case asked != "" && member(asked):
		return asked
	case asked != "":
		return ""
	case member(last):
		return last
	default:
		return memberships[0].GetTenant().GetSlug()
	}
}

// runList asks the API for what the address names. The error is only for telling an ended session from the rest: the view shows it already.
func (s *site) runList(r *http.Request, token, tenant string) (pages.RunsView, int, error) {
	asked := r.URL.Query()
	view := pages.RunsView{
		Filter: pages.Filter{Tenant: tenant, Status: asked.Get("status"), Workflow: asked.Get("workflow"), Parent: asked.Get("parent"), Page: asked.Get("page_token")},
		First:  pages.FirstSteps{Tenant: tenant, Address: s.address(r)},
	}
	req := &runsv1.ListRunsRequest{PageSize: runsPerPage, PageToken: view.Filter.Page, Workflow: view.Filter.Workflow, ParentRunId: view.Filter.Parent}
	if view.Filter.Status != "" {
		status, ok := pages.ParseRunStatus(view.Filter.Status)
		if !ok {
			view.Error = "There is no run status “" + view.Filter.Status + "”. Choose one from the list."
			return view, http.StatusBadRequest, nil
		}
		req.Statuses = []runsv1.RunStatus{status}
	}
	list, err := s.runs.ListRuns(call(r, token, tenant), req)
	if err != nil {
		status, text := s.problem(r, err)
		view.Error = text
		return view, status, err
	}
	view.Next = list.GetNextPageToken()
	open := asked.Get("run")
	onPage := false
	for _, run := range list.GetRuns() {
		view.Runs = append(view.Runs, pages.Run{Run: run, Now: s.now()})
		onPage = onPage || run.GetId() == open
	}
	if open == "" {
		return view, http.StatusOK, nil
	}
	opened := pages.Run{Run: &runsv1.Run{Id: open}, Now: s.now(), Open: true}
	answer, err := s.runs.GetRun(call(r, token, tenant), &runsv1.GetRunRequest{RunId: open})
	if err != nil {
		status, text := s.problem(r, err)
		view.Error = text
		return view, status, err
	}
	opened.Run = answer.GetRun()
	if !onPage {
		view.Chosen = []pages.Run{opened}
		return view, http.StatusOK, nil
	}
	for i := range view.Runs {
		if view.Runs[i].Run.GetId() == open {
			view.Runs[i] = opened
		}
	}
	return view, http.StatusOK, nil
}

// address is where this browser reaches the API: the dashboard's own address.
func (s *site) address(r *http.Request) string {
	address := url.URL{Scheme: "http", Host: r.Host}
	if s.cfg.Secure {
		address.Scheme = "https"
	}
	return address.String()
}
