package tenon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
)

// Client is a connection to a Tenon server, shared by any number of goroutines. Close it when it is no longer used.
type Client struct {
	cfg      clientConfig
	log      *slog.Logger
	runs     runsv1connect.RunServiceClient
	registry registryv1connect.RegistryServiceClient
	identity identityv1connect.IdentityServiceClient
	workers  workersv1connect.WorkerServiceClient
	admin    workersv1connect.WorkerAdminServiceClient
	triggers *gatherer[*pendingTrigger]
	awaits   *gatherer[*awaited]
	streams  sync.WaitGroup // that awaits has opened

	// alive ends when the client is closed.
	alive   context.Context
	die     context.CancelCauseFunc
	closing sync.Once
}

// maxReadBytes is above the server's limit of a call, 32 MiB.
const maxReadBytes = 64 << 20

// NewClient makes a client from its options and the environment. It opens no connection yet; the error tells what is missing or malformed.
func NewClient(opts ...ClientOption) (*Client, error) {
	cfg, err := newClientConfig(opts)
	if err != nil {
		return nil, err
	}
	doer := &http.Client{
		Transport: cfg.transport,
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	common := []connect.ClientOption{
		connect.WithInterceptors(credentialsOf(&cfg)),
		connect.WithReadMaxBytes(maxReadBytes),
		// Many small messages over a short way: compressing them took a tenth of the server's time.
		connect.WithAcceptCompression("gzip", nil, nil),
	}
	c := &Client{
		cfg: cfg, log: cfg.logger,
		runs:     runsv1connect.NewRunServiceClient(doer, cfg.address, common...),
		registry: registryv1connect.NewRegistryServiceClient(doer, cfg.address, common...),
		identity: identityv1connect.NewIdentityServiceClient(doer, cfg.address, common...),
		workers:  workersv1connect.NewWorkerServiceClient(doer, cfg.address, common...),
		admin:    workersv1connect.NewWorkerAdminServiceClient(doer, cfg.address, common...),
	}
	c.alive, c.die = context.WithCancelCause(context.Background())
	c.triggers = newTriggerGatherer(c)
	c.awaits = newAwaitGatherer(c)
	return c, nil
}

// Close ends the client's calls that are under way and closes its idle connections. Stop its workers first.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.die(ErrClosed)
		c.triggers.close()
		c.awaits.close()
		c.streams.Wait()
		if t, ok := c.cfg.transport.(interface{ CloseIdleConnections() }); ok {
			t.CloseIdleConnections()
		}
	})
	return nil
}

// Runs is the generated client of RunService, for what has no method here: lists, attempts, logs, watching.
func (c *Client) Runs() runsv1connect.RunServiceClient { return c.runs }

// Registry is the generated client of RegistryService.
func (c *Client) Registry() registryv1connect.RegistryServiceClient { return c.registry }

// Identity is the generated client of IdentityService.
func (c *Client) Identity() identityv1connect.IdentityServiceClient { return c.identity }

// WorkerAdmin is the generated client of WorkerAdminService.
func (c *Client) WorkerAdmin() workersv1connect.WorkerAdminServiceClient { return c.admin }

// Address is the server's address as the client found it: from its option, the environment or the token, without a slash at its end.
func (c *Client) Address() string { return c.cfg.address }

// GetRun reads a run with its tasks.
func (c *Client) GetRun(ctx context.Context, id string) (*runsv1.Run, error) {
	res, err := call(ctx, c, c.runs.GetRun, &runsv1.GetRunRequest{RunId: id})
	if err != nil {
		return nil, fmt.Errorf("get run %s: %w", id, err)
	}
	return res.GetRun(), nil
}

// CancelRun ends a run: waiting tasks at once, running ones when their worker says they stopped. The reason, at most 500 characters, is shown
// with the run. A final run is answered as it is.
func (c *Client) CancelRun(ctx context.Context, id, reason string) (*runsv1.Run, error) {
	res, err := call(ctx, c, c.runs.CancelRun, &runsv1.CancelRunRequest{RunId: id, Reason: reason, Parent: parentOf(ctx)})
	if err != nil {
		return nil, fmt.Errorf("cancel run %s: %w", id, err)
	}
	return res.GetRun(), nil
}

// ReplayRun runs a final run's tasks again: all of them, or the named ones with everything after them. It is not sent again when
// the connection breaks, since a replay that went through would be replayed.
func (c *Client) ReplayRun(ctx context.Context, id string, tasks ...string) (*runsv1.Run, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	res, err := c.runs.ReplayRun(ctx, &runsv1.ReplayRunRequest{RunId: id, Tasks: tasks})
	if err != nil {
		return nil, fmt.Errorf("replay run %s: %w", id, err)
	}
	return res.GetRun(), nil
}

// parentOf gives the running task's assignment when ctx comes from a task, since a worker's token may act on children only.
func parentOf(ctx context.Context) *runsv1.ParentAssignment {
	if t, ok := ctx.Value(taskKey{}).(*task); ok {
		return t.parentAssignment("")
	}
	return nil
}

// live gives a context that ends with the client too.
func (c *Client) live(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.alive, func() { cancel(context.Cause(c.alive)) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// bound gives a call without a deadline the client's own, and ends it with the client.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := c.live(ctx)
	if _, ok := ctx.Deadline(); ok {
		return ctx, cancel
	}
	ctx, cancelTime := context.WithTimeout(ctx, c.cfg.callTimeout)
	return ctx, func() {
		cancelTime()
		cancel()
	}
}

// call makes a call that may be sent again, until it succeeds, fails for good or runs out of time.
func call[Req, Res any](ctx context.Context, c *Client, method func(context.Context, *Req) (*Res, error), req *Req) (*Res, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var res *Res
	err := retry(ctx, c.cfg.backoff, func() (err error) {
		res, err = method(ctx, req)
		return err
	})
	if cause := context.Cause(c.alive); err != nil && cause != nil {
		return nil, cause
	}
	return res, err
}

// transient says whether a call may succeed when it is sent again as it is.
func transient(err error) bool {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeAborted:
		return true
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeInvalidArgument, connect.CodeCanceled, connect.CodeDeadlineExceeded:
		// Not the server's word but a connection that broke in the middle of an answer.
		ce, ok := errors.AsType[*connect.Error](err)
		return ok && !connect.IsWireError(ce)
	case connect.CodeResourceExhausted:
		// A rate limit says when to come back; a size limit does not.
		ce, ok := errors.AsType[*connect.Error](err)
		return ok && slices.ContainsFunc(ce.Details(), func(d *connect.ErrorDetail) bool { return d.Type() == "google.rpc.RetryInfo" })
	default:
		return false
	}
}

// credentials adds the token, if there is one, to every request, and says who calls.
type credentials struct {
	bearer, tenant, userAgent string
}

func credentialsOf(cfg *clientConfig) credentials {
	if cfg.token == "" {
		return credentials{userAgent: cfg.userAgent}
	}
	return credentials{bearer: "Bearer " + cfg.token, tenant: cfg.tenant, userAgent: cfg.userAgent}
}

func (a credentials) set(h http.Header) {
	if a.userAgent != "" {
		h.Set("User-Agent", a.userAgent)
	}
	if a.bearer == "" {
		return
	}
	h.Set("Authorization", a.bearer)
	if a.tenant != "" {
		h.Set("Tenon-Tenant", a.tenant)
	}
}

func (a credentials) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		a.set(req.Header())
		return next(ctx, req)
	}
}

func (a credentials) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		a.set(conn.RequestHeader())
		return conn
	}
}

func (a credentials) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
