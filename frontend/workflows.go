package frontend

import (
	"net/http"
	"strconv"

	"github.com/tenon-run/tenon/frontend/pages"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

const (
	workflowsPerPage = 200 // to choose from
	workflowsListed  = 50  // with their health
	versionsShown    = 100
	recentShown      = 10
)

func (s *site) showWorkflows(w http.ResponseWriter, r *http.Request, v visitor) {
	list, err := s.registry.ListWorkflows(v.call(r), &registryv1.ListWorkflowsRequest{PageSize: workflowsListed, PageToken: r.URL.Query().Get("page_token")})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	view := pages.WorkflowsView{Workflows: list.GetWorkflows(), Next: list.GetNextPageToken(), Now: s.now(), First: s.firstSteps(r)}
	if view.Health, err = s.healthOf(r, v, view.Workflows); err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section, v.shell.Title = "workflows", "Workflows"
	s.render(w, r, http.StatusOK, pages.Workflows(v.shell, view))
}

// healthOf reads how the runs of a page of workflows went, by their names.
func (s *site) healthOf(r *http.Request, v visitor, workflows []*registryv1.Workflow) (map[string]*runsv1.GetWorkflowHealthResponse, error) {
	if len(workflows) == 0 {
		return nil, nil
	}
	req := &runsv1.ListWorkflowHealthRequest{}
	for _, wf := range workflows {
		req.Workflows = append(req.Workflows, wf.GetName())
	}
	list, err := s.runs.ListWorkflowHealth(v.call(r), req)
	out := make(map[string]*runsv1.GetWorkflowHealthResponse, len(list.GetWorkflows()))
	for _, one := range list.GetWorkflows() {
		out[one.GetWorkflow()] = one.GetHealth()
	}
	return out, err
}

// showWorkflow is one workflow: the newest version, or the one that the address names.
func (s *site) showWorkflow(w http.ResponseWriter, r *http.Request, v visitor) {
	view, err := s.wholeWorkflow(r, v)
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section, v.shell.Title = "workflows", view.Workflow.GetName()
	s.render(w, r, http.StatusOK, pages.Workflow(v.shell, view))
}

func (s *site) wholeWorkflow(r *http.Request, v visitor) (pages.WorkflowView, error) {
	view := pages.WorkflowView{Now: s.now()}
	name := r.PathValue("name")
	asked, _ := strconv.ParseInt(r.URL.Query().Get("version"), 10, 32) // anything else is the newest
	got, err := s.registry.GetWorkflow(v.call(r), &registryv1.GetWorkflowRequest{Name: name, Version: int32(max(asked, 0))})
	if err != nil {
		return view, err
	}
	view.Workflow = got.GetWorkflow()
	versions, err := s.registry.ListWorkflowVersions(v.call(r), &registryv1.ListWorkflowVersionsRequest{Name: name, PageSize: versionsShown})
	if err != nil {
		return view, err
	}
	view.Versions = versions.GetVersions()
	if number := view.Workflow.GetVersion().GetNumber(); number > 1 {
		before, err := s.registry.GetWorkflow(v.call(r), &registryv1.GetWorkflowRequest{Name: name, Version: number - 1})
		if err != nil {
			return view, err
		}
		view.Before = before.GetWorkflow().GetVersion()
	}
	recent, err := s.runs.ListRuns(v.call(r), &runsv1.ListRunsRequest{Workflow: name, PageSize: recentShown})
	if err != nil {
		return view, err
	}
	view.Recent = recent.GetRuns()
	view.Health, err = s.runs.GetWorkflowHealth(v.call(r), &runsv1.GetWorkflowHealthRequest{Workflow: name})
	return view, err
}
