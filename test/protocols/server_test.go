package protocols

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/typeid"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const workflow = "echo"

// startServer runs the whole server with a worker of the Go SDK, whose one task gives its input back byte for byte.
func startServer(t *testing.T) target {
	t.Helper()
	server := apptest.Start(t)
	_, token := server.Token(t, server.Owner, authz.RoleDeveloper, time.Hour)
	_, workerToken := server.Token(t, server.Owner, "", time.Hour)
	client, err := tenon.NewClient(tenon.WithAddress(server.Address), tenon.WithToken(workerToken), tenon.WithLogger(testkit.Logger(t)))
	must(t, err)
	echo := tenon.NewTask(workflow, func(_ tenon.Context, in json.RawMessage) (json.RawMessage, error) { return in, nil })
	worker, err := client.NewWorker(tenon.WithWorkflows(echo))
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
		must(t, client.Close())
	})
	awaitWorkflow(t, client)
	return target{address: strings.TrimPrefix(server.Address, "http://"), token: token, workflow: workflow}
}

// awaitWorkflow waits until the worker has declared its workflow.
func awaitWorkflow(t *testing.T, client *tenon.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := client.Registry().GetWorkflow(ctx, &registryv1.GetWorkflowRequest{Name: workflow})
		if err == nil {
			return
		}
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Fatal(err)
		}
	}
}

// TestBrokenClientIsRefused shows that the comparison would notice: another byte in the input is another run.
func TestBrokenClientIsRefused(t *testing.T) {
	t.Parallel()
	client := goClients(t, startServer(t))["gRPC"]
	id := newRunID()
	for i, payload := range []string{input, strings.Replace(input, "1", "2", 1)} {
		_, err := client.Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{RunId: id, Workflow: workflow, InputJson: payload}})
		if want := []connect.Code{0, connect.CodeAlreadyExists}[i]; err == nil && want != 0 || err != nil && connect.CodeOf(err) != want {
			t.Errorf("trigger %d: %v", i, err)
		}
	}
}

func newRunID() string { return typeid.Format(typeid.Run, uuid.Must(uuid.NewV7())) }
