package dispatcherrpc

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/rpc"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
)

// Elsewhere reaches the dispatchers of other processes. A worker's calls belong to the one that holds its stream; one that arrives at another
// process, as behind a load balancer, is passed on there. The zero value knows of none.
type Elsewhere struct {
	// Others tells whether other processes run dispatchers at all.
	Others func() bool
	// Find is the URL of the process with that instance, empty when it is not known.
	Find func(instance string) string
	// Client makes the calls.
	Client *http.Client
}

// holder is a client of the process that holds a worker's session, and the context to call it with; nil when the call is to be served here.
func (w *workers) holder(ctx context.Context, worker string) (workersv1connect.WorkerServiceClient, context.Context) {
	address, out := w.holderAt(ctx, worker)
	if address == "" {
		return nil, nil
	}
	return workersv1connect.NewWorkerServiceClient(w.elsewhere.Client, address), out
}

// holderAdmin is the same for those who steer a worker: its stream and its attachment are there.
func (w *workers) holderAdmin(ctx context.Context, worker string) (workersv1connect.WorkerAdminServiceClient, context.Context) {
	address, out := w.holderAt(ctx, worker)
	if address == "" {
		return nil, nil
	}
	return workersv1connect.NewWorkerAdminServiceClient(w.elsewhere.Client, address), out
}

func (w *workers) holderAt(ctx context.Context, worker string) (string, context.Context) {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok || worker == "" || w.elsewhere.Others == nil || info.RequestHeader().Get(rpc.HeldHeader) != "" || !w.elsewhere.Others() {
		return "", nil
	}
	instance := w.svc.Holder(ctx, caller(ctx), worker)
	if instance == "" {
		return "", nil
	}
	address := w.elsewhere.Find(instance)
	if address == "" {
		return "", nil
	}
	out, outgoing := connect.NewClientContext(ctx)
	for _, name := range []string{"Authorization", authn.TenantHeader} {
		if value := info.RequestHeader().Get(name); value != "" {
			outgoing.RequestHeader().Set(name, value)
		}
	}
	outgoing.RequestHeader().Set(rpc.HeldHeader, "1")
	return address, out
}
