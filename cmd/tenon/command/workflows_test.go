package command_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func getWorkflow(name string) *registryv1.GetWorkflowRequest {
	return &registryv1.GetWorkflowRequest{Name: name}
}

// developer is a client that may do what a developer may.
func developer(t *testing.T, server *apptest.Server) *tenon.Client {
	t.Helper()
	_, token := server.Token(t, server.Owner, authz.RoleDeveloper, time.Hour)
	client, err := tenon.NewClient(tenon.WithAddress(server.Address), tenon.WithToken(token))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestWorkflows(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	y.types("workflows", "list")
	client := developer(t, server)
	spec := &registryv1.WorkflowSpec{
		Name: "order", Description: "An order from payment to parcel", InputSchemaJson: `{"type": "integer"}`,
		Tasks: []*registryv1.TaskSpec{
			{Name: "reserve"},
			{Name: "charge", Parents: []string{"reserve"}, Retry: &registryv1.RetryPolicy{MaxRetries: 2}},
			{Name: "pack", Parents: []string{"reserve"}, Queue: "warehouse"},
			{Name: "ship", Parents: []string{"charge", "pack"}},
		},
	}
	put := func() {
		t.Helper()
		if _, err := client.Registry().PutWorkflow(t.Context(), &registryv1.PutWorkflowRequest{Spec: spec}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	y.types("workflows", "diff", "order")
	spec.Tasks[1].Retry.MaxRetries, spec.Tasks[1].ExecutionTimeout = 5, durationpb.New(90*time.Second)
	spec.RunTimeout = durationpb.New(time.Hour)
	put()
	y.types("workflows", "list")
	y.types("workflows", "get", "order")
	y.types("workflows", "get", "order", "--version", "1", "-o", "yaml")
	y.types("workflows", "get", "order", "--version", "7")
	y.types("workflows", "get", "parcel")
	y.types("workflows", "get")
	y.types("workflows", "versions", "order")
	y.types("workflows", "versions", "parcel")
	y.types("workflows", "diff", "order")
	y.types("workflows", "diff", "order", "2", "2")
	y.types("workflows", "diff", "order", "newest")
	y.types("workflows", "diff", "order", "1", "9")
	y.types("workflows", "diff", "order", "-o", "json")
	y.types("workflow", "list")
	y.types("workflows", "lits")
	y.golden("workflows")
}
