package floor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/load"
	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/pg"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
)

// The roles of the floor's three processes.
const (
	RoleServer = "floor-server"
	RoleWorker = "floor-worker"
	RoleClient = "floor-client"
)

// What the floor's processes read from their environment.
const (
	variableDatabase = "BENCH_FLOOR_DATABASE" // its own rows
	variableTokens   = "BENCH_TOKEN_DATABASE" // Tenon's database, whose keys sign the tokens
	variableNATS     = "BENCH_NATS"
	variableAddress  = "BENCH_FLOOR_ADDRESS"
	variableToken    = "BENCH_TOKEN"
)

// Config says what the floor runs on.
type Config struct {
	Folder, DatabaseURL, TokenDatabaseURL, NATSURL string

	Tokens ground.Tokens
}

// Floor is the three processes of the bare chain.
type Floor struct{ server, worker, client *proc.Process }

// Start starts them and returns when the worker listens. The caller calls Stop.
func Start(ctx context.Context, cfg Config) (f *Floor, err error) {
	f = &Floor{}
	defer func() {
		if err != nil {
			_ = f.Stop() // the first error tells more
		}
	}()
	f.server, err = proc.Start(proc.Config{Name: RoleServer, Role: RoleServer, Folder: cfg.Folder, Env: []string{
		variableDatabase + "=" + cfg.DatabaseURL, variableTokens + "=" + cfg.TokenDatabaseURL, variableNATS + "=" + cfg.NATSURL,
	}})
	if err != nil {
		return f, err
	}
	var address string
	if err := f.server.Ask(ctx, "address", struct{}{}, &address); err != nil {
		return f, err
	}
	for _, role := range []struct {
		name, token string
		into        **proc.Process
	}{{RoleWorker, cfg.Tokens.Worker, &f.worker}, {RoleClient, cfg.Tokens.API, &f.client}} {
		env := []string{variableAddress + "=" + address, variableToken + "=" + role.token}
		if *role.into, err = proc.Start(proc.Config{Name: role.name, Role: role.name, Folder: cfg.Folder, Env: env}); err != nil {
			return f, err
		}
	}
	return f, f.worker.Ask(ctx, "listening", struct{}{}, nil)
}

// Stop stops the processes, the server last.
func (f *Floor) Stop() error {
	var errs []error
	for _, p := range []*proc.Process{f.client, f.worker, f.server} {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	return errors.Join(errs...)
}

// Order is what the floor is asked to do.
type Order struct {
	Calls    int     `json:"calls"`
	Rate     float64 `json:"rate,omitempty"` // calls a second
	InFlight int     `json:"in_flight,omitempty"`
	Links    int     `json:"links,omitempty"` // bare chains in a row, for Results
}

// Starts measures from a call to the arrival at the worker.
func (f *Floor) Starts(ctx context.Context, o Order) (samples []time.Duration, err error) {
	if err := f.client.Ask(ctx, "starts", o, nil); err != nil {
		return nil, err
	}
	return samples, f.worker.Ask(ctx, "samples", o.Calls, &samples)
}

// Results measures from a call to its result, Links times in a row.
func (f *Floor) Results(ctx context.Context, o Order) (samples []time.Duration, err error) {
	return samples, f.client.Ask(ctx, "results", o, &samples)
}

// Echo tells how long so many echo calls took.
func (f *Floor) Echo(ctx context.Context, o Order) (took time.Duration, err error) {
	return took, f.client.Ask(ctx, "echo", o, &took)
}

type verifier interface {
	Verify(ctx context.Context, bearer, tenant string) (authn.Principal, error)
}

// ServerHandlers runs the server until stop, and returns what its process answers to.
func ServerHandlers(ctx context.Context) (handlers map[string]proc.Handler, stop func(), err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var closers []func()
	stop = func() {
		for i := range closers {
			closers[len(closers)-1-i]()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	pool, err := pg.Open(ctx, pg.Config{URL: os.Getenv(variableTokens)})
	if err != nil {
		return nil, stop, err
	}
	closers = append(closers, pool.Close)
	conn, err := nats.Connect(os.Getenv(variableNATS), bus.Options("floor", log)...)
	if err != nil {
		return nil, stop, err
	}
	closers = append(closers, conn.Close)
	messages, err := bus.New(conn, log)
	if err != nil {
		return nil, stop, err
	}
	closers = append(closers, messages.Close)
	revocations, err := authn.NewRevocations(authn.RevocationsConfig{Pool: pool, Bus: messages, Log: log})
	if err != nil {
		return nil, stop, err
	}
	ready := make(chan struct{})
	following := loop.Start(ctx, "revocations", func(ctx context.Context) error { return revocations.RunReady(ctx, func() { close(ready) }) })
	closers = append(closers, func() { _ = following.Stop(context.WithoutCancel(ctx)) }) // its end is all that matters
	select {
	case <-ready:
	case <-following.Done():
		return nil, stop, following.Err()
	}
	tokens, err := authn.NewVerifier(authn.Config{Pool: pool, Revocations: revocations})
	if err != nil {
		return nil, stop, err
	}
	c, err := newChain(ctx, os.Getenv(variableDatabase), os.Getenv(variableNATS))
	if err != nil {
		return nil, stop, err
	}
	closers = append(closers, c.close)
	address, end, err := c.listenAndServe(ctx, verify{tokens})
	if err != nil {
		return nil, stop, err
	}
	closers = append(closers, end)
	return map[string]proc.Handler{
		"address": proc.Handle(func(context.Context, struct{}) (string, error) { return address, nil }),
	}, stop, nil
}

// payload is the input of every call.
type payload struct {
	Num  int   `json:"num"`
	Sent int64 `json:"sent"`
}

// The chain's two kinds of call.
const (
	startOnly = "start"
	andResult = "result"
)

// WorkerHandlers listens until stop, and returns what the worker's process answers to.
func WorkerHandlers(ctx context.Context) (handlers map[string]proc.Handler, stop func(), err error) {
	transport := ground.PlainHTTP2()
	api := workersv1connect.NewWorkerServiceClient(&http.Client{Transport: transport}, os.Getenv(variableAddress),
		connect.WithInterceptors(ground.Bearer(os.Getenv(variableToken))))
	w := &listener{api: api, arrived: make(chan time.Duration, 1<<16), opened: make(chan struct{})}
	listening := loop.Start(ctx, "listener", w.run)
	stop = func() {
		_ = listening.Stop(context.WithoutCancel(ctx)) // its end is all that matters
		transport.CloseIdleConnections()
	}
	return map[string]proc.Handler{
		"listening": proc.Handle(func(ctx context.Context, _ struct{}) (struct{}, error) {
			select {
			case <-w.opened:
				return struct{}{}, nil
			case <-listening.Done():
				return struct{}{}, fmt.Errorf("the stream ended: %w", listening.Err())
			case <-ctx.Done():
				return struct{}{}, context.Cause(ctx)
			}
		}),
		"samples": proc.Handle(func(ctx context.Context, n int) ([]time.Duration, error) {
			out := make([]time.Duration, 0, n)
			for len(out) < n {
				select {
				case d := <-w.arrived:
					out = append(out, d)
				case <-listening.Done():
					return nil, fmt.Errorf("the stream ended: %w", listening.Err())
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			}
			return out, nil
		}),
	}, stop, nil
}

type listener struct {
	api     workersv1connect.WorkerServiceClient
	arrived chan time.Duration // of calls that only start
	opened  chan struct{}
}

func (l *listener) run(ctx context.Context) error {
	stream, err := l.api.Listen(ctx, &workersv1.ListenRequest{WorkerId: "floor", Session: 1})
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // it has ended
	for stream.Receive() {
		if stream.Msg().GetOpened() {
			close(l.opened)
		}
		for _, a := range stream.Msg().GetAssignments() {
			var in payload
			if err := json.Unmarshal([]byte(a.GetInputJson()), &in); err != nil {
				return err
			}
			if a.GetWorkflow() == startOnly {
				l.arrived <- time.Since(time.Unix(0, in.Sent))
				continue
			}
			go l.report(ctx, a, in)
		}
	}
	return stream.Err()
}

func (l *listener) report(ctx context.Context, a *workersv1.Assignment, in payload) {
	report := &workersv1.Report{
		AssignmentId: a.GetAssignmentId(), RunId: a.GetRunId(), TaskNo: a.GetTaskNo(),
		News: &workersv1.Report_Completed{Completed: &workersv1.Completed{OutputJson: strconv.Itoa(in.Num)}},
	}
	_, err := l.api.Report(ctx, &workersv1.ReportRequest{WorkerId: "floor", Session: 1, Reports: []*workersv1.Report{report}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor: report:", err) // the client's wait shows it
	}
}

// ClientHandlers returns what the client's process answers to.
func ClientHandlers() (handlers map[string]proc.Handler, stop func(), err error) {
	transport := ground.PlainHTTP2()
	c := caller{runsv1connect.NewRunServiceClient(&http.Client{Transport: transport}, os.Getenv(variableAddress),
		connect.WithInterceptors(ground.Bearer(os.Getenv(variableToken))))}
	return map[string]proc.Handler{
		"starts": proc.Handle(c.starts), "results": proc.Handle(c.results), "echo": proc.Handle(c.echo),
	}, transport.CloseIdleConnections, nil
}

type caller struct {
	runs runsv1connect.RunServiceClient
}

func newRun(workflow string, num int, due time.Time) (*runsv1.NewRun, error) {
	in := payload{Num: num, Sent: due.UnixNano()}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(in)
	return &runsv1.NewRun{RunId: id.String(), Workflow: workflow, InputJson: string(text)}, err
}

func (c caller) starts(ctx context.Context, o Order) (struct{}, error) {
	return struct{}{}, load.Open(ctx, o.Calls, o.Rate, func(ctx context.Context, i int, due time.Time) error {
		run, err := newRun(startOnly, i, due)
		if err != nil {
			return err
		}
		_, err = c.runs.Trigger(ctx, &runsv1.TriggerRequest{Run: run})
		return err
	})
}

func (c caller) results(ctx context.Context, o Order) ([]time.Duration, error) {
	var samples load.Samples
	err := load.Open(ctx, o.Calls, o.Rate, func(ctx context.Context, i int, due time.Time) error {
		for range o.Links {
			run, err := newRun(andResult, i, due)
			if err != nil {
				return err
			}
			res, err := c.runs.TriggerAndWait(ctx, &runsv1.TriggerAndWaitRequest{Run: run})
			if err != nil {
				return err
			}
			if res.GetRun().GetOutputJson() != strconv.Itoa(i) {
				return fmt.Errorf("the result is %q, want %d", res.GetRun().GetOutputJson(), i)
			}
		}
		samples.Add(time.Since(due))
		return nil
	})
	return samples.Take(), err
}

func (c caller) echo(ctx context.Context, o Order) (time.Duration, error) {
	begin := time.Now()
	err := load.Closed(ctx, o.Calls, o.InFlight, func(ctx context.Context, i int) error {
		id := strconv.Itoa(i)
		res, err := c.runs.GetRun(ctx, &runsv1.GetRunRequest{RunId: id})
		if err == nil && res.GetRun().GetId() != id {
			err = fmt.Errorf("the echo of %s is %q", id, res.GetRun().GetId())
		}
		return err
	})
	return time.Since(begin), err
}
