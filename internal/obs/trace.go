package obs

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceConfig says how to trace.
type TraceConfig struct {
	// Service is the process's name in traces. OTEL_SERVICE_NAME overrides it.
	Service string
	// Version is the process's version in traces.
	Version string
	// Getenv reads the environment; os.Getenv outside of tests.
	Getenv func(string) string
}

// StartTracing returns a provider that sends spans over OTLP/HTTP where OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) says; the other
// OTEL_ variables of the standard apply too. Without an endpoint, or with OTEL_SDK_DISABLED=true, the provider is nil and nothing is
// traced. stop flushes and ends the export; call it once, with a deadline.
func StartTracing(ctx context.Context, cfg TraceConfig) (provider trace.TracerProvider, stop func(context.Context) error, err error) {
	endpoint := cfg.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") + cfg.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	if endpoint == "" || strings.EqualFold(cfg.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("obs: start the OTLP exporter: %w", err)
	}
	described, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", cfg.Service), attribute.String("service.version", cfg.Version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithHost())
	if err != nil {
		_ = exporter.Shutdown(ctx)
		return nil, nil, fmt.Errorf("obs: describe this process for traces: %w", err)
	}
	started := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return started, started.Shutdown, nil
}
