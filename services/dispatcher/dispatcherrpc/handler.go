// Package dispatcherrpc puts the dispatcher on the wire: WorkerService and WorkerAdminService, served by services/dispatcher. It finds out who calls and hands over; the rules
// stand in the service. Only internal/app imports it.
package dispatcherrpc

import (
	"context"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/rpc"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	"github.com/tenon-run/tenon/services/dispatcher"
)

// Register mounts the services. The options are the server's.
func Register(mux rpc.Mux, svc *dispatcher.Service, elsewhere Elsewhere, options ...connect.HandlerOption) {
	path, handler := workersv1connect.NewWorkerServiceHandler(&workers{svc, elsewhere}, options...)
	mux.Handle(path, handler, workersv1.File_tenon_workers_v1_workers_proto.Services().ByName("WorkerService"))
	path, handler = workersv1connect.NewWorkerAdminServiceHandler(&admin{workers{svc, elsewhere}}, options...)
	mux.Handle(path, handler, workersv1.File_tenon_workers_v1_workers_proto.Services().ByName("WorkerAdminService"))
}

// workers implements WorkerService.
type workers struct {
	svc       *dispatcher.Service
	elsewhere Elsewhere
}

var _ workersv1connect.WorkerServiceHandler = (*workers)(nil)

func caller(ctx context.Context) dispatcher.Caller {
	principal := authn.From(ctx)
	return dispatcher.Caller{TenantID: principal.TenantID, TokenID: principal.TokenID}
}

// Register implements WorkerService.
func (w *workers) Register(ctx context.Context, request *workersv1.RegisterRequest) (*workersv1.RegisterResponse, error) {
	return w.svc.Register(ctx, caller(ctx), request)
}

// Listen implements WorkerService.
func (w *workers) Listen(ctx context.Context, request *workersv1.ListenRequest, stream *connect.ServerStream[workersv1.ListenResponse]) error {
	return w.svc.Listen(ctx, caller(ctx), request, stream.Send)
}

// Report implements WorkerService.
func (w *workers) Report(ctx context.Context, request *workersv1.ReportRequest) (*workersv1.ReportResponse, error) {
	if there, out := w.holder(ctx, request.GetWorkerId()); there != nil {
		return there.Report(out, request)
	}
	return w.svc.Report(ctx, caller(ctx), request)
}

// Heartbeat implements WorkerService.
func (w *workers) Heartbeat(ctx context.Context, request *workersv1.HeartbeatRequest) (*workersv1.HeartbeatResponse, error) {
	if there, out := w.holder(ctx, request.GetWorkerId()); there != nil {
		return there.Heartbeat(out, request)
	}
	return w.svc.Heartbeat(ctx, caller(ctx), request)
}

// Log implements WorkerService.
func (w *workers) Log(ctx context.Context, request *workersv1.LogRequest) (*workersv1.LogResponse, error) {
	if there, out := w.holder(ctx, request.GetWorkerId()); there != nil {
		return there.Log(out, request)
	}
	return w.svc.Log(ctx, caller(ctx), request)
}

// GetPayloads implements WorkerService.
func (w *workers) GetPayloads(ctx context.Context, request *workersv1.GetPayloadsRequest) (*workersv1.GetPayloadsResponse, error) {
	if there, out := w.holder(ctx, request.GetWorkerId()); there != nil {
		return there.GetPayloads(out, request)
	}
	return w.svc.GetPayloads(ctx, caller(ctx), request)
}
