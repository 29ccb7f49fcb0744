// Package e2e holds the tests of the whole server: every service, a real Postgres, workers of the Go SDK.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/testkit"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/test/load"
)

func TestMain(m *testing.M) {
	load.Main()
	testkit.Main(m)
}

var update = flag.Bool("update", false, "write the golden files") //nolint:gochecknoglobals // a flag

func files() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		identityv1.File_tenon_identity_v1_identity_proto, registryv1.File_tenon_registry_v1_registry_proto,
		runsv1.File_tenon_runs_v1_runs_proto, workersv1.File_tenon_workers_v1_workers_proto,
	}
}

func withToken(token string) connect.ClientOption {
	return connect.WithInterceptors(tokenInterceptor(token))
}

type tokenInterceptor string

func (t tokenInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		t.set(request.Header())
		return next(ctx, request)
	}
}

func (t tokenInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		t.set(conn.RequestHeader())
		return conn
	}
}

func (tokenInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (t tokenInterceptor) set(header http.Header) {
	if t != "" {
		header.Set("Authorization", "Bearer "+string(t))
	}
}

// answer calls a method with an empty message and says whether the caller got past the door.
func answer(t *testing.T, client *http.Client, address string, method protoreflect.MethodDescriptor, token string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	url := address + authz.Procedure(method)
	call := connect.NewClient[emptypb.Empty, emptypb.Empty](client, url, withToken(token))
	var err error
	if method.IsStreamingServer() {
		stream, openErr := call.CallServerStream(ctx, connect.NewRequest(&emptypb.Empty{}))
		if err = openErr; err == nil {
			stream.Receive()
			err = stream.Err()
			_ = stream.Close()
		}
	} else {
		_, err = call.CallUnary(ctx, connect.NewRequest(&emptypb.Empty{}))
	}
	switch code := connect.CodeOf(err); {
	case err == nil, code == connect.CodeInvalidArgument, code == connect.CodeNotFound, code == connect.CodeFailedPrecondition:
		return "yes"
	default:
		return code.String()
	}
}

// Every cell of the table is called: each method by each kind of caller. The table is checked in, so that a change of access is seen in review.
func TestAccessTable(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	columns := []string{"owner", "admin", "developer", "viewer", "worker", "expired", "revoked", "none"}
	tokens := map[string]string{"none": ""}
	for _, role := range []string{authz.RoleOwner, authz.RoleAdmin, authz.RoleDeveloper, authz.RoleViewer} {
		_, tokens[role] = server.Token(t, server.Owner, role, time.Hour)
	}
	_, tokens["worker"] = server.Token(t, server.Owner, "", time.Hour)
	_, tokens["expired"] = server.Token(t, server.Owner, authz.RoleOwner, time.Second)
	revoked, secret := server.Token(t, server.Owner, authz.RoleOwner, time.Hour)
	tokens["revoked"] = secret
	if _, err := server.Identity.RevokeToken(t.Context(), server.Owner, revoked.ID); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	whoAmI := identityv1.File_tenon_identity_v1_identity_proto.Services().ByName("IdentityService").Methods().ByName("WhoAmI")
	for _, name := range []string{"expired", "revoked"} {
		deadline := time.Now().Add(10 * time.Second)
		for answer(t, client, server.Address, whoAmI, tokens[name]) == "yes" {
			if time.Now().After(deadline) {
				t.Fatalf("the %s token is still good", name)
			}
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-60s %s\n", "method", strings.Join(columns, " | "))
	for _, file := range files() {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				cells := make([]string, len(columns))
				for k, column := range columns {
					cells[k] = answer(t, client, server.Address, methods.Get(j), tokens[column])
				}
				fmt.Fprintf(&table, "%-60s %s\n", authz.Procedure(methods.Get(j)), strings.Join(cells, " | "))
			}
		}
	}
	golden(t, "testdata/access.golden", table.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // a test's own file
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("access has changed; look at each difference, then run the test with -update\n--- want\n%s\n--- got\n%s", want, got)
	}
}

// itemErr makes the only item's refusal an error.
func itemErr(results []*runsv1.RunResult, err error) error {
	if err != nil {
		return err
	}
	if e := results[0].GetError(); e.GetCode() == connect.CodeNotFound.String() {
		return connect.NewError(connect.CodeNotFound, errors.New(e.GetMessage()))
	}
	return fmt.Errorf("answered with %v", results[0])
}

// Another tenant's token finds nothing of this tenant: not even that it exists.
func TestForeignTenantFindsNothing(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	_, mine := server.Token(t, server.Owner, authz.RoleDeveloper, time.Hour)
	_, foreign := server.Token(t, apptest.Tenant(t, server.App, "other"), authz.RoleOwner, time.Hour)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	put := connect.NewClient[registryv1.PutWorkflowRequest, registryv1.PutWorkflowResponse](client, server.Address+"/tenon.registry.v1.RegistryService/PutWorkflow", withToken(mine))
	if _, err := put.CallUnary(t.Context(), connect.NewRequest(&registryv1.PutWorkflowRequest{Spec: &registryv1.WorkflowSpec{
		Name: "secret", Tasks: []*registryv1.TaskSpec{{Name: "only"}},
	}})); err != nil {
		t.Fatal(err)
	}
	run, err := runsv1connect.NewRunServiceClient(client, server.Address, withToken(mine)).Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	other := runsv1connect.NewRunServiceClient(client, server.Address, withToken(foreign))
	unknown := typeid.Format(typeid.Run, flow.MakeID(time.Now().UnixMilli(), [10]byte{1}))
	for name, call := range map[string]func(id string) error{
		"GetRun": func(id string) error {
			_, err := other.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: id})
			return err
		},
		"CancelRun": func(id string) error {
			_, err := other.CancelRun(t.Context(), &runsv1.CancelRunRequest{RunId: id})
			return err
		},
		"ReplayRun": func(id string) error {
			_, err := other.ReplayRun(t.Context(), &runsv1.ReplayRunRequest{RunId: id})
			return err
		},
		"ListLogs": func(id string) error {
			_, err := other.ListLogs(t.Context(), &runsv1.ListLogsRequest{RunId: id})
			return err
		},
		"ListAttempts": func(id string) error {
			_, err := other.ListAttempts(t.Context(), &runsv1.ListAttemptsRequest{RunId: id})
			return err
		},
		"CancelRuns": func(id string) error {
			answer, err := other.CancelRuns(t.Context(), &runsv1.CancelRunsRequest{RunIds: []string{id}})
			return itemErr(answer.GetResults(), err)
		},
		"ReplayRuns": func(id string) error {
			answer, err := other.ReplayRuns(t.Context(), &runsv1.ReplayRunsRequest{RunIds: []string{id}})
			return itemErr(answer.GetResults(), err)
		},
		"WatchLogs": func(id string) error {
			stream, err := other.WatchLogs(t.Context(), &runsv1.WatchLogsRequest{RunId: id})
			if err != nil {
				return err
			}
			stream.Receive()
			_ = stream.Close()
			return stream.Err()
		},
		"WatchRun": func(id string) error {
			stream, err := other.WatchRun(t.Context(), &runsv1.WatchRunRequest{RunId: id})
			if err != nil {
				return err
			}
			stream.Receive()
			_ = stream.Close()
			return stream.Err()
		},
	} {
		theirs, nobodys := call(run.GetRunId()), call(unknown)
		if connect.CodeOf(theirs) != connect.CodeNotFound || connect.CodeOf(nobodys) != connect.CodeNotFound {
			t.Errorf("%s of another tenant's run: %v; of none: %v", name, theirs, nobodys)
		}
	}
	worker, err := workersv1connect.NewWorkerServiceClient(client, server.Address, withToken(mine)).Register(t.Context(), &workersv1.RegisterRequest{
		Name: "w", Actions: []string{"secret/only"}, Slots: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	admin := workersv1connect.NewWorkerAdminServiceClient(client, server.Address, withToken(foreign))
	id := worker.GetWorkerId()
	for name, call := range map[string]func() error{
		"GetWorker": func() error {
			_, err := admin.GetWorker(t.Context(), &workersv1.GetWorkerRequest{WorkerId: id})
			return err
		},
		"PauseWorker": func() error {
			_, err := admin.PauseWorker(t.Context(), &workersv1.PauseWorkerRequest{WorkerId: id})
			return err
		},
		"ResumeWorker": func() error {
			_, err := admin.ResumeWorker(t.Context(), &workersv1.ResumeWorkerRequest{WorkerId: id})
			return err
		},
		"DrainWorker": func() error {
			_, err := admin.DrainWorker(t.Context(), &workersv1.DrainWorkerRequest{WorkerId: id})
			return err
		},
	} {
		if err := call(); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("%s of another tenant's worker: %v", name, err)
		}
	}
	_, err = other.Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "secret"}})
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("another tenant's workflow: %v", err)
	}
}
