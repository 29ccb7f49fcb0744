package rpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/proto/typeid"
)

// call is the record of one call, filled on its way and logged at its end. Only the call's own goroutine touches it.
type call struct {
	principal authn.Principal
	known     bool // the principal's credentials were checked
	code      string
	reason    string
	requestID string
	cause     string // the private cause of an internal error
}

type callKey struct{}

// callOf returns ctx's record; a call that came without one (a handler used outside a Server) gets a fresh one.
func callOf(ctx context.Context) *call {
	if record, ok := ctx.Value(callKey{}).(*call); ok {
		return record
	}
	return &call{}
}

// calls keeps the record of each call, bounds the reading of its body, and chooses the inline codec.
func (s *Server) calls(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known, found := s.methods[r.URL.Path]
		if !found { // The service's handler answers 404.
			next.ServeHTTP(w, r)
			return
		}
		start := time.Now()
		record := &call{}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, record))
		if !known.uploads && r.Body != nil && r.Body != http.NoBody {
			body := newTimedBody(r.Body, http.NewResponseController(w), s.cfg.Timeouts.ReadBody)
			defer body.stop()
			r.Body = body
		}
		w = &explained{ResponseWriter: w, request: r}
		if wantsInline(r) {
			r.Header.Set("Content-Type", "application/"+inlineCodec)
			w = &inlineWriter{ResponseWriter: w}
		}
		next.ServeHTTP(w, r)
		if known.access != nil { // Health probes would fill the log.
			s.logCall(r.Context(), r.URL.Path, record, time.Since(start))
		}
	})
}

func (s *Server) logCall(ctx context.Context, procedure string, record *call, took time.Duration) {
	level := slog.LevelInfo
	switch record.code {
	case "ok":
		level = slog.LevelDebug // a line for each good call was a fifteenth of the server's time
	case "":
		record.code = "unread" // Refused before the service was asked: unknown encoding, malformed or oversized message.
	case "internal", "unknown", "data_loss":
		level = slog.LevelError
	case "unavailable":
		level = slog.LevelWarn
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", strings.TrimPrefix(procedure, "/")), slog.String("code", record.code), slog.Duration("duration", took),
	}
	if record.known {
		attrs = append(attrs, slog.String("tenant", publicTenant(record.principal)), slog.String("token", publicToken(record.principal)))
	}
	if record.reason != "" {
		attrs = append(attrs, slog.String("reason", record.reason))
	}
	if record.requestID != "" {
		attrs = append(attrs, slog.String("request", record.requestID), slog.String("cause", record.cause))
	}
	s.log.LogAttrs(ctx, level, "rpc: call", attrs...)
}

// publicTenant returns the id of the principal's tenant as callers know it, empty when it has none.
func publicTenant(p authn.Principal) string {
	if p.TenantID == 0 {
		return ""
	}
	return typeid.Format(typeid.Tenant, p.Tenant)
}

// publicToken returns the id of the principal's token or session; the token itself is known to nobody but its owner.
func publicToken(p authn.Principal) string {
	if p.Kind == authn.KindUser {
		return typeid.Format(typeid.Session, p.TokenID)
	}
	return typeid.Format(typeid.Token, p.TokenID)
}

// newRequestID returns what ties the public text of an internal error to the log: the trace's id, else a random one.
func newRequestID(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // It never fails, says its documentation.
	return hex.EncodeToString(id[:])
}

// wantsInline reports whether the answer should carry payloads inline: for JSON from a client that is no Connect client, such as curl.
func wantsInline(r *http.Request) bool {
	if r.Method != http.MethodPost || r.Header.Get("Connect-Protocol-Version") != "" {
		return false
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json" && (params["charset"] == "" || strings.EqualFold(params["charset"], "utf-8"))
}

// explained says in words why a call got 415: Connect answers a content type that it does not know with the status alone.
type explained struct {
	http.ResponseWriter

	request *http.Request
}

// WriteHeader implements http.ResponseWriter.
func (w *explained) WriteHeader(status int) {
	if status != http.StatusUnsupportedMediaType {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.ResponseWriter.WriteHeader(status)
	kind := w.request.Header.Get("Content-Type")
	const most = 100
	message := fmt.Sprintf("the content type %.*q is not understood: send application/json or application/proto, or call by gRPC, gRPC-Web or Connect", most, kind)
	text, _ := json.Marshal(map[string]string{"code": "invalid_argument", "message": message}) // strings always encode
	_, _ = w.Write(text)                                                                       // the client may have gone
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *explained) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements http.Flusher, which Connect's streams insist on.
func (w *explained) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// inlineWriter names the inline codec's answers what they are to the client: JSON.
type inlineWriter struct {
	http.ResponseWriter

	named bool
}

// WriteHeader implements http.ResponseWriter.
func (w *inlineWriter) WriteHeader(status int) {
	w.name()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *inlineWriter) Write(data []byte) (int, error) {
	w.name()
	return w.ResponseWriter.Write(data) //nolint:wrapcheck // A wrapper of ResponseWriter keeps its errors.
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *inlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *inlineWriter) name() {
	if !w.named && w.Header().Get("Content-Type") == "application/"+inlineCodec {
		w.Header().Set("Content-Type", "application/json")
	}
	w.named = true
}

// timedBody ends the reading of a body that takes too long. A deadline is only set when the time is over: setting one for each call
// would cost a message to the HTTP/2 loop each time.
type timedBody struct {
	io.ReadCloser

	control *http.ResponseController
	timer   *time.Timer
	mu      sync.Mutex
	done    bool
}

func newTimedBody(body io.ReadCloser, control *http.ResponseController, limit time.Duration) *timedBody {
	timed := &timedBody{ReadCloser: body, control: control}
	timed.timer = time.AfterFunc(limit, timed.expire)
	return timed
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.stop()
	}
	return n, err //nolint:wrapcheck // io.EOF and the timeout must stay what they are.
}

// stop is called at the body's end and at the call's; after it the connection is not touched any more.
func (b *timedBody) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
	b.timer.Stop()
}

func (b *timedBody) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.done {
		_ = b.control.SetReadDeadline(time.Now()) // A writer without deadlines (a test's recorder) just goes on.
	}
}
