package registryrpc_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/rpc"
	"github.com/tenon-run/tenon/internal/testkit"
	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/registry"
	"github.com/tenon-run/tenon/services/registry/registryrpc"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// tokens is a verifier that knows one caller, and lets it do everything.
type tokens struct{ caller authn.Principal }

func (v tokens) Verify(context.Context, string, string) (authn.Principal, error) {
	return v.caller, nil
}

func (tokens) Guard(ctx context.Context, _ authn.Principal) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

func (tokens) Check(context.Context, authn.Principal, *optionsv1.Access) error { return nil }

// dial serves a registry over HTTP, through the server's own interceptors, for a caller in a tenant of its own.
func dial(t *testing.T) registryv1connect.RegistryServiceClient {
	t.Helper()
	pool := testkit.Database(t)
	caller := authn.Principal{Kind: authn.KindAPI, Role: "developer", TokenID: [16]byte{1}}
	err := pool.QueryRow(t.Context(), "insert into tenants (public_id, slug, display_name) values (gen_random_uuid(), 'acme', 'Acme') returning id").Scan(&caller.TenantID)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := registry.New(registry.Config{Pool: pool, Bus: testkit.Bus(t), Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.New(rpc.Config{Verifier: tokens{caller}, Authorizer: tokens{caller}, Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	registryrpc.Register(server, svc, server.Options()...)
	web := httptest.NewServer(server.Handler())
	t.Cleanup(web.Close)
	return registryv1connect.NewRegistryServiceClient(web.Client(), web.URL, connect.WithInterceptors(bearer{}))
}

// bearer sends a token, so that the caller is not an anonymous one.
type bearer struct{}

func (bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer token")
		return next(ctx, req)
	}
}

func (bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	client := dial(t)
	spec := &registryv1.WorkflowSpec{
		Name: "orders", Description: "one", InputSchemaJson: `{"type": "object"}`, RunTimeout: durationpb.New(3_000_000_000),
		Tasks: []*registryv1.TaskSpec{{Name: "charge"}, {Name: "ship", Parents: []string{"charge"}}},
	}
	put, err := client.PutWorkflow(t.Context(), &registryv1.PutWorkflowRequest{Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	w := put.GetWorkflow()
	if !put.GetCreatedVersion() || w.GetName() != "orders" || w.GetVersion().GetNumber() != 1 || !proto.Equal(w.GetVersion().GetSpec(), spec) ||
		len(w.GetVersion().GetDigest()) != 64 || w.GetCreateTime().AsTime().IsZero() || w.GetVersion().GetCreateTime().AsTime().IsZero() {
		t.Errorf("PutWorkflow = %v", put)
	}
	if _, err := typeid.Parse(typeid.Flow, w.GetId()); err != nil {
		t.Error(err)
	}
	again, err := client.PutWorkflow(t.Context(), &registryv1.PutWorkflowRequest{Spec: spec})
	if err != nil || again.GetCreatedVersion() || !proto.Equal(again.GetWorkflow(), w) {
		t.Errorf("the same again: %v, %v", again, err)
	}
	second := proto.CloneOf(spec)
	second.Description = "two"
	if _, err := client.PutWorkflow(t.Context(), &registryv1.PutWorkflowRequest{Spec: second}); err != nil {
		t.Fatal(err)
	}
	got, err := client.GetWorkflow(t.Context(), &registryv1.GetWorkflowRequest{Name: "orders", Version: 1})
	if err != nil || !proto.Equal(got.GetWorkflow(), w) {
		t.Errorf("GetWorkflow = %v, %v, want %v", got, err, w)
	}
	list, err := client.ListWorkflows(t.Context(), &registryv1.ListWorkflowsRequest{})
	if err != nil || len(list.GetWorkflows()) != 1 || list.GetWorkflows()[0].GetVersion().GetNumber() != 2 || list.GetNextPageToken() != "" {
		t.Errorf("ListWorkflows = %v, %v", list, err)
	}
	versions, err := client.ListWorkflowVersions(t.Context(), &registryv1.ListWorkflowVersionsRequest{Name: "orders", PageSize: 1})
	if err != nil || len(versions.GetVersions()) != 1 || versions.GetVersions()[0].GetNumber() != 2 {
		t.Fatalf("ListWorkflowVersions = %v, %v", versions, err)
	}
	versions, err = client.ListWorkflowVersions(t.Context(), &registryv1.ListWorkflowVersionsRequest{Name: "orders", PageSize: 1, PageToken: versions.GetNextPageToken()})
	if err != nil || len(versions.GetVersions()) != 1 || !proto.Equal(versions.GetVersions()[0], w.GetVersion()) || versions.GetNextPageToken() != "" {
		t.Errorf("the second page: %v, %v", versions, err)
	}
}

func TestErrorsOnTheWire(t *testing.T) {
	t.Parallel()
	client := dial(t)
	_, err := client.PutWorkflow(t.Context(), &registryv1.PutWorkflowRequest{Spec: &registryv1.WorkflowSpec{
		Name: "orders", Tasks: []*registryv1.TaskSpec{{Name: "a", Parents: []string{"b"}}, {Name: "b", Parents: []string{"a"}}},
	}})
	if paths := violations(t, err); !slices.Equal(paths, []string{"spec.tasks[0].parents"}) {
		t.Errorf("a cycle: %v at %v", err, paths)
	}
	_, err = client.ListWorkflows(t.Context(), &registryv1.ListWorkflowsRequest{PageToken: "?"})
	if paths := violations(t, err); !slices.Equal(paths, []string{"page_token"}) {
		t.Errorf("a bad page token: %v at %v", err, paths)
	}
	_, err = client.GetWorkflow(t.Context(), &registryv1.GetWorkflowRequest{Name: "mails"})
	if connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), `"mails"`) {
		t.Errorf("an unknown workflow: %v", err)
	}
	_, err = client.ListWorkflowVersions(t.Context(), &registryv1.ListWorkflowVersionsRequest{Name: "mails"})
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("versions of an unknown workflow: %v", err)
	}
}

// violations returns the field paths of an InvalidArgument.
func violations(t *testing.T, err error) []string {
	t.Helper()
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Fatalf("%v, want InvalidArgument", err)
	}
	var paths []string
	wire, _ := err.(*connect.Error) //nolint:errorlint // the client returns it bare
	for _, detail := range wire.Details() {
		value, err := detail.Value()
		if err != nil {
			t.Fatal(err)
		}
		if bad, ok := value.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				paths = append(paths, v.GetField())
			}
		}
	}
	return paths
}
