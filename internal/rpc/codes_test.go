package rpc

import (
	"testing"

	"github.com/tenon-run/tenon/internal/fault"
)

// The answer to one item of a bulk call names its code by the fault's own name: it must be the text of the Connect code that a call of its own gets.
func TestCodesAreNamedAsInConnect(t *testing.T) {
	t.Parallel()
	for code := fault.CodeInternal; code <= fault.CodeDeadlineExceeded; code++ {
		if wire := ToConnect(fault.New(code, "X", "x"), "").Code().String(); wire != code.String() {
			t.Errorf("code %s goes out as %s", code, wire)
		}
	}
}
