package frontend

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

func (f *fakeAPI) CreateToken(ctx context.Context, req *identityv1.CreateTokenRequest) (*identityv1.CreateTokenResponse, error) {
	token := &identityv1.Token{Id: "tok_new", Name: req.GetName(), Kind: req.GetKind(), Role: req.GetRole(), ExpireTime: timestamppb.New(testNow.AddDate(0, 0, 90))}
	return &identityv1.CreateTokenResponse{Token: token, Secret: "secret of " + req.GetName()}, f.change(ctx, req)
}

func (f *fakeAPI) ListTokens(context.Context, *identityv1.ListTokensRequest) (*identityv1.ListTokensResponse, error) {
	return &identityv1.ListTokensResponse{Tokens: f.tokens}, nil
}

func (f *fakeAPI) RevokeToken(ctx context.Context, req *identityv1.RevokeTokenRequest) (*identityv1.RevokeTokenResponse, error) {
	return &identityv1.RevokeTokenResponse{Token: &identityv1.Token{Name: "billing"}}, f.change(ctx, req)
}

func (f *fakeAPI) ListMembers(context.Context, *identityv1.ListMembersRequest) (*identityv1.ListMembersResponse, error) {
	return &identityv1.ListMembersResponse{Members: f.members}, nil
}

func (f *fakeAPI) AddMember(ctx context.Context, req *identityv1.AddMemberRequest) (*identityv1.AddMemberResponse, error) {
	return &identityv1.AddMemberResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) ChangeMemberRole(ctx context.Context, req *identityv1.ChangeMemberRoleRequest) (*identityv1.ChangeMemberRoleResponse, error) {
	return &identityv1.ChangeMemberRoleResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) RemoveMember(ctx context.Context, req *identityv1.RemoveMemberRequest) (*identityv1.RemoveMemberResponse, error) {
	return &identityv1.RemoveMemberResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) ListInvitations(context.Context, *identityv1.ListInvitationsRequest) (*identityv1.ListInvitationsResponse, error) {
	return &identityv1.ListInvitationsResponse{Invitations: []*identityv1.Invitation{{Id: "inv_a", Role: identityv1.Role_ROLE_VIEWER, ExpireTime: timestamppb.New(testNow.AddDate(0, 0, 7))}}}, nil
}

func (f *fakeAPI) CreateInvitation(ctx context.Context, req *identityv1.CreateInvitationRequest) (*identityv1.CreateInvitationResponse, error) {
	return &identityv1.CreateInvitationResponse{Invitation: &identityv1.Invitation{Role: req.GetRole()}, Token: "the-link"}, f.change(ctx, req)
}

func (f *fakeAPI) RevokeInvitation(ctx context.Context, req *identityv1.RevokeInvitationRequest) (*identityv1.RevokeInvitationResponse, error) {
	return &identityv1.RevokeInvitationResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) ReadInvitation(_ context.Context, req *identityv1.ReadInvitationRequest) (*identityv1.ReadInvitationResponse, error) {
	if req.GetToken() != "the-link" {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no such invitation."))
	}
	return &identityv1.ReadInvitationResponse{Tenant: &identityv1.Tenant{Slug: "beta", DisplayName: "Beta & Sons"}, Invitation: &identityv1.Invitation{Role: identityv1.Role_ROLE_VIEWER}}, nil
}

func (f *fakeAPI) AcceptInvitation(ctx context.Context, req *identityv1.AcceptInvitationRequest) (*identityv1.AcceptInvitationResponse, error) {
	return &identityv1.AcceptInvitationResponse{Tenant: &identityv1.Tenant{Slug: "beta", DisplayName: "Beta & Sons"}}, f.change(ctx, req)
}

func (f *fakeAPI) ListSessions(context.Context, *identityv1.ListSessionsRequest) (*identityv1.ListSessionsResponse, error) {
	return &identityv1.ListSessionsResponse{Sessions: []*identityv1.Session{{Id: "ses_this", Current: true}, {Id: "ses_other", UserAgent: "curl/8"}}}, nil
}

func (f *fakeAPI) SignOutSession(ctx context.Context, req *identityv1.SignOutSessionRequest) (*identityv1.SignOutSessionResponse, error) {
	return &identityv1.SignOutSessionResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) SignOutOtherSessions(ctx context.Context, req *identityv1.SignOutOtherSessionsRequest) (*identityv1.SignOutOtherSessionsResponse, error) {
	return &identityv1.SignOutOtherSessionsResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) ListWorkflows(context.Context, *registryv1.ListWorkflowsRequest) (*registryv1.ListWorkflowsResponse, error) {
	return &registryv1.ListWorkflowsResponse{Workflows: f.workflows}, nil
}

func (f *fakeAPI) GetWorkflow(_ context.Context, req *registryv1.GetWorkflowRequest) (*registryv1.GetWorkflowResponse, error) {
	for _, wf := range f.workflows {
		if wf.GetName() == req.GetName() {
			return &registryv1.GetWorkflowResponse{Workflow: wf}, nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New(`there is no workflow "`+req.GetName()+`"`))
}

func (f *fakeAPI) ListWorkflowVersions(_ context.Context, req *registryv1.ListWorkflowVersionsRequest) (*registryv1.ListWorkflowVersionsResponse, error) {
	out := &registryv1.ListWorkflowVersionsResponse{}
	for _, wf := range f.workflows {
		if wf.GetName() == req.GetName() {
			out.Versions = append(out.Versions, wf.GetVersion())
		}
	}
	return out, nil
}

func (f *fakeAPI) GetRunStats(context.Context, *runsv1.GetRunStatsRequest) (*runsv1.GetRunStatsResponse, error) {
	return &runsv1.GetRunStatsResponse{Running: 1234, Ended: &runsv1.RunCounts{Failed: 56}, Points: []*runsv1.RunStatsPoint{{Ended: &runsv1.RunCounts{Failed: 56}}}}, nil
}

func (f *fakeAPI) ListQueues(context.Context, *runsv1.ListQueuesRequest) (*runsv1.ListQueuesResponse, error) {
	return &runsv1.ListQueuesResponse{}, nil
}

func (f *fakeAPI) GetWorkflowHealth(context.Context, *runsv1.GetWorkflowHealthRequest) (*runsv1.GetWorkflowHealthResponse, error) {
	rate := 0.985
	return &runsv1.GetWorkflowHealthResponse{Ended: &runsv1.RunCounts{Completed: 197, Failed: 3}, SuccessRate: &rate}, nil
}

func (f *fakeAPI) ListWorkflowHealth(_ context.Context, req *runsv1.ListWorkflowHealthRequest) (*runsv1.ListWorkflowHealthResponse, error) {
	rate := 0.875
	return &runsv1.ListWorkflowHealthResponse{Workflows: []*runsv1.WorkflowHealth{
		{Workflow: req.GetWorkflows()[0], Health: &runsv1.GetWorkflowHealthResponse{Ended: &runsv1.RunCounts{Completed: 7, Failed: 1}, SuccessRate: &rate}},
	}}, nil
}

func (f *fakeAPI) RenameTenant(ctx context.Context, req *identityv1.RenameTenantRequest) (*identityv1.RenameTenantResponse, error) {
	return &identityv1.RenameTenantResponse{Tenant: &identityv1.Tenant{DisplayName: req.GetDisplayName()}}, f.change(ctx, req)
}

// WatchWorkers says that workers have changed as often as runs are said to have.
func (f *fakeAPI) WatchWorkers(ctx context.Context, _ *workersv1.WatchWorkersRequest, out *connect.ServerStream[workersv1.WatchWorkersResponse]) error {
	if err := out.Send(&workersv1.WatchWorkersResponse{Reset_: true}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case w, open := <-f.workerChanges:
			if !open {
				return connect.NewError(connect.CodeUnauthenticated, errors.New("the session has ended; sign in again"))
			}
			if err := out.Send(&workersv1.WatchWorkersResponse{Workers: []*workersv1.Worker{w}}); err != nil {
				return err
			}
		}
	}
}

func (f *fakeAPI) ListAttempts(context.Context, *runsv1.ListAttemptsRequest) (*runsv1.ListAttemptsResponse, error) {
	start := failedRun().GetStartTime()
	return &runsv1.ListAttemptsResponse{Attempts: []*runsv1.Attempt{
		{Task: "parse", Generation: 1, Number: 2, Outcome: runsv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED, StartTime: start, EndTime: start, Error: &runsv1.TaskError{Kind: "flaky", Message: "<i>once</i>"}},
	}}, nil
}

func (f *fakeAPI) WatchLogs(_ context.Context, req *runsv1.WatchLogsRequest, out *connect.ServerStream[runsv1.WatchLogsResponse]) error {
	line := &runsv1.LogLine{Id: "l1", Task: "parse", Time: failedRun().GetStartTime(), Message: "<u>logged</u> after " + req.GetResumeToken(), FieldsJson: `{"n":1}`}
	return out.Send(&runsv1.WatchLogsResponse{Lines: []*runsv1.LogLine{line}, ResumeToken: "r2"})
}

func (f *fakeAPI) ListWorkers(context.Context, *workersv1.ListWorkersRequest) (*workersv1.ListWorkersResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idle {
		return &workersv1.ListWorkersResponse{}, nil
	}
	return &workersv1.ListWorkersResponse{Workers: []*workersv1.Worker{oneWorker()}, AttachedWorkers: 1, Slots: 10, SlotsUsed: 4}, nil
}

func (f *fakeAPI) GetWorker(_ context.Context, req *workersv1.GetWorkerRequest) (*workersv1.GetWorkerResponse, error) {
	if req.GetWorkerId() != oneWorker().GetId() {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no worker "+req.GetWorkerId()))
	}
	return &workersv1.GetWorkerResponse{Worker: oneWorker(), Tasks: []*workersv1.WorkerTask{{RunId: "run_a", Workflow: "index", Task: "parse", Attempt: 2}}}, nil
}

func (f *fakeAPI) PauseWorker(ctx context.Context, req *workersv1.PauseWorkerRequest) (*workersv1.PauseWorkerResponse, error) {
	return &workersv1.PauseWorkerResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) ResumeWorker(ctx context.Context, req *workersv1.ResumeWorkerRequest) (*workersv1.ResumeWorkerResponse, error) {
	return &workersv1.ResumeWorkerResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) DrainWorker(ctx context.Context, req *workersv1.DrainWorkerRequest) (*workersv1.DrainWorkerResponse, error) {
	return &workersv1.DrainWorkerResponse{}, f.change(ctx, req)
}

func oneWorker() *workersv1.Worker {
	return &workersv1.Worker{Id: "wkr_a", Name: "<b>host</b>", Status: workersv1.WorkerStatus_WORKER_STATUS_CONNECTED, Slots: 10, SlotsUsed: 4, Actions: []string{"index/parse", "greet/greet"}}
}

func (f *fakeAPI) Trigger(ctx context.Context, req *runsv1.TriggerRequest) (*runsv1.TriggerResponse, error) {
	return &runsv1.TriggerResponse{RunId: "run_new"}, f.change(ctx, req)
}

func (f *fakeAPI) CancelRun(ctx context.Context, req *runsv1.CancelRunRequest) (*runsv1.CancelRunResponse, error) {
	return &runsv1.CancelRunResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) ReplayRun(ctx context.Context, req *runsv1.ReplayRunRequest) (*runsv1.ReplayRunResponse, error) {
	return &runsv1.ReplayRunResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) CancelRuns(ctx context.Context, req *runsv1.CancelRunsRequest) (*runsv1.CancelRunsResponse, error) {
	return &runsv1.CancelRunsResponse{Results: []*runsv1.RunResult{{RunId: "run_a"}, {RunId: "run_b", Error: &runsv1.ItemError{Message: "there is no such run"}}}}, f.change(ctx, req)
}

func (f *fakeAPI) ReplayRuns(ctx context.Context, req *runsv1.ReplayRunsRequest) (*runsv1.ReplayRunsResponse, error) {
	return &runsv1.ReplayRunsResponse{}, f.change(ctx, req)
}

func (f *fakeAPI) WatchRuns(ctx context.Context, _ *runsv1.WatchRunsRequest, out *connect.ServerStream[runsv1.WatchRunsResponse]) error {
	if err := out.Send(&runsv1.WatchRunsResponse{Reset_: true}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case run, open := <-f.changes:
			if !open {
				return connect.NewError(connect.CodeUnauthenticated, errors.New("the session has ended; sign in again"))
			}
			if err := out.Send(&runsv1.WatchRunsResponse{Runs: []*runsv1.Run{run}}); err != nil {
				return err
			}
		}
	}
}

func (f *fakeAPI) WatchRun(ctx context.Context, req *runsv1.WatchRunRequest, out *connect.ServerStream[runsv1.WatchRunResponse]) error {
	if req.GetRunId() != failedRun().GetId() {
		return connect.NewError(connect.CodeNotFound, errors.New("there is no run "+req.GetRunId()))
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case run := <-f.changes:
			if err := out.Send(&runsv1.WatchRunResponse{Run: run}); err != nil {
				return err
			}
			if run.GetStatus() == runsv1.RunStatus_RUN_STATUS_FAILED {
				return nil
			}
		}
	}
}
