// Package faketenon is a Tenon server in memory for the tests and examples of the Go SDK: it keeps runs, gives their tasks to workers over the real
// protocol, and makes faults on demand. It owns no rules of the real engine beyond what the SDK can see. Only tests of sdk/go import it.
package faketenon

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
)

// Token is the only token that the server takes.
const Token = "fake-token"

// Server is the fake. Set its fields before the first call.
type Server struct {
	// Interval and Grace are what workers are told. Defaults: 20 ms and 1 minute.
	Interval, Grace time.Duration
	// PayloadLimit is what workers are told. Default 4 MiB.
	PayloadLimit int64
	// InlineLimit is the most bytes of a payload that travel in an assignment. Default 256 KiB.
	InlineLimit int
	// Verdict, when set and not giving UNSPECIFIED, decides a report's answer; only ACCEPTED ones are applied.
	Verdict func(*workersv1.Report) workersv1.ReportVerdict

	http *httptest.Server

	mu      sync.Mutex
	changed chan struct{}
	closed  bool
	rules   []*rule
	state
}

// rule is a fault or a gate on the next calls of one procedure.
type rule struct {
	procedure string
	left      int
	code      connect.Code
	after     bool // handle the call, then lose the answer
	entered   chan struct{}
	release   chan struct{}
}

// New starts a server on a free port of the loopback.
func New() *Server {
	s := &Server{
		Interval: 20 * time.Millisecond, Grace: time.Minute, PayloadLimit: 4 << 20, InlineLimit: 256 << 10,
		changed: make(chan struct{}), state: newState(),
	}
	mux := http.NewServeMux()
	opts := connect.WithInterceptors(faults{s})
	mux.Handle(registryv1connect.NewRegistryServiceHandler(registry{s: s}, opts))
	mux.Handle(runsv1connect.NewRunServiceHandler(runs{s: s}, opts))
	mux.Handle(workersv1connect.NewWorkerServiceHandler(workers{s: s}, opts))
	s.http = httptest.NewUnstartedServer(mux)
	s.http.Config.Protocols = new(http.Protocols)
	s.http.Config.Protocols.SetHTTP1(true)
	s.http.Config.Protocols.SetUnencryptedHTTP2(true)
	s.http.Start()
	return s
}

// URL is the server's address.
func (s *Server) URL() string { return s.http.URL }

// Close ends all streams and the server.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.change()
	s.mu.Unlock()
	s.http.CloseClientConnections()
	s.http.Close()
}

// Fail makes the next n calls of a procedure fail with a code. With after set the call is handled first and its answer lost.
func (s *Server) Fail(procedure string, n int, code connect.Code, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, &rule{procedure: procedure, left: n, code: code, after: after})
}

// Forgive drops all faults and gates that are still to come.
func (s *Server) Forgive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// Gate holds the next call of a procedure: entered is closed when it is there, release lets it go on.
func (s *Server) Gate(procedure string) (entered <-chan struct{}, release func()) {
	r := &rule{procedure: procedure, left: 1, entered: make(chan struct{}), release: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, r)
	return r.entered, func() { close(r.release) }
}

// Until waits until ok says true of what the server has seen; it is asked after every change.
func (s *Server) Until(ctx context.Context, ok func(*Seen) bool) error {
	for {
		s.mu.Lock()
		done, changed := ok(&s.seen), s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Look reads what the server has seen.
func (s *Server) Look(read func(*Seen)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	read(&s.seen)
}

// Send puts a message on the streams of all sessions, as it is.
func (s *Server) Send(msg *workersv1.ListenResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		w.outbox = append(w.outbox, msg)
	}
	s.change()
}

// BreakSessions ends all streams of workers with an error; they may come back.
func (s *Server) BreakSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		w.broken = w.session
	}
	s.change()
}

// change wakes everybody who waits; mu is held.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// faults checks the token and applies the rules.
type faults struct{ s *Server }

func (f faults) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		lose, err := f.s.enter(ctx, req.Spec().Procedure, req.Header())
		if err != nil {
			return nil, err
		}
		res, err := next(ctx, req)
		if err == nil && lose != nil {
			return nil, lose
		}
		return res, err
	}
}

func (f faults) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (f faults) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		lose, err := f.s.enter(ctx, conn.Spec().Procedure, conn.RequestHeader())
		if err != nil {
			return err
		}
		return errors.Join(next(ctx, conn), lose)
	}
}

func (s *Server) enter(ctx context.Context, procedure string, header http.Header) (lose, err error) {
	if header.Get("Authorization") != "Bearer "+Token {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("wrong token"))
	}
	s.mu.Lock()
	s.seen.Calls[procedure]++
	s.change()
	at := slices.IndexFunc(s.rules, func(r *rule) bool { return r.procedure == procedure && r.left > 0 })
	if at < 0 {
		s.mu.Unlock()
		return nil, nil
	}
	r := s.rules[at]
	r.left--
	s.mu.Unlock()
	if r.entered != nil {
		close(r.entered)
		select {
		case <-r.release:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	fault := connect.NewError(r.code, errors.New("a fault made on purpose"))
	if r.after {
		return fault, nil
	}
	return nil, fault
}
