module github.com/tenon-run/tenon/sdk/go

go 1.26.0

require github.com/tenon-run/tenon/proto v0.0.0

require (
	connectrpc.com/connect v1.21.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/tenon-run/tenon/proto => ../../proto
