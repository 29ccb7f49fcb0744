package authz

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
)

// Unguarded lists the methods that anybody may call and that carry no access option, as procedures ("/package.Service/Method"). There
// are no others.
func Unguarded() []string {
	return []string{
		"/grpc.health.v1.Health/Check",
		"/grpc.health.v1.Health/List",
		"/grpc.health.v1.Health/Watch",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	}
}

// IsUnguarded reports whether the procedure is one of Unguarded.
func IsUnguarded(procedure string) bool { return slices.Contains(Unguarded(), procedure) }

// MethodAccess returns what the method's (tenon.options.v1.access) option asks for; false when it has none, or one that names no object or action.
func MethodAccess(method protoreflect.MethodDescriptor) (*optionsv1.Access, bool) {
	options := method.Options()
	if options == nil || !proto.HasExtension(options, optionsv1.E_Access) {
		return nil, false
	}
	access, ok := proto.GetExtension(options, optionsv1.E_Access).(*optionsv1.Access)
	return access, ok && access.GetObject() != "" && access.GetAction() != ""
}

// CheckAll returns an error that names every method of the services that has no access option and is not among Unguarded.
func CheckAll(services ...protoreflect.ServiceDescriptor) error {
	var bare []string
	for _, service := range services {
		methods := service.Methods()
		for i := range methods.Len() {
			method := methods.Get(i)
			procedure := Procedure(method)
			if _, ok := MethodAccess(method); !ok && !IsUnguarded(procedure) {
				bare = append(bare, procedure)
			}
		}
	}
	if len(bare) == 0 {
		return nil
	}
	return fmt.Errorf("authz: no (tenon.options.v1.access) option with object and action on %s: say in the .proto who may call", strings.Join(bare, ", "))
}

// Procedure is the path that the method is called by: "/package.Service/Method".
func Procedure(method protoreflect.MethodDescriptor) string {
	return "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
}
