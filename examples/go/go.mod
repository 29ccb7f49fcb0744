module github.com/tenon-run/tenon/examples/go

go 1.26.0

require github.com/tenon-run/tenon/sdk/go v0.0.0

require (
	buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go v1.36.12-20260825204119-511051f7f437.1 // indirect
	connectrpc.com/connect v1.21.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/tenon-run/tenon/proto v0.0.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/tenon-run/tenon/proto => ../../proto

replace github.com/tenon-run/tenon/sdk/go => ../../sdk/go
