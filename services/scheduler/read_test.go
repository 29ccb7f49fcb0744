package scheduler

import (
	"testing"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// A run may end between the reading of its rows and the owner's answer. The owner does not say with which result, so its word alone must not make the
// run look ended.
func TestTheOwnersWordAloneEndsNothing(t *testing.T) {
	t.Parallel()
	view := func(state flow.State) *RunView {
		return &RunView{Open: true, Rows: []engine.Row{{Single: true, State: state}}}
	}
	says := func(state flow.State) *busv1.PeekedRun {
		return &busv1.PeekedRun{Tasks: []*busv1.PeekedTask{{Status: string(state), StartTime: 1}}}
	}
	young := view(flow.Queued)
	if whole := young.merge(says(flow.Running)); !whole || young.Status() != flow.Running {
		t.Errorf("an attempt that is not written yet: whole %t, shown as %s", whole, young.Status())
	}
	for _, end := range []flow.State{flow.Completed, flow.Failed, flow.Cancelled, flow.TimedOut} {
		ending := view(flow.Running)
		if whole := ending.merge(says(end)); whole || ending.Status().Final() {
			t.Errorf("a run that is %s in memory alone: whole %t, shown as %s", end, whole, ending.Status())
		}
	}
}
