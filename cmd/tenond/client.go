package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
)

// caller speaks to the API as any program does: over the network, with a token.
type caller struct {
	runs     runsv1connect.RunServiceClient
	registry registryv1connect.RegistryServiceClient
	http     *http.Client
}

func newCaller(address, token string) *caller {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: transport}
	withToken := connect.WithInterceptors(bearer(token))
	return &caller{
		runs: runsv1connect.NewRunServiceClient(client, address, withToken), registry: registryv1connect.NewRegistryServiceClient(client, address, withToken), http: client,
	}
}

type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, req)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return conn
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// awaitWorkflow waits until the example's worker has declared its workflow.
func (c *caller) awaitWorkflow(ctx context.Context, name string, worker *workerProcess) error {
	const pause = 50 * time.Millisecond
	for {
		_, err := c.registry.GetWorkflow(ctx, &registryv1.GetWorkflowRequest{Name: name})
		if err == nil || connect.CodeOf(err) != connect.CodeNotFound {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-worker.done:
			return errors.New("the example worker ended before it had declared its workflow")
		case <-time.After(pause):
		}
	}
}

func (c *caller) trigger(ctx context.Context, input any) (string, error) {
	text, err := json.Marshal(input)
	if err != nil {
		return "", err
	}
	resp, err := c.runs.Trigger(ctx, &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: exampleWorkflow, InputJson: string(text)}})
	return resp.GetRunId(), err
}

// final watches a run to its end.
func (c *caller) final(ctx context.Context, id string) (*runsv1.Run, error) {
	stream, err := c.runs.WatchRun(ctx, &runsv1.WatchRunRequest{RunId: id})
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	var run *runsv1.Run
	for stream.Receive() {
		if r := stream.Msg().GetRun(); r != nil {
			run = r
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	if run.GetEndTime() == nil {
		return nil, fmt.Errorf("run %s: the stream ended before the run", id)
	}
	return run, nil
}

// children reads all child runs of a run.
func (c *caller) children(ctx context.Context, parent string, statuses ...runsv1.RunStatus) ([]*runsv1.Run, error) {
	const page = 1000
	var out []*runsv1.Run
	for token := ""; ; {
		resp, err := c.runs.ListRuns(ctx, &runsv1.ListRunsRequest{ParentRunId: parent, PageSize: page, PageToken: token, Statuses: statuses})
		if err != nil {
			return nil, err
		}
		out = append(out, resp.GetRuns()...)
		if token = resp.GetNextPageToken(); token == "" {
			return out, nil
		}
	}
}

// digest is the SHA-256, in hex, of a text's canonical JSON: keys sorted, no white space, numbers as they stand.
func digest(text string) (string, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "", fmt.Errorf("read the report: %w", err)
	}
	var canonical bytes.Buffer
	encoder := json.NewEncoder(&canonical)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	sum := sha256.Sum256(bytes.TrimSuffix(canonical.Bytes(), []byte("\n")))
	return hex.EncodeToString(sum[:]), nil
}
