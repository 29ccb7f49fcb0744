package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	connectcors "connectrpc.com/cors"
	"connectrpc.com/otelconnect"
	"github.com/rs/cors"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/fault"
)

// compressFrom is the size in bytes from which an answer is compressed: below it, compression costs more than it saves.
const compressFrom = 1024

// buckets bounds the callers whose rates are remembered. The one not seen for longest is forgotten first.
const buckets = 65_536

// errStopping is what a call is told that the server's stop ended.
var errStopping = fault.Unavailable("SHUTTING_DOWN", "this server is stopping; send the call again")

// Server answers all calls of a process on one port. Make it with New, register services with its Mux methods, then Run it once.
type Server struct {
	cfg       Config
	log       *slog.Logger
	mux       *http.ServeMux
	cors      func(http.Handler) http.Handler
	methods   map[string]method
	services  []protoreflect.ServiceDescriptor
	remote    map[protoreflect.FullName]string // services that other processes run, by what Peers call them
	options   []connect.HandlerOption
	validator protovalidate.Validator
	tenants   *limiter
	addresses *limiter
	health    *health
	// stopping ends when the stop begins (streams end with it), ended when the grace is over (all calls end with it).
	stopping, ended          context.Context //nolint:containedctx // They are the server's own life, not a call's.
	beginStop, endEverything context.CancelCauseFunc
}

// New makes a server with the health and reflection services mounted.
func New(cfg Config) (*Server, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("rpc: make the validator: %w", err)
	}
	server := &Server{
		cfg: cfg, log: cfg.Log, mux: http.NewServeMux(), cors: allowOrigins(cfg.AllowedOrigins), methods: make(map[string]method),
		remote: make(map[protoreflect.FullName]string), validator: validator,
		tenants:   newLimiter(cfg.Limits.TenantRate, cfg.Limits.TenantBurst, buckets),
		addresses: newLimiter(cfg.Limits.AnonymousRate, cfg.Limits.AnonymousBurst, buckets),
		health:    newHealth(),
	}
	server.stopping, server.beginStop = context.WithCancelCause(context.Background())
	server.ended, server.endEverything = context.WithCancelCause(context.Background())
	interceptors := []connect.Interceptor{outcome{server}}
	if cfg.TracerProvider != nil {
		tracing, err := newTracing(cfg)
		if err != nil {
			return nil, err
		}
		interceptors = append([]connect.Interceptor{tracing}, interceptors...)
	}
	server.options = []connect.HandlerOption{
		connect.WithCodec(jsonCodec{name: "json"}),
		connect.WithCodec(jsonCodec{name: "json; charset=utf-8"}),
		connect.WithCodec(jsonCodec{name: inlineCodec, inline: true}),
		connect.WithReadMaxBytes(cfg.MaxMessageBytes),
		connect.WithSendMaxBytes(cfg.MaxMessageBytes),
		connect.WithCompressMinBytes(compressFrom),
		connect.WithInterceptors(interceptors...),
	}
	server.mountHealth()
	server.mountReflection()
	return server, nil
}

func newTracing(cfg Config) (connect.Interceptor, error) {
	tracing, err := otelconnect.NewInterceptor(
		otelconnect.WithTracerProvider(cfg.TracerProvider), otelconnect.WithMeterProvider(noop.NewMeterProvider()),
		otelconnect.WithPropagator(propagation.TraceContext{}), otelconnect.WithTrustRemote(),
	)
	if err != nil {
		return nil, fmt.Errorf("rpc: make the tracing interceptor: %w", err)
	}
	return tracing, nil
}

// Options returns what each service's handler is built with: codecs, sizes, the gate and the interceptors.
func (s *Server) Options() []connect.HandlerOption {
	return append([]connect.HandlerOption{connect.WithRequestGate(s.gate)}, s.options...)
}

// AddCheck adds a condition for readiness, such as a reachable database. check returns within 2 s or counts as failed. Call it before Run.
func (s *Server) AddCheck(name string, check func(context.Context) error) { s.health.add(name, check) }

// Handler returns the whole server as a handler, for tests and for callers in the same process.
func (s *Server) Handler() http.Handler { return s.mux }

// Run serves on listener, in cleartext or with TLS where secure is set, until ctx ends, then stops: no new connections, streams end at once with Unavailable, other calls have the
// grace to finish. It closes the listener and returns nil after such a stop. It refuses to start, with an error that names them, when
// methods do not say who may call them.
func (s *Server) Run(ctx context.Context, listener net.Listener, secure *tls.Config) error {
	if err := authz.CheckAll(s.services...); err != nil {
		_ = listener.Close()
		return fmt.Errorf("rpc: %w", err)
	}
	server := s.httpServer()
	served := make(chan error, 1)
	var bounded net.Listener = boundedListener{Listener: listener, timeout: s.cfg.Timeouts.Write}
	if secure != nil {
		secure = secure.Clone()
		secure.NextProtos = []string{"h2", "http/1.1"}
		bounded = tls.NewListener(bounded, secure)
	}
	go func() { served <- server.Serve(bounded) }()
	defer s.endEverything(errStopping)
	defer s.beginStop(errStopping)
	s.health.serve(true)
	select {
	case err := <-served:
		return fmt.Errorf("rpc: serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	s.health.serve(false)
	s.beginStop(errStopping)
	grace := time.AfterFunc(s.cfg.Timeouts.Grace, func() { s.endEverything(errStopping) })
	defer grace.Stop()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeouts.Drain)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		s.log.WarnContext(ctx, "rpc: the stop cut calls that did not end", slog.Duration("after", s.cfg.Timeouts.Drain))
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("rpc: serve on %s: %w", listener.Addr(), err)
	}
	return nil
}

func (s *Server) httpServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s.mux,
		Protocols:         protocols,
		ReadHeaderTimeout: s.cfg.Timeouts.ReadHeader,
		IdleTimeout:       s.cfg.Timeouts.Idle,
		MaxHeaderBytes:    64 << 10,
		// Many small messages on few connections: a wide connection window, and room for a thousand calls at once. The pings find
		// dead peers, so that their streams end.
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          1_000,
			MaxReceiveBufferPerConnection: 4<<20 - 1,
			MaxReceiveBufferPerStream:     1 << 20,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
		},
		BaseContext: func(net.Listener) context.Context { return s.ended },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// allowOrigins returns the CORS middleware. Without origins there is none: then a browser lets only the server's own pages call it.
func allowOrigins(origins []string) func(http.Handler) http.Handler {
	if len(origins) == 0 {
		return func(next http.Handler) http.Handler { return next }
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: connectcors.AllowedMethods(),
		AllowedHeaders: append(connectcors.AllowedHeaders(), "Authorization", authn.TenantHeader, "Traceparent", "Tracestate"),
		ExposedHeaders: connectcors.ExposedHeaders(),
		MaxAge:         int((2 * time.Hour).Seconds()),
	}).Handler
}

// boundedListener's connections give up a write that makes no way. A server-wide WriteTimeout would end streams instead.
type boundedListener struct {
	net.Listener

	timeout time.Duration
}

// Accept implements net.Listener.
func (l boundedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http reads the error's own type.
	}
	return boundedConn{Conn: conn, timeout: l.timeout}, nil
}

type boundedConn struct {
	net.Conn

	timeout time.Duration
}

// Write implements net.Conn.
func (c boundedConn) Write(data []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err //nolint:wrapcheck // A wrapper of net.Conn keeps its errors.
	}
	return c.Conn.Write(data) //nolint:wrapcheck // As above.
}
