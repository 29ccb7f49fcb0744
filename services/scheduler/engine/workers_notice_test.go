package engine

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// Readers hear of each change of a worker; what a worker does with its tasks is told as a change of their runs.
func TestChangesOfWorkersAreTold(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	one[*WorkersNotice](b, b.session(b.work, 1, 1, nil, p))
	b.trigger(p)
	none[*WorkersNotice](b, b.wait(time.Second))
	one[*WorkersNotice](b, b.pause(b.work, true))
	one[*WorkersNotice](b, b.pause(b.work, false))
	one[*WorkersNotice](b, b.do(&DrainWorker{To: b.ref(nil), Tenant: simTenant, Worker: b.work, Session: 1}))
	none[*WorkersNotice](b, b.do(&DrainWorker{To: b.ref(nil), Tenant: simTenant, Worker: b.work, Session: 7}))
	one[*WorkersNotice](b, b.lose(b.work, 1, false))
	none[*WorkersNotice](b, b.lose(b.work, 1, false))
	if n := one[*WorkersNotice](b, b.wait(time.Hour)); n.Tenant != simTenant { // the grace is over
		t.Errorf("the notice is about tenant %d", n.Tenant)
	}
}
