package frontend

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// firstWorker makes what a tenant's first run takes: a worker token and an API token, shown once.
func (s *site) firstWorker(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Title, v.shell.Section = "Your first worker", "overview"
	steps := s.firstSteps(r)
	for _, wanted := range []struct {
		secret *string
		req    *identityv1.CreateTokenRequest
	}{
		{&steps.WorkerToken, &identityv1.CreateTokenRequest{Name: "first worker", Kind: identityv1.TokenKind_TOKEN_KIND_WORKER}},
		{&steps.APIToken, &identityv1.CreateTokenRequest{
			Name: "first trigger", Kind: identityv1.TokenKind_TOKEN_KIND_API, Role: identityv1.Role_ROLE_DEVELOPER,
		}},
	} {
		answer, err := s.identity.CreateToken(v.call(r), wanted.req)
		if connect.CodeOf(err) == connect.CodePermissionDenied {
			v.shell.Title = "Not allowed"
			s.render(w, r, http.StatusForbidden, pages.Message(v.shell,
				"Your role in this tenant does not allow making tokens. Ask an owner or an admin of the tenant for a worker token and an API token."))
			return
		}
		if err != nil {
			s.fail(w, r, v, err)
			return
		}
		*wanted.secret = answer.GetSecret()
	}
	try, err := s.firstRun(r, v, pages.FirstWorkflow)
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.render(w, r, http.StatusOK, pages.FirstWorker(v.shell, steps, try))
}

// followFirstRun tells how far a newcomer has come, as workers and runs appear.
func (s *site) followFirstRun(r *http.Request, v visitor, out *stream) error {
	return latest(r.Context(), out, func(ctx context.Context) error {
		try, err := s.firstRun(r, v, pages.FirstWorkflow)
		if err != nil {
			return err
		}
		return out.show(ctx, pages.FirstRunBody(v.shell, try))
	}, s.ofRuns(r, v, &runsv1.WatchRunsRequest{}), s.ofWorkers(r, v, ""))
}

// firstRun reads what a first run of a workflow, or of any, needs, and the run.
func (s *site) firstRun(r *http.Request, v visitor, workflow string) (pages.FirstRun, error) {
	out := pages.FirstRun{Now: s.now()}
	workers, err := s.workers.ListWorkers(v.call(r), &workersv1.ListWorkersRequest{PageSize: workersPerPage, AttachedOnly: true})
	if err != nil {
		return out, err
	}
	for _, w := range workers.GetWorkers() {
		if out.Worker == nil && (workflow == "" || slices.Contains(w.GetActions(), workflow+"/"+workflow)) {
			out.Worker = w
		}
	}
	workflows, err := s.registry.ListWorkflows(v.call(r), &registryv1.ListWorkflowsRequest{PageSize: workflowsPerPage})
	if err != nil {
		return out, err
	}
	for _, wf := range workflows.GetWorkflows() {
		if workflow == "" || wf.GetName() == workflow {
			out.Workflows = append(out.Workflows, wf.GetName())
		}
	}
	if len(out.Workflows) == 0 {
		return out, nil // nor can there be a run of it
	}
	runs, err := s.runs.ListRuns(v.call(r), &runsv1.ListRunsRequest{PageSize: 1, Workflow: workflow})
	if len(runs.GetRuns()) > 0 {
		out.Run = runs.GetRuns()[0]
	}
	return out, err
}

// firstSteps is what a newcomer is told, without tokens.
func (s *site) firstSteps(r *http.Request) pages.FirstSteps {
	return pages.FirstSteps{Address: s.address(r), Checkout: s.cfg.Checkout}
}

// address is where this browser reaches the API: the dashboard's own address.
func (s *site) address(r *http.Request) string {
	address := url.URL{Scheme: "http", Host: r.Host}
	if s.cfg.Secure {
		address.Scheme = "https"
	}
	return address.String()
}
