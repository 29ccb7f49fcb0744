package rpc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/fault"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

func TestEveryProtocol(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			ctx, client := t.Context(), b.runs(w, "dev")
			created, err := client.Trigger(ctx, &runsv1.TriggerRequest{Run: &runsv1.NewRun{RunId: "r", Workflow: "w", InputJson: wild}})
			if err != nil || !created.GetCreated() {
				t.Fatalf("trigger: %v, %v", created, err)
			}
			read, err := client.GetRun(ctx, &runsv1.GetRunRequest{RunId: "r"})
			if err != nil || read.GetRun().GetOutputJson() != wild {
				t.Fatalf("get: %v, %v", read, err)
			}
			stream, err := client.WatchRun(ctx, &runsv1.WatchRunRequest{RunId: "short"})
			if err != nil || !stream.Receive() || stream.Msg().GetRun().GetOutputJson() != wild || stream.Receive() || stream.Err() != nil {
				t.Fatalf("watch: %v, %v", err, stream.Err())
			}

			_, err = client.GetRun(ctx, &runsv1.GetRunRequest{RunId: "missing"})
			got := wantFault(t, err, fault.CodeNotFound, "NOT_FOUND", `run "missing" does not exist`)
			if got.Resource != (fault.Resource{Type: "run", Name: "missing"}) {
				t.Errorf("the resource came as %+v", got.Resource)
			}
			_, err = client.GetRun(ctx, &runsv1.GetRunRequest{})
			got = wantFault(t, err, fault.CodeInvalid, ReasonInvalidField, "the request is not valid")
			if len(got.Fields) != 1 || got.Fields[0].Path != "run_id" {
				t.Errorf("the fields came as %+v", got.Fields)
			}
			for _, id := range []string{"broken", "panic"} {
				_, err = client.GetRun(ctx, &runsv1.GetRunRequest{RunId: id})
				wantFault(t, err, fault.CodeInternal, "INTERNAL", "(request ")
			}
			for id, code := range map[string]fault.Code{"missing": fault.CodeNotFound, "panic": fault.CodeInternal, "": fault.CodeInvalid} {
				stream, err := client.WatchRun(ctx, &runsv1.WatchRunRequest{RunId: id})
				if err != nil {
					t.Fatal(err)
				}
				for stream.Receive() {
				}
				if got := FromConnect(stream.Err()); got == nil || got.Code != code {
					t.Errorf("watch %q ended with %v, want %s", id, stream.Err(), code)
				}
			}
			_, err = b.runs(w, "").GetRun(ctx, &runsv1.GetRunRequest{RunId: "r"})
			wantFault(t, err, fault.CodeUnauthenticated, "CREDENTIALS_MISSING", "Authorization: Bearer")
			_, err = b.runs(w, "forged").GetRun(ctx, &runsv1.GetRunRequest{RunId: "r"})
			wantFault(t, err, fault.CodeUnauthenticated, "TOKEN_INVALID", "not valid")
			_, err = b.runs(w, "viewer").Trigger(ctx, &runsv1.TriggerRequest{})
			if got := FromConnect(err); got == nil || got.Code != fault.CodePermissionDenied {
				t.Errorf("a viewer triggers: %v", err)
			}
		})
	}
}

// TestCurl speaks like curl: JSON without Connect's header, payloads inline both ways.
func TestCurl(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	post := func(method, contentType, body string) (int, string, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/tenon.runs.v1.RunService/"+method, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", contentType)
		request.Header.Set("Authorization", "bearer dev")
		answer, err := b.http1.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header.Get("Content-Type"), string(text)
	}
	for _, contentType := range []string{"application/json", "application/json;charset=UTF-8"} {
		status, kind, text := post("Trigger", contentType, `{"run": {"runId": "r", "workflow": "w", "input": `+wild+`}}`)
		if status != http.StatusOK || kind != "application/json" || !strings.Contains(text, `"created":true`) {
			t.Errorf("trigger with %s: %d %s %s", contentType, status, kind, text)
		}
		status, kind, text = post("GetRun", contentType, `{"runId": "r"}`)
		if status != http.StatusOK || kind != "application/json" || !strings.Contains(text, `"output":`+wild) {
			t.Errorf("get with %s: %d %s %s", contentType, status, kind, text)
		}
	}
	status, kind, text := post("Trigger", "application/json", `{"run": {"input": [1,}}`)
	if status != http.StatusBadRequest || kind != "application/json" || !strings.Contains(text, "invalid_argument") ||
		!strings.Contains(text, "line 1, column 22") {
		t.Errorf("malformed JSON: %d %s %s", status, kind, text)
	}
	if status, _, text = post("GetRun", "application/json", `{"runId": "missing"}`); status != http.StatusNotFound || !strings.Contains(text, "google.rpc.ErrorInfo") {
		t.Errorf("a missing run: %d %s", status, text)
	}
	if status, _, _ = post("Nothing", "application/json", `{}`); status != http.StatusNotFound {
		t.Errorf("an unknown method: %d", status)
	}
	if status, _, _ = post("GetRun", "text/plain", `{}`); status != http.StatusUnsupportedMediaType {
		t.Errorf("plain text: %d", status)
	}
}

func TestAccountAndAnonymousCalls(t *testing.T) {
	t.Parallel()
	b := start(t, func(cfg *Config) { cfg.Limits.AnonymousRate, cfg.Limits.AnonymousBurst = 0.001, 3 })
	w := ways()[0]
	who, err := b.identity(w, "user").WhoAmI(t.Context(), &identityv1.WhoAmIRequest{})
	if err != nil || who.GetTenant().GetDisplayName() != "user" {
		t.Errorf("the service saw the role %q, %v", who.GetTenant().GetDisplayName(), err)
	}
	_, err = b.runs(w, "tenant").GetRun(t.Context(), &runsv1.GetRunRequest{RunId: "r"})
	wantFault(t, err, fault.CodePermissionDenied, "NOT_A_MEMBER", "")
	for range 3 {
		if _, err := b.identity(w, "").SignIn(t.Context(), &identityv1.SignInRequest{Email: "a@b.c", Password: "p4ssw0rd!"}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = b.identity(w, "").SignIn(t.Context(), &identityv1.SignInRequest{Email: "a@b.c", Password: "p4ssw0rd!"})
	if got := wantFault(t, err, fault.CodeResourceExhausted, "RATE_LIMITED", "without credentials"); got.RetryAfter <= 0 {
		t.Error("the refusal does not say when to come back")
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	logs := b.logs.String()
	for _, secret := range []string{"p4ssw0rd!", "s3cret", "a@b.c", "Bearer", "dev"} {
		if strings.Contains(logs, secret) {
			t.Errorf("the log holds %q:\n%s", secret, logs)
		}
	}
	if got := strings.Count(logs, "rpc: call"); got != 6 {
		t.Errorf("%d lines for 6 calls:\n%s", got, logs)
	}
	if !strings.Contains(logs, "method=tenon.identity.v1.IdentityService/SignIn code=resource_exhausted") {
		t.Errorf("the refused call is not in the log:\n%s", logs)
	}
}

func TestTenantRate(t *testing.T) {
	t.Parallel()
	b := start(t, func(cfg *Config) { cfg.Limits.TenantRate, cfg.Limits.TenantBurst = 0.001, 2 })
	client := b.runs(ways()[0], "dev")
	for range 2 {
		if _, err := client.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: "r"}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: "r"})
	wantFault(t, err, fault.CodeResourceExhausted, "RATE_LIMITED", "this tenant")
}

func TestMessageSize(t *testing.T) {
	t.Parallel()
	b := start(t, func(cfg *Config) { cfg.MaxMessageBytes = 1000 })
	for _, w := range ways() {
		_, err := b.runs(w, "dev").Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{InputJson: strings.Repeat(" ", 1000)}})
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("%s: %v", w.name, err)
		}
	}
}

func TestInternalErrorsAreInTheLog(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	client := b.runs(ways()[0], "dev")
	_, err := client.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: "broken"})
	_, request, _ := strings.Cut(FromConnect(err).Message, "(request ")
	request = strings.TrimSuffix(request, ")")
	_, _ = client.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: "panic"})
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"request=" + request, `cause="dial 10.0.0.3: private words"`, "fakeRuns", "code=internal", "tenant=tnt_", "token=tok_"} {
		if !strings.Contains(b.logs.String(), want) || request == "" {
			t.Errorf("%q is not in the log:\n%s", want, b.logs.String())
		}
	}
}

func TestRevocationEndsStreams(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, w := range ways() {
		stream, err := b.runs(w, "dev").WatchRun(t.Context(), &runsv1.WatchRunRequest{RunId: "open"})
		if err != nil || !stream.Receive() {
			t.Fatalf("%s: %v, %v", w.name, err, stream.Err())
		}
		<-b.waiting
		b.verifier.revokeAll()
		if stream.Receive() {
			t.Errorf("%s: the stream went on", w.name)
		}
		wantFault(t, stream.Err(), fault.CodeUnauthenticated, "TOKEN_REVOKED", "revoked")
	}
}

func TestStopEndsStreamsAtOnceAndCallsAfterTheGrace(t *testing.T) {
	t.Parallel()
	b := start(t, func(cfg *Config) { cfg.Timeouts.Grace = 10 * time.Millisecond })
	client := b.runs(ways()[0], "dev")
	stream, err := client.WatchRun(t.Context(), &runsv1.WatchRunRequest{RunId: "open"})
	if err != nil || !stream.Receive() {
		t.Fatal(err, stream.Err())
	}
	unary := make(chan error, 1)
	go func() {
		_, err := client.TriggerAndWait(t.Context(), &runsv1.TriggerAndWaitRequest{
			Run: &runsv1.NewRun{Workflow: "w"}, Timeout: durationpb.New(time.Hour),
		})
		unary <- err
	}()
	<-b.waiting
	<-b.waiting
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if stream.Receive() {
		t.Error("the stream went on")
	}
	wantFault(t, stream.Err(), fault.CodeUnavailable, "SHUTTING_DOWN", "stopping")
	wantFault(t, <-unary, fault.CodeUnavailable, "SHUTTING_DOWN", "stopping")
}

func TestHangUpEndsTheCall(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, w := range ways() {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := b.runs(w, "dev").WatchRun(ctx, &runsv1.WatchRunRequest{RunId: "open"})
		if err != nil || !stream.Receive() {
			t.Fatal(w.name, err)
		}
		<-b.waiting
		cancel()
	}
	if err := b.stop(); err != nil { // It waits for every call.
		t.Fatal(err)
	}
	if got := strings.Count(b.logs.String(), "code=canceled"); got == 0 {
		t.Errorf("no call ended as canceled:\n%s", b.logs.String())
	}
}

func TestSlowBodyIsCutAndStreamsAreNot(t *testing.T) {
	t.Parallel()
	b := start(t, func(cfg *Config) { cfg.Timeouts.ReadBody = 50 * time.Millisecond })
	stream, err := b.runs(ways()[1], "dev").WatchRun(t.Context(), &runsv1.WatchRunRequest{RunId: "open"})
	if err != nil || !stream.Receive() {
		t.Fatal(err)
	}
	<-b.waiting
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /tenon.runs.v1.RunService/GetRun HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"Authorization: Bearer dev\r\nContent-Length: 100\r\n\r\n{")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		t.Errorf("a body that never came was answered with %s", answer.Status)
	}
	// The stream is older than the body's limit by now, and its request was read long ago: it must still be open.
	b.verifier.revokeAll()
	if stream.Receive() || FromConnect(stream.Err()).Reason != "TOKEN_REVOKED" {
		t.Errorf("the stream had ended before: %v", stream.Err())
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	preflight := func(b *bundle, origin string) string {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, b.url+"/tenon.runs.v1.RunService/GetRun", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Origin", origin)
		request.Header.Set("Access-Control-Request-Method", "POST")
		request.Header.Set("Access-Control-Request-Headers", "authorization,connect-protocol-version,tenon-tenant")
		answer, err := b.http1.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.Header.Get("Access-Control-Allow-Origin")
	}
	closed := start(t, nil)
	open := start(t, func(cfg *Config) { cfg.AllowedOrigins = []string{"https://app.example"} })
	if got := preflight(closed, "https://app.example"); got != "" {
		t.Errorf("by default %q may call", got)
	}
	if got := preflight(open, "https://app.example"); got != "https://app.example" {
		t.Errorf("the allowed origin gets %q", got)
	}
	if got := preflight(open, "https://other.example"); got != "" {
		t.Errorf("another origin gets %q", got)
	}
}

func TestHealthAndReflection(t *testing.T) {
	t.Parallel()
	b := start(t, func(cfg *Config) { cfg.Timeouts.Grace = 10 * time.Millisecond })
	check := connect.NewClient[healthv1.HealthCheckRequest, healthv1.HealthCheckResponse](b.http2, b.url+"/grpc.health.v1.Health/Check", connect.WithGRPC())
	for name, want := range map[string]connect.Code{"": 0, "tenon.runs.v1.RunService": 0, "none": connect.CodeNotFound} {
		answer, err := check.CallUnary(t.Context(), connect.NewRequest(&healthv1.HealthCheckRequest{Service: name}))
		if want != 0 && connect.CodeOf(err) != want || want == 0 && (err != nil || answer.Msg.GetStatus() != healthv1.HealthCheckResponse_SERVING) {
			t.Errorf("check %q: %v, %v", name, answer, err)
		}
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n", "/page": "a page"} {
		answer, err := b.http1.Get(b.url + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK || string(text) != want {
			t.Errorf("%s: %s %s", path, answer.Status, text)
		}
	}
	reflection := grpcreflect.NewClient(b.http2, b.url, connect.WithGRPC()).NewStream(t.Context())
	names, err := reflection.ListServices()
	if err != nil || len(names) != 3 {
		t.Errorf("reflection lists %v, %v", names, err)
	}
	if files, err := reflection.FileContainingSymbol("tenon.runs.v1.RunService"); err != nil || len(files) == 0 {
		t.Errorf("reflection has no file of the run service: %v", err)
	}
	if _, err := reflection.Close(); err != nil {
		t.Error(err)
	}

	watch := connect.NewClient[healthv1.HealthCheckRequest, healthv1.HealthCheckResponse](b.http2, b.url+"/grpc.health.v1.Health/Watch")
	stream, err := watch.CallServerStream(t.Context(), connect.NewRequest(&healthv1.HealthCheckRequest{}))
	if err != nil || !stream.Receive() || stream.Msg().GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("watch: %v, %v", err, stream.Err())
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeUnavailable {
		t.Errorf("after the stop: %v", stream.Err())
	}
}

func TestReadinessFollowsTheChecks(t *testing.T) {
	t.Parallel()
	status := newHealth()
	failing := errors.New("dial 10.0.0.3: private words")
	status.add("postgres", func(context.Context) error { return failing })
	if err := status.ready(t.Context()); !fault.HasReason(err, "NOT_SERVING") {
		t.Errorf("before it serves: %v", err)
	}
	status.serve(true)
	err := status.ready(t.Context())
	if !fault.HasReason(err, "NOT_READY") || err.Error() != "postgres is not ready" {
		t.Errorf("with a failing check: %v", err)
	}
	failing = nil
	if err := status.ready(t.Context()); err == nil {
		t.Error("the result was not kept for a second")
	}
	status.checked = time.Time{}
	if err := status.ready(t.Context()); err != nil {
		t.Errorf("with a passing check: %v", err)
	}
}

func TestTracing(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	b := start(t, func(cfg *Config) { cfg.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)) })
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/tenon.runs.v1.RunService/GetRun", strings.NewReader(`{"runId": "broken"}`))
	if err != nil {
		t.Fatal(err)
	}
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer dev")
	request.Header.Set("Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	answer, err := b.http1.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if !strings.Contains(string(text), "(request "+trace+")") {
		t.Errorf("the error does not name the caller's trace: %s", text)
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if ended := spans.Ended(); len(ended) != 1 || ended[0].SpanContext().TraceID().String() != trace {
		t.Errorf("%d spans, want one of trace %s", len(ended), trace)
	}
}

func TestServerRefusesBadWiring(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Config.Verifier") {
		t.Errorf("an empty config: %v", err)
	}
	server, err := New(Config{Verifier: &fakeVerifier{}, Authorizer: openHouse{}, Log: discard()})
	if err != nil {
		t.Fatal(err)
	}
	service := bareService()
	server.Handle("/"+string(service.FullName())+"/", http.NotFoundHandler(), service)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context(), listener, nil); err == nil || !strings.Contains(err.Error(), "bare.Service/Method") {
		t.Errorf("a method without the access option: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a service was mounted at another's path")
		}
	}()
	server.Handle("/elsewhere/", http.NotFoundHandler(), service)
}

func TestHandlerWorksWithoutASocket(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	recorder := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPost, "/tenon.runs.v1.RunService/GetRun", strings.NewReader(`{"runId": "r"}`))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer viewer")
	b.server.Handler().ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK || !strings.Contains(recorder.Body.String(), wild) {
		t.Errorf("%d %s", recorder.Code, recorder.Body)
	}
}
