package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/fault"
)

// ForwardedHeader marks a call that another process has passed on, so that it is not passed on twice.
const ForwardedHeader = "Tenon-Forwarded"

// HeldHeader marks a worker's call that a dispatcher has passed on to the one that holds the worker's stream.
const HeldHeader = "Tenon-Held"

// Forward mounts a Connect service that other processes run: its calls, streams included, are passed on to one of them as they are. That
// process authenticates and decides; this one only bounds slow bodies. runs is the name that Peers knows the processes by. With sticky the calls of one
// connection go to one process as long as it is there: where a caller's stream is, its other calls find their state.
func (s *Server) Forward(service protoreflect.ServiceDescriptor, runs string, sticky bool) {
	s.services = append(s.services, service)
	s.remote[service.FullName()] = runs
	streams := make(map[string]bool)
	for i := range service.Methods().Len() {
		described := service.Methods().Get(i)
		access, _ := authz.MethodAccess(described)
		s.methods[authz.Procedure(described)] = method{access: access, uploads: described.IsStreamingClient()}
		streams[authz.Procedure(described)] = described.IsStreamingServer()
	}
	forward := s.forward(runs, sticky)
	s.mux.Handle("/"+string(service.FullName())+"/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known, found := s.methods[r.URL.Path]
		if found && !known.uploads && r.Body != nil && r.Body != http.NoBody {
			body := newTimedBody(r.Body, http.NewResponseController(w), s.cfg.Timeouts.ReadBody)
			defer body.stop()
			r.Body = body
		}
		if streams[r.URL.Path] {
			s.passStream(w, r, forward, false)
			return
		}
		forward.ServeHTTP(w, r)
	}))
}

// ForwardHTTP mounts a plain pattern that other processes serve, such as the dashboard.
func (s *Server) ForwardHTTP(pattern, runs string) {
	forward := s.forward(runs, false)
	s.mux.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.passStream(w, r, forward, true) }))
}

func (s *Server) forward(runs string, sticky bool) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport:     &passOn{peers: s.cfg.Peers, runs: runs, sticky: sticky},
		FlushInterval: -1, // Streams leave message by message.
		ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Host = r.In.Host
			r.Out.Header.Set(ForwardedHeader, "1")
			if addr, err := clientIP(r.In.RemoteAddr, r.In.Header, s.trusts); err == nil {
				r.Out.Header.Set("X-Forwarded-For", addr.String())
			}
		},
		ModifyResponse: takePassed,
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, err error) { s.refuse(w, r, runs, err) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(ForwardedHeader) != "" {
			s.refuse(w, r, runs, errors.New("another process has passed the call on to this one, which does not serve it"))
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// refuse answers a call that could not be passed on, in the caller's own protocol.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, runs string, err error) {
	if r.Context().Err() != nil && !errors.Is(context.Cause(r.Context()), errStopping) {
		return // The caller has gone.
	}
	s.log.WarnContext(r.Context(), "rpc: a call could not be passed on", slog.String("path", r.URL.Path), slog.String("to", runs), slog.Any("error", err))
	public := errStopping
	if !errors.Is(context.Cause(r.Context()), errStopping) {
		public = fault.Unavailable("SERVICE_AWAY", "no process that runs the %s service can be reached at the moment; send the call again", runs).WithCause(err)
	}
	writer := connect.NewErrorWriter(s.options...)
	if !writer.IsSupported(r) {
		http.Error(w, public.Message, http.StatusServiceUnavailable)
		return
	}
	_ = writer.Write(w, r, ToConnect(public, newRequestID(r.Context()))) // The caller may have gone.
}

// passOn sends a request to one of the processes that run a service; to the next one while none has taken the connection.
type passOn struct {
	peers  Peers
	runs   string
	sticky bool
}

// order sorts the addresses into that in which they are tried: by chance, or by the connection that the request came over.
func (p *passOn) order(addresses []string, remote string) {
	if !p.sticky {
		rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] }) //nolint:gosec // balance, not secrecy
		return
	}
	weight := func(address string) [sha256.Size]byte { return sha256.Sum256([]byte(address + " " + remote)) }
	slices.SortFunc(addresses, func(a, b string) int {
		left, right := weight(a), weight(b)
		return bytes.Compare(left[:], right[:])
	})
}

// RoundTrip implements http.RoundTripper.
func (p *passOn) RoundTrip(r *http.Request) (*http.Response, error) {
	addresses := p.peers.Addresses(p.runs)
	p.order(addresses, r.RemoteAddr)
	body := r.Body
	if body != nil {
		defer func() { _ = body.Close() }()
	}
	err := fmt.Errorf("nobody announces the %s service", p.runs)
	for _, address := range addresses {
		target, parseErr := url.Parse(address)
		if parseErr != nil {
			err = fmt.Errorf("read a process's address: %w", parseErr)
			continue
		}
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host = target.Scheme, target.Host
		if body != nil {
			out.Body = io.NopCloser(body) // A transport closes what it did not send.
		}
		var response *http.Response
		if response, err = p.peers.Transport().RoundTrip(out); err == nil {
			return response, nil
		}
		if !unsent(err) {
			return nil, err //nolint:wrapcheck // The proxy only logs it.
		}
	}
	return nil, err
}

// unsent tells whether an error came before any byte of the request left.
func unsent(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && slices.Contains([]string{"dial", "proxyconnect"}, dial.Op)
}
