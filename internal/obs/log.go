package obs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// LogConfig says how to log.
type LogConfig struct {
	// Format is "text" or "json". Default "text".
	Format string
	// Level is "debug", "info", "warn" or "error". Default "info".
	Level string
}

// NewLogger returns a logger that writes to w. Lines logged within a trace carry its id, and attributes that are named like secrets lose
// their value. An unknown format or level is an error that names the ones there are.
func NewLogger(w io.Writer, cfg LogConfig) (*slog.Logger, error) {
	level := slog.LevelInfo
	if cfg.Level != "" {
		if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
			return nil, fmt.Errorf("obs: log level %q is unknown; choose debug, info, warn or error", cfg.Level)
		}
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: hideSecrets}
	switch cfg.Format {
	case "", "text":
		return slog.New(tracedHandler{slog.NewTextHandler(w, options)}), nil
	case "json":
		return slog.New(tracedHandler{slog.NewJSONHandler(w, options)}), nil
	default:
		return nil, fmt.Errorf("obs: log format %q is unknown; choose text or json", cfg.Format)
	}
}

// hidden stands where a secret would.
const hidden = "[hidden]"

// hideSecrets is the second wall: no code of ours logs a secret, and where one day it does, the value stays out.
func hideSecrets(_ []string, attr slog.Attr) slog.Attr {
	switch strings.ToLower(attr.Key) {
	case "password", "secret", "authorization", "bearer", "session_token", "cookie", "master_key":
		return slog.String(attr.Key, hidden)
	default:
		return attr
	}
}

// tracedHandler adds the trace's id to what is logged within one.
type tracedHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h tracedHandler) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		record = record.Clone()
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	return h.Handler.Handle(ctx, record) //nolint:wrapcheck // A wrapper of Handler keeps its errors.
}

// WithAttrs implements slog.Handler.
func (h tracedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tracedHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h tracedHandler) WithGroup(name string) slog.Handler {
	return tracedHandler{h.Handler.WithGroup(name)}
}
