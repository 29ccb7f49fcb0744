package obs

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoggerHidesSecretsAndNamesTheTrace(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log, err := NewLogger(&out, LogConfig{Format: format, Level: "debug"})
		if err != nil {
			t.Fatal(err)
		}
		id := trace.TraceID{1, 2, 3}
		ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: id}))
		log.With("password", "hunter2").WithGroup("g").DebugContext(ctx, "line", slog.String("Authorization", "Bearer abc"))
		line := out.String()
		if strings.Contains(line, "hunter2") || strings.Contains(line, "abc") || strings.Count(line, hidden) != 2 {
			t.Errorf("%s: a secret is in the line, or its name is not: %s", format, line)
		}
		if !strings.Contains(line, id.String()) {
			t.Errorf("%s: the trace's id is not in the line: %s", format, line)
		}
	}
}

func TestLoggerLevels(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := NewLogger(&out, LogConfig{})
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("quiet")
	log.Info("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") {
		t.Errorf("the default level is info, the log is %q", got)
	}
	for _, cfg := range []LogConfig{{Format: "xml"}, {Level: "chatty"}} {
		if _, err := NewLogger(&out, cfg); err == nil || !strings.Contains(err.Error(), "choose") {
			t.Errorf("%+v: %v, want an error that names the choices", cfg, err)
		}
	}
}

func TestTracingIsOffWithoutEndpoint(t *testing.T) {
	t.Parallel()
	for _, env := range []map[string]string{{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}} {
		provider, stop, err := StartTracing(t.Context(), TraceConfig{Getenv: func(name string) string { return env[name] }})
		if err != nil || provider != nil {
			t.Errorf("env %v: provider %v, error %v, want neither", env, provider, err)
		}
		if err := stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestTracingSendsSpans(t *testing.T) {
	got := make(chan []byte, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unpacked
		}
		data, err := io.ReadAll(body)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("export to %s: %v", r.URL.Path, err)
		}
		got <- data
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	provider, stop, err := StartTracing(t.Context(), TraceConfig{Service: "tenond", Version: "1", Getenv: func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}[name]
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("test").Start(t.Context(), "a-span-of-this-test")
	span.End()
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data := <-got; !bytes.Contains(data, []byte("a-span-of-this-test")) || !bytes.Contains(data, []byte("tenond")) {
		t.Errorf("the export holds neither the span nor the service: %q", data)
	}
}
