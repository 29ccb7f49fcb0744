package definition

import (
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
)

// Fields turns faults into the fields of an Invalid fault.
func Fields(faults []flow.Fault) []fault.Field {
	fields := make([]fault.Field, len(faults))
	for i, f := range faults {
		fields[i] = fault.Field{Path: f.Path, Message: f.Message}
	}
	return fields
}
