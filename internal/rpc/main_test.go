package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeVerifier knows three tokens: "dev" and "viewer" of one tenant, "user" without a tenant.
type fakeVerifier struct {
	mu     sync.Mutex
	revoke []context.CancelCauseFunc
}

var errRevoked = fault.Unauthenticated("TOKEN_REVOKED", "the token is revoked")

func (v *fakeVerifier) Verify(_ context.Context, bearer, tenant string) (authn.Principal, error) {
	expires := time.Now().Add(time.Hour)
	switch bearer {
	case "dev", "viewer":
		role := map[string]string{"dev": "developer", "viewer": "viewer"}[bearer]
		return authn.Principal{
			Kind: authn.KindAPI, TenantID: 7, Tenant: flow.ID{7}, TokenID: flow.ID{8}, Role: role, Expires: expires,
		}, nil
	case "user":
		return authn.Principal{Kind: authn.KindUser, UserID: flow.ID{9}, TokenID: flow.ID{10}, Role: "user", Expires: expires}, nil
	case "tenant":
		return authn.Principal{}, fault.PermissionDenied("NOT_A_MEMBER", "you are no member of tenant %s", tenant)
	default:
		return authn.Principal{}, fault.Unauthenticated("TOKEN_INVALID", "the token is not valid").WithCause(errors.New("private words"))
	}
}

func (v *fakeVerifier) Guard(ctx context.Context, _ authn.Principal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.revoke = append(v.revoke, cancel)
	return ctx, func() { cancel(context.Canceled) }
}

func (v *fakeVerifier) revokeAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, cancel := range v.revoke {
		cancel(errRevoked)
	}
}

type fakeIdentity struct {
	identityv1connect.UnimplementedIdentityServiceHandler
}

func (fakeIdentity) SignIn(context.Context, *identityv1.SignInRequest) (*identityv1.SignInResponse, error) {
	return &identityv1.SignInResponse{SessionToken: "s3cret"}, nil
}

func (fakeIdentity) WhoAmI(ctx context.Context, _ *identityv1.WhoAmIRequest) (*identityv1.WhoAmIResponse, error) {
	return &identityv1.WhoAmIResponse{Tenant: &identityv1.Tenant{DisplayName: authn.From(ctx).Role}}, nil
}

// fakeRuns answers by the run's or workflow's name.
type fakeRuns struct {
	runsv1connect.UnimplementedRunServiceHandler

	waiting chan struct{} // receives when a call waits for its context
}

func (fakeRuns) GetRun(_ context.Context, request *runsv1.GetRunRequest) (*runsv1.GetRunResponse, error) {
	switch request.GetRunId() {
	case "missing":
		return nil, fmt.Errorf("read: %w", fault.NotFound("run", "missing").WithCause(errors.New("private words")))
	case "broken":
		return nil, errors.New("dial 10.0.0.3: private words")
	case "panic":
		panic("private words")
	default:
		return &runsv1.GetRunResponse{Run: &runsv1.Run{Id: request.GetRunId(), OutputJson: wild}}, nil
	}
}

func (fakeRuns) Trigger(_ context.Context, request *runsv1.TriggerRequest) (*runsv1.TriggerResponse, error) {
	if got := request.GetRun().GetInputJson(); got != wild {
		return nil, fault.InvalidField("run.input_json", "is %d bytes, want the wild payload", len(got))
	}
	return &runsv1.TriggerResponse{RunId: request.GetRun().GetRunId(), Created: true}, nil
}

func (f fakeRuns) TriggerAndWait(ctx context.Context, _ *runsv1.TriggerAndWaitRequest) (*runsv1.TriggerAndWaitResponse, error) {
	f.waiting <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (f fakeRuns) WatchRun(ctx context.Context, request *runsv1.WatchRunRequest, stream *connect.ServerStream[runsv1.WatchRunResponse]) error {
	if err := stream.Send(&runsv1.WatchRunResponse{Run: &runsv1.Run{Id: request.GetRunId(), OutputJson: wild}}); err != nil {
		return err
	}
	switch request.GetRunId() {
	case "panic":
		panic("private words")
	case "missing":
		return fault.NotFound("run", "missing")
	case "short":
		return nil
	default:
		f.waiting <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
}

// bundle is a running server with fakes behind it.
type bundle struct {
	server   *Server
	url      string
	http1    *http.Client
	http2    *http.Client
	verifier *fakeVerifier
	waiting  chan struct{}
	logs     *syncBuffer
	stop     func() error
}

func start(t *testing.T, change func(*Config)) *bundle {
	t.Helper()
	authorizer, err := authz.New()
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{verifier: &fakeVerifier{}, waiting: make(chan struct{}, 8), logs: &syncBuffer{}}
	cfg := Config{Verifier: b.verifier, Authorizer: authorizer, Log: slog.New(slog.NewTextHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&cfg)
	}
	if b.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	path, handler := identityv1connect.NewIdentityServiceHandler(fakeIdentity{}, b.server.Options()...)
	b.server.Handle(path, handler, identityv1.File_tenon_identity_v1_identity_proto.Services().ByName("IdentityService"))
	path, handler = runsv1connect.NewRunServiceHandler(fakeRuns{waiting: b.waiting}, b.server.Options()...)
	b.server.Handle(path, handler, runsv1.File_tenon_runs_v1_runs_proto.Services().ByName("RunService"))
	b.server.HandleHTTP("GET /page", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a page")) }))
	b.server.HandleHTTP("GET /events", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: hello\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	b.serve(t)
	return b
}

// serve runs the server until the test ends, or stop is called.
func (b *bundle) serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.server.Run(ctx, listener, nil) }()
	b.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	b.http1, b.http2 = &http.Client{Transport: transport(false)}, &http.Client{Transport: transport(true)}
	t.Cleanup(func() {
		b.http1.CloseIdleConnections()
		b.http2.CloseIdleConnections()
		if err := b.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

func transport(h2 bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	return &http.Transport{Protocols: protocols}
}

// way is one of the ways to speak to the server.
type way struct {
	name    string
	h2      bool
	options []connect.ClientOption
}

func ways() []way {
	return []way{
		{"connect", true, nil},
		{"connect over HTTP/1.1", false, nil},
		{"connect JSON", false, []connect.ClientOption{connect.WithProtoJSON()}},
		{"gRPC", true, []connect.ClientOption{connect.WithGRPC()}},
		{"gRPC JSON", true, []connect.ClientOption{connect.WithGRPC(), connect.WithProtoJSON()}},
		{"gRPC-Web", false, []connect.ClientOption{connect.WithGRPCWeb()}},
		{"gRPC-Web JSON", true, []connect.ClientOption{connect.WithGRPCWeb(), connect.WithProtoJSON()}},
		{"connect GET", true, []connect.ClientOption{connect.WithHTTPGet(), connect.WithProtoJSON()}},
	}
}

func (b *bundle) runs(w way, token string) runsv1connect.RunServiceClient {
	return runsv1connect.NewRunServiceClient(b.client(w.h2), b.url, append(w.options, connect.WithInterceptors(bearer(token)))...)
}

func (b *bundle) identity(w way, token string) identityv1connect.IdentityServiceClient {
	return identityv1connect.NewIdentityServiceClient(b.client(w.h2), b.url, append(w.options, connect.WithInterceptors(bearer(token)))...)
}

func (b *bundle) client(h2 bool) *http.Client {
	if h2 {
		return b.http2
	}
	return b.http1
}

// bearer sends a token with each call; empty sends none.
type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		if b != "" {
			request.Header().Set("Authorization", "Bearer "+string(b))
		}
		return next(ctx, request)
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

// wantFault fails the test unless err carries the code, the reason and, where given, the text.
func wantFault(t *testing.T, err error, code fault.Code, reason, text string) *fault.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s %s", code, reason)
	}
	got := FromConnect(err)
	if got.Code != code || got.Reason != reason || !strings.Contains(got.Message, text) {
		t.Fatalf("got %s %s %q\nwant %s %s with %q", got.Code, got.Reason, got.Message, code, reason, text)
	}
	if strings.Contains(err.Error(), "private words") {
		t.Fatalf("the error tells private things: %v", err)
	}
	return got
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
