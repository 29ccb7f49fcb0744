package protocols

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	"github.com/tenon-run/tenon/proto/typeid"
)

// input would not survive a client or server that parses payloads into numbers: more digits than a float64 has, and more range.
const input = `{"z":12345678901234567890,"a":1e400,"text":"é \"quoted\" \\ \n","list":[1.10,null,true,{}]}`

// target is a server with a workflow that gives its input back.
type target struct {
	address  string // host:port, cleartext
	token    string // of a developer
	workflow string
}

// TestSameBytes triggers one run through every client; each gets the same run, and the same bytes of its result.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	to := startServer(t)
	id, err := uuid.NewV7()
	must(t, err)
	runID := typeid.Format(typeid.Run, id)

	outputs := map[string]string{}
	for name, client := range goClients(t, to) {
		outputs["connect-go, "+name] = throughGo(t, client, to, runID)
	}
	flags := []string{"--address", to.address, "--token", to.token, "--run-id", runID, "--workflow", to.workflow, "--input", input}
	for name, command := range map[string][]string{"grpcio": python(t), "connect-web, JSON": node(t)} {
		outputs[name] = string(run(t, command[0], append(command[1:], flags...)...))
	}
	outputs["curl, inline"] = throughCurl(t, to, runID, "--http1.1")
	outputs["curl, inline, HTTP/2"] = throughCurl(t, to, runID, "--http2-prior-knowledge")
	outputs["curl, standard"] = throughCurl(t, to, runID, "--header", "Connect-Protocol-Version: 1")

	want := outputs["connect-go, gRPC"]
	if !strings.Contains(want, "12345678901234567890") || !strings.Contains(want, "1e400") {
		t.Errorf("the result lost digits on its way: %s", want)
	}
	for name, got := range outputs {
		if got != want {
			t.Errorf("%s read %q\nconnect-go, gRPC read %q", name, got, want)
		}
	}
}

func goClients(t *testing.T, to target) map[string]runsv1connect.RunServiceClient {
	t.Helper()
	clients := map[string]runsv1connect.RunServiceClient{}
	for name, protocol := range map[string][]connect.ClientOption{
		"Connect": nil, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(name == "gRPC")
		protocols.SetHTTP1(name != "gRPC")
		transport := &http.Transport{Protocols: protocols}
		t.Cleanup(transport.CloseIdleConnections)
		options := append(protocol, connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
				request.Header().Set("Authorization", "Bearer "+to.token)
				return next(ctx, request)
			}
		})))
		client, url := &http.Client{Transport: transport}, "http://"+to.address
		clients[name] = runsv1connect.NewRunServiceClient(client, url, options...)
		clients[name+" JSON"] = runsv1connect.NewRunServiceClient(client, url, append(options, connect.WithProtoJSON())...)
	}
	return clients
}

func throughGo(t *testing.T, client runsv1connect.RunServiceClient, to target, runID string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	wanted := &runsv1.NewRun{RunId: runID, Workflow: to.workflow, InputJson: input}
	created, err := client.Trigger(ctx, &runsv1.TriggerRequest{Run: wanted})
	must(t, err)
	if created.GetRunId() != runID {
		t.Errorf("the run triggered as %s is called %s", runID, created.GetRunId())
	}
	waited, err := client.TriggerAndWait(ctx, &runsv1.TriggerAndWaitRequest{Run: wanted})
	must(t, err)
	read, err := client.GetRun(ctx, &runsv1.GetRunRequest{RunId: runID})
	must(t, err)
	if waited.GetRun().GetOutputJson() != read.GetRun().GetOutputJson() || read.GetRun().GetStatus() != runsv1.RunStatus_RUN_STATUS_COMPLETED {
		t.Errorf("waiting gave %v, reading %v", waited.GetRun(), read.GetRun())
	}
	return read.GetRun().GetOutputJson()
}

// curlRun is a run as curl sees it: inline, or with its payload as a string when it spoke as a Connect client.
type curlRun struct {
	RunID string `json:"runId"`
	Run   struct {
		Output     json.RawMessage `json:"output"`
		OutputJSON string          `json:"outputJson"`
	} `json:"run"`
}

func (r curlRun) output() string {
	if r.Run.Output != nil {
		return string(r.Run.Output)
	}
	return r.Run.OutputJSON
}

func throughCurl(t *testing.T, to target, runID string, flags ...string) string {
	t.Helper()
	call := func(method, body string) (answer curlRun) {
		args := append([]string{
			"--silent", "--show-error", "--fail-with-body", "--max-time", "60", "--header", "Authorization: Bearer " + to.token,
			"--header", "Content-Type: application/json", "--data-binary", "@-",
		}, flags...)
		command := exec.CommandContext(t.Context(), "curl", append(args, "http://"+to.address+"/tenon.runs.v1.RunService/"+method)...)
		command.Stdin = strings.NewReader(body)
		out, err := command.CombinedOutput()
		if err == nil {
			err = json.Unmarshal(out, &answer)
		}
		if err != nil {
			t.Fatalf("curl %s: %v\n%s", method, err, out)
		}
		return answer
	}
	wanted := `{"run": {"runId": "` + runID + `", "workflow": "` + to.workflow + `", "input": ` + input + `}}`
	if created := call("Trigger", wanted); created.RunID != runID {
		t.Errorf("the run triggered as %s is called %s", runID, created.RunID)
	}
	waited, read := call("TriggerAndWait", wanted), call("GetRun", `{"runId": "`+runID+`"}`)
	if waited.output() != read.output() {
		t.Errorf("waiting gave %s, reading %s", waited.output(), read.output())
	}
	return read.output()
}
