package protocols

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/rpc"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
)

// startServer serves the real rpc stack on a free port, over runs that are kept in memory and give their input back.
func startServer(t *testing.T) target {
	t.Helper()
	authorizer, err := authz.New()
	must(t, err)
	server, err := rpc.New(rpc.Config{Verifier: oneToken{}, Authorizer: authorizer, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	path, handler := runsv1connect.NewRunServiceHandler(&echo{inputs: map[string]string{}}, server.Options()...)
	server.Handle(path, handler, runsv1.File_tenon_runs_v1_runs_proto.Services().ByName("RunService"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return target{address: listener.Addr().String(), token: token, workflow: "echo"}
}

const token = "the-only-token"

type oneToken struct{}

func (oneToken) Verify(_ context.Context, bearer, _ string) (authn.Principal, error) {
	if bearer != token {
		return authn.Principal{}, fault.Unauthenticated("TOKEN_INVALID", "the token is not valid")
	}
	return authn.Principal{Kind: authn.KindAPI, TenantID: 1, Role: "developer"}, nil
}

func (oneToken) Guard(ctx context.Context, _ authn.Principal) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

// echo completes each run at once. The same id with another input, even by one byte, is refused.
type echo struct {
	runsv1connect.UnimplementedRunServiceHandler

	mu     sync.Mutex
	inputs map[string]string // by run id
}

func (e *echo) Trigger(_ context.Context, request *runsv1.TriggerRequest) (*runsv1.TriggerResponse, error) {
	_, created, err := e.put(request.GetRun())
	return &runsv1.TriggerResponse{RunId: request.GetRun().GetRunId(), Created: created}, err
}

func (e *echo) TriggerAndWait(_ context.Context, request *runsv1.TriggerAndWaitRequest) (*runsv1.TriggerAndWaitResponse, error) {
	run, _, err := e.put(request.GetRun())
	return &runsv1.TriggerAndWaitResponse{Run: run}, err
}

func (e *echo) GetRun(_ context.Context, request *runsv1.GetRunRequest) (*runsv1.GetRunResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	payload, found := e.inputs[request.GetRunId()]
	if !found {
		return nil, fault.NotFound("run", request.GetRunId())
	}
	return &runsv1.GetRunResponse{Run: completed(request.GetRunId(), payload)}, nil
}

func (e *echo) put(wanted *runsv1.NewRun) (run *runsv1.Run, created bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, found := e.inputs[wanted.GetRunId()]
	if found && before != wanted.GetInputJson() {
		return nil, false, fault.AlreadyExists("run", wanted.GetRunId())
	}
	e.inputs[wanted.GetRunId()] = wanted.GetInputJson()
	return completed(wanted.GetRunId(), wanted.GetInputJson()), !found, nil
}

func completed(id, payload string) *runsv1.Run {
	return &runsv1.Run{Id: id, InputJson: payload, OutputJson: payload, Status: runsv1.RunStatus_RUN_STATUS_COMPLETED}
}

// TestBrokenClientIsRefused shows that the comparison would notice: another byte in the input is another run.
func TestBrokenClientIsRefused(t *testing.T) {
	t.Parallel()
	client := goClients(t, startServer(t))["gRPC"]
	for i, payload := range []string{input, input + " "} {
		_, err := client.Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{RunId: "run_1", Workflow: "echo", InputJson: payload}})
		if want := []connect.Code{0, connect.CodeAlreadyExists}[i]; err == nil && want != 0 || err != nil && connect.CodeOf(err) != want {
			t.Errorf("trigger %d: %v", i, err)
		}
	}
}
