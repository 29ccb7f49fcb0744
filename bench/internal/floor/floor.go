// Package floor is the bare chain that Tenon's latencies are held against: the same calls, tokens, libraries and processes with no engine in them. An
// authenticated Connect call, a NATS request, a one-row commit, and a push over a stream to another process; for results also that process's
// report, a second commit, and the answer. Only the bench's scenarios and its program import it.
package floor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
)

const (
	subject = "bench.floor"
	// connections is the size of the pool that commits.
	connections = 8
)

// chain is the server: it has Tenon's messages and none of its rules. Trigger and TriggerAndWait are the chain, GetRun is an echo.
type chain struct {
	runsv1connect.UnimplementedRunServiceHandler
	workersv1connect.UnimplementedWorkerServiceHandler

	rows    *pgxpool.Pool
	request *nats.Conn // the edge's connection
	serve   *nats.Conn // the owner's
	push    chan *workersv1.Assignment

	mu      sync.Mutex
	waiting map[uuid.UUID]chan string
}

// newChain makes the table, and answers requests on the subject until close.
func newChain(ctx context.Context, databaseURL, natsURL string) (c *chain, err error) {
	c = &chain{push: make(chan *workersv1.Assignment), waiting: make(map[uuid.UUID]chan string)}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return c, err
	}
	cfg.MaxConns = connections
	if c.rows, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return c, err
	}
	if _, err := c.rows.Exec(ctx, "create table if not exists chain (id uuid primary key, input bytea not null, output bytea)"); err != nil {
		return c, err
	}
	for _, conn := range []**nats.Conn{&c.request, &c.serve} {
		if *conn, err = nats.Connect(natsURL); err != nil {
			return c, err
		}
	}
	_, err = c.serve.Subscribe(subject, func(msg *nats.Msg) { go c.own(ctx, msg) })
	if err != nil {
		return c, err
	}
	return c, c.serve.Flush()
}

func (c *chain) close() {
	for _, conn := range []*nats.Conn{c.request, c.serve} {
		if conn != nil {
			conn.Close()
		}
	}
	if c.rows != nil {
		c.rows.Close()
	}
}

// own is the owner's part: commit, then push and answer.
func (c *chain) own(ctx context.Context, msg *nats.Msg) {
	if err := c.admit(ctx, msg.Data); err != nil {
		_ = msg.Respond([]byte(err.Error())) // the caller notices a lost answer by its deadline
		return
	}
	_ = msg.Respond(nil) // as above
}

func (c *chain) admit(ctx context.Context, data []byte) error {
	var run runsv1.NewRun
	if err := proto.Unmarshal(data, &run); err != nil {
		return err
	}
	id, err := uuid.Parse(run.GetRunId())
	if err != nil {
		return err
	}
	if _, err := c.rows.Exec(ctx, "insert into chain (id, input) values ($1, $2)", id, []byte(run.GetInputJson())); err != nil {
		return err
	}
	select {
	case c.push <- &workersv1.Assignment{AssignmentId: id[:], RunId: run.GetRunId(), Workflow: run.GetWorkflow(), TaskNo: 1, InputJson: run.GetInputJson()}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *chain) enter(ctx context.Context, run *runsv1.NewRun) error {
	data, err := proto.Marshal(run)
	if err != nil {
		return err
	}
	answer, err := c.request.RequestWithContext(ctx, subject, data)
	if err != nil {
		return err
	}
	if len(answer.Data) > 0 {
		return errors.New(string(answer.Data))
	}
	return nil
}

// Trigger is the chain up to the start.
func (c *chain) Trigger(ctx context.Context, req *runsv1.TriggerRequest) (*runsv1.TriggerResponse, error) {
	if err := c.enter(ctx, req.GetRun()); err != nil {
		return nil, err
	}
	return &runsv1.TriggerResponse{RunId: req.GetRun().GetRunId(), Created: true}, nil
}

// TriggerAndWait is the chain up to the result.
func (c *chain) TriggerAndWait(ctx context.Context, req *runsv1.TriggerAndWaitRequest) (*runsv1.TriggerAndWaitResponse, error) {
	id, err := uuid.Parse(req.GetRun().GetRunId())
	if err != nil {
		return nil, err
	}
	result := make(chan string, 1)
	c.mu.Lock()
	c.waiting[id] = result
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}()
	if err := c.enter(ctx, req.GetRun()); err != nil {
		return nil, err
	}
	select {
	case output := <-result:
		return &runsv1.TriggerAndWaitResponse{Run: &runsv1.Run{
			Id: req.GetRun().GetRunId(), Status: runsv1.RunStatus_RUN_STATUS_COMPLETED, OutputJson: output,
		}}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// GetRun is the echo.
func (c *chain) GetRun(_ context.Context, req *runsv1.GetRunRequest) (*runsv1.GetRunResponse, error) {
	return &runsv1.GetRunResponse{Run: &runsv1.Run{Id: req.GetRunId()}}, nil
}

// Listen pushes to the one worker.
func (c *chain) Listen(ctx context.Context, _ *workersv1.ListenRequest, stream *connect.ServerStream[workersv1.ListenResponse]) error {
	if err := stream.Send(&workersv1.ListenResponse{Opened: true}); err != nil {
		return err
	}
	for {
		select {
		case a := <-c.push:
			if err := stream.Send(&workersv1.ListenResponse{Assignments: []*workersv1.Assignment{a}}); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Report is the second commit, and lets the result out.
func (c *chain) Report(ctx context.Context, req *workersv1.ReportRequest) (*workersv1.ReportResponse, error) {
	res := &workersv1.ReportResponse{}
	for _, r := range req.GetReports() {
		id, err := uuid.FromBytes(r.GetAssignmentId())
		if err != nil {
			return nil, err
		}
		output := r.GetCompleted().GetOutputJson()
		tag, err := c.rows.Exec(ctx, "update chain set output = $2 where id = $1", id, []byte(output))
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() != 1 {
			return nil, fmt.Errorf("there is no row %s", id)
		}
		c.mu.Lock()
		result := c.waiting[id]
		c.mu.Unlock()
		if result != nil {
			result <- output
		}
		res.Answers = append(res.Answers, &workersv1.ReportAnswer{Verdict: workersv1.ReportVerdict_REPORT_VERDICT_ACCEPTED})
	}
	return res, nil
}

// listenAndServe serves the chain on a free port of loopback, behind the check of tokens that Tenon makes. stop ends it and waits.
func (c *chain) listenAndServe(ctx context.Context, check connect.Interceptor) (address string, stop func(), err error) {
	mux := http.NewServeMux()
	mux.Handle(runsv1connect.NewRunServiceHandler(c, connect.WithInterceptors(check)))
	mux.Handle(workersv1connect.NewWorkerServiceHandler(c, connect.WithInterceptors(check)))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	const headerTimeout, most, streams = 10 * time.Second, 5 * time.Second, 1000
	life, end := context.WithCancel(ctx)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams},
		BaseContext: func(net.Listener) context.Context { return life },
	}
	server.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "floor:", err)
		}
	}()
	return "http://" + listener.Addr().String(), func() {
		end()
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
		defer cancel()
		if err := server.Shutdown(limit); err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
		}
		<-served
	}, nil
}

// verify checks the token of each call as Tenon does: the same verifier with the same keys, cache and revocations.
type verify struct{ verifier verifier }

func (v verify) check(ctx context.Context, header http.Header) error {
	scheme, bearer, _ := strings.Cut(header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("no token"))
	}
	if _, err := v.verifier.Verify(ctx, bearer, ""); err != nil {
		return connect.NewError(connect.CodeUnauthenticated, err)
	}
	return nil
}

// WrapUnary implements connect.Interceptor.
func (v verify) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := v.check(ctx, req.Header()); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (v verify) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (v verify) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := v.check(ctx, conn.RequestHeader()); err != nil {
			return err
		}
		return next(ctx, conn)
	}
}
