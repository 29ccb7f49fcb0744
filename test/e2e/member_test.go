package e2e

import (
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/rpc"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
)

// A stream that a member has open ends when the member's role changes, is opened again under the new role, and ends for good with the membership.
func TestAMembersStreamEndsWithTheRole(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	transport := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(transport.CloseIdleConnections)
	_, token := server.Token(t, server.Owner, authz.RoleDeveloper, time.Hour)
	registry := registryv1connect.NewRegistryServiceClient(transport, server.Address, withToken(token))
	if _, err := registry.PutWorkflow(t.Context(), &registryv1.PutWorkflowRequest{Spec: &registryv1.WorkflowSpec{
		Name: "waits", Tasks: []*registryv1.TaskSpec{{Name: "only"}},
	}}); err != nil {
		t.Fatal(err)
	}
	// Nobody works on it: it stays queued, and its streams open.
	run, err := runsv1connect.NewRunServiceClient(transport, server.Address, withToken(token)).
		Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "waits"}})
	if err != nil {
		t.Fatal(err)
	}
	session, err := server.Identity.SignUp(t.Context(), "bob@example.com", "correct horse battery", "Bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Identity.AddMember(t.Context(), server.Owner, "bob@example.com", authz.RoleDeveloper); err != nil {
		t.Fatal(err)
	}
	bob := runsv1connect.NewRunServiceClient(transport, server.Address, withToken(session.Secret))
	call, info := connect.NewClientContext(t.Context())
	info.RequestHeader().Set(authn.TenantHeader, "acme")
	ends := func(change func() error) error {
		t.Helper()
		stream, err := bob.WatchRun(call, &runsv1.WatchRunRequest{RunId: run.GetRunId()})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close() //nolint:errcheck // its end has been looked at
		if !stream.Receive() {
			t.Fatalf("the stream did not begin: %v", stream.Err())
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		for stream.Receive() { //nolint:revive // beats until the end
		}
		return stream.Err()
	}
	err = ends(func() error {
		_, err := server.Identity.ChangeMemberRole(t.Context(), server.Owner, session.User.ID, authz.RoleViewer)
		return err
	})
	if got := rpc.FromConnect(err); connect.CodeOf(err) != connect.CodeAborted || got.Reason != authn.ReasonMembershipChanged {
		t.Errorf("the stream of a developer who became a viewer ended with %v", err)
	}
	err = ends(func() error { return server.Identity.RemoveMember(t.Context(), server.Owner, session.User.ID) })
	if connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("the stream of a viewer who was removed ended with %v", err)
	}
	stream, err := bob.WatchRun(call, &runsv1.WatchRunRequest{RunId: run.GetRunId()})
	if err == nil {
		stream.Receive()
		err = stream.Err()
		_ = stream.Close()
	}
	if got := rpc.FromConnect(err); connect.CodeOf(err) != connect.CodePermissionDenied || got.Reason != authn.ReasonNotAMember {
		t.Errorf("after the removal: %v", err)
	}
}
