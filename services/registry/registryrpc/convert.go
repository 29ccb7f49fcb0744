package registryrpc

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/registry"
)

func workflowToProto(w registry.Workflow) *registryv1.Workflow {
	return &registryv1.Workflow{
		Id: typeid.Format(typeid.Flow, w.ID), Name: w.Name, Version: versionToProto(w.Version), CreateTime: timestamppb.New(w.Created),
	}
}

func versionToProto(v registry.Version) *registryv1.WorkflowVersion {
	return &registryv1.WorkflowVersion{
		Number: int32(v.Number), Digest: v.Digest, Spec: v.Spec, CreateTime: timestamppb.New(v.Created), //nolint:gosec // at most 10,000
	}
}
