package rpc

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenon-run/tenon/internal/fault"
)

const (
	checkTimeout = 2 * time.Second
	// checkEvery is how long a result of the checks is kept, so that probes cannot load what they probe.
	checkEvery = time.Second
	// watchEvery is how often a watched status is looked at.
	watchEvery = 5 * time.Second
)

// health answers whether this process can take calls: it serves, and every check passes.
type health struct {
	mu      sync.Mutex
	serving bool
	names   []string
	checks  []func(context.Context) error
	checked time.Time
	failure error
}

func newHealth() *health { return &health{} }

func (h *health) add(name string, check func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names, h.checks = append(h.names, name), append(h.checks, check)
}

func (h *health) serve(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving = on
}

// ready returns nil, or what keeps the process from taking calls. The lock is held meanwhile: one caller checks, the others wait for it.
func (h *health) ready(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.serving {
		return fault.Unavailable("NOT_SERVING", "the server is starting or stopping")
	}
	if time.Since(h.checked) < checkEvery {
		return h.failure
	}
	// The result is everybody's: the probe that asked may hang up without failing it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	h.failure = nil
	for i, check := range h.checks {
		if err := check(ctx); err != nil {
			h.failure = fault.Unavailable("NOT_READY", "%s is not ready", h.names[i]).WithCause(err)
			break
		}
	}
	h.checked = time.Now()
	return h.failure
}

func (s *Server) mountHealth() {
	service := healthv1.File_grpc_health_v1_health_proto.Services().ByName("Health")
	path := "/" + string(service.FullName()) + "/"
	schema := func(name protoreflect.Name) connect.HandlerOption {
		return connect.WithSchema(service.Methods().ByName(name))
	}
	mux := http.NewServeMux()
	mux.Handle(path+"Check", connect.NewUnaryHandlerSimple(path+"Check", s.checkHealth, append(s.options, schema("Check"))...))
	mux.Handle(path+"Watch", connect.NewServerStreamHandlerSimple(path+"Watch", s.watchHealth, append(s.options, schema("Watch"))...))
	s.Handle(path, mux, service)
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	s.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.health.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
}

// checkHealth is grpc.health.v1.Health/Check: the empty name is the whole server, a service's name is that service, which is as
// well as the server is.
func (s *Server) checkHealth(ctx context.Context, request *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	status := s.healthOf(ctx, request.GetService())
	if status == healthv1.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, fault.NotFound("service", request.GetService())
	}
	return &healthv1.HealthCheckResponse{Status: status}, nil
}

// watchHealth is grpc.health.v1.Health/Watch: the status as it is, then each change, until the client or the server ends.
func (s *Server) watchHealth(
	ctx context.Context, request *healthv1.HealthCheckRequest, stream *connect.ServerStream[healthv1.HealthCheckResponse],
) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	last := healthv1.HealthCheckResponse_UNKNOWN
	for {
		if status := s.healthOf(ctx, request.GetService()); status != last {
			if err := stream.Send(&healthv1.HealthCheckResponse{Status: status}); err != nil {
				return err //nolint:wrapcheck // Connect's own error.
			}
			last = status
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Server) healthOf(ctx context.Context, name string) healthv1.HealthCheckResponse_ServingStatus {
	known := name == ""
	for _, service := range s.services {
		known = known || string(service.FullName()) == name
	}
	if runs, elsewhere := s.remote[protoreflect.FullName(name)]; elsewhere && len(s.cfg.Peers.Addresses(runs)) == 0 {
		return healthv1.HealthCheckResponse_NOT_SERVING
	}
	switch {
	case !known:
		return healthv1.HealthCheckResponse_SERVICE_UNKNOWN
	case s.health.ready(ctx) != nil:
		return healthv1.HealthCheckResponse_NOT_SERVING
	default:
		return healthv1.HealthCheckResponse_SERVING
	}
}

// mountReflection lets grpcurl and the like ask what the server speaks. It has no descriptor of its own in Services: grpcreflect keeps it
// to itself.
func (s *Server) mountReflection() {
	reflector := grpcreflect.NewReflector(grpcreflect.NamerFunc(func() []string {
		names := make([]string, 0, len(s.services))
		for _, service := range s.services {
			names = append(names, string(service.FullName()))
		}
		return names
	}))
	options := append([]connect.HandlerOption{connect.WithRequestGate(s.limitAddress)}, s.options...)
	s.mux.Handle(grpcreflect.NewHandlerV1(reflector, options...))
	s.mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options...))
}
