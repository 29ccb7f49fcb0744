package rpc

import (
	"context"
	"log/slog"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/emptypb" // the message of the made-up method

	"github.com/tenon-run/tenon/internal/authn"
	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
)

// openHouse lets everybody do everything.
type openHouse struct{}

func (openHouse) Check(context.Context, authn.Principal, *optionsv1.Access) error { return nil }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// bareService is a made-up service whose only method lacks the access option.
func bareService() protoreflect.ServiceDescriptor {
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("bare.proto"), Package: new("bare"), Syntax: new("proto3"),
		Dependency: []string{"google/protobuf/empty.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: new("Service"),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: new("Method"), InputType: new(".google.protobuf.Empty"), OutputType: new(".google.protobuf.Empty"),
			}},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	return file.Services().Get(0)
}
