package registryrpc

import (
	"context"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/rpc"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	"github.com/tenon-run/tenon/services/registry"
)

// Register mounts the service. The options are the server's.
func Register(mux rpc.Mux, svc *registry.Service, options ...connect.HandlerOption) {
	path, serve := registryv1connect.NewRegistryServiceHandler(&handler{svc}, options...)
	mux.Handle(path, serve, registryv1.File_tenon_registry_v1_registry_proto.Services().ByName("RegistryService"))
}

// handler implements RegistryService.
type handler struct{ svc *registry.Service }

var _ registryv1connect.RegistryServiceHandler = (*handler)(nil)

// PutWorkflow implements RegistryService.
func (h *handler) PutWorkflow(ctx context.Context, req *registryv1.PutWorkflowRequest) (*registryv1.PutWorkflowResponse, error) {
	w, created, err := h.svc.Put(ctx, req.GetSpec())
	if err != nil {
		return nil, err
	}
	return &registryv1.PutWorkflowResponse{Workflow: workflowToProto(w), CreatedVersion: created}, nil
}

// GetWorkflow implements RegistryService.
func (h *handler) GetWorkflow(ctx context.Context, req *registryv1.GetWorkflowRequest) (*registryv1.GetWorkflowResponse, error) {
	w, err := h.svc.Get(ctx, req.GetName(), int(req.GetVersion()))
	if err != nil {
		return nil, err
	}
	return &registryv1.GetWorkflowResponse{Workflow: workflowToProto(w)}, nil
}

// ListWorkflows implements RegistryService.
func (h *handler) ListWorkflows(ctx context.Context, req *registryv1.ListWorkflowsRequest) (*registryv1.ListWorkflowsResponse, error) {
	list, next, err := h.svc.List(ctx, registry.Page{Size: int(req.GetPageSize()), Token: req.GetPageToken()})
	if err != nil {
		return nil, err
	}
	answer := &registryv1.ListWorkflowsResponse{NextPageToken: next}
	for _, w := range list {
		answer.Workflows = append(answer.Workflows, workflowToProto(w))
	}
	return answer, nil
}

// ListWorkflowVersions implements RegistryService.
func (h *handler) ListWorkflowVersions(ctx context.Context, req *registryv1.ListWorkflowVersionsRequest) (*registryv1.ListWorkflowVersionsResponse, error) {
	list, next, err := h.svc.ListVersions(ctx, req.GetName(), registry.Page{Size: int(req.GetPageSize()), Token: req.GetPageToken()})
	if err != nil {
		return nil, err
	}
	answer := &registryv1.ListWorkflowVersionsResponse{NextPageToken: next}
	for _, v := range list {
		answer.Versions = append(answer.Versions, versionToProto(v))
	}
	return answer, nil
}
