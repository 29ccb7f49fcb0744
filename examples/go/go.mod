module github.com/tenon-run/tenon/examples/go

go 1.26.0

require (
	github.com/tenon-run/tenon/proto v0.0.0
	github.com/tenon-run/tenon/sdk/go v0.0.0
)

replace github.com/tenon-run/tenon/proto => ../../proto

replace github.com/tenon-run/tenon/sdk/go => ../../sdk/go
