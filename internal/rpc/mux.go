package rpc

import (
	"fmt"
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenon-run/tenon/internal/authz"
	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
)

// Mux is where a service registers itself. Its handler must be built with the options that the Server gives, so that every call
// passes the same checks. Everything is mounted before the server runs.
type Mux interface {
	// Handle mounts a Connect service: the path and handler that the generated New...Handler returned, and the service's descriptor.
	// It panics when the path is taken, which is a mistake in the wiring.
	Handle(path string, handler http.Handler, service protoreflect.ServiceDescriptor)
	// HandleHTTP mounts a plain handler, such as the dashboard, under a net/http pattern. It passes none of the checks.
	HandleHTTP(pattern string, handler http.Handler)
}

// method is what the server knows of one method of a mounted service.
type method struct {
	// access is nil for a method that lacks the option; only the server's own (health, reflection) may be called without it.
	access *optionsv1.Access
	// uploads is true when the client streams, so that its body may take any time.
	uploads bool
}

// Handle implements Mux.
func (s *Server) Handle(path string, handler http.Handler, service protoreflect.ServiceDescriptor) {
	s.services = append(s.services, service)
	if want := "/" + string(service.FullName()) + "/"; path != want {
		panic(fmt.Sprintf("rpc: service %s is mounted at %q, its clients call %q", service.FullName(), path, want))
	}
	for i := range service.Methods().Len() {
		described := service.Methods().Get(i)
		access, _ := authz.MethodAccess(described)
		s.methods[authz.Procedure(described)] = method{access: access, uploads: described.IsStreamingClient()}
	}
	s.mux.Handle(path, s.cors(s.calls(handler)))
}

// HandleHTTP implements Mux.
func (s *Server) HandleHTTP(pattern string, handler http.Handler) { s.mux.Handle(pattern, handler) }

// Services returns the descriptors of all mounted services, for the check that every method says who may call it.
func (s *Server) Services() []protoreflect.ServiceDescriptor {
	return append([]protoreflect.ServiceDescriptor(nil), s.services...)
}
