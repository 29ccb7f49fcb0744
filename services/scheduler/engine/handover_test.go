package engine

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// A shard that was just taken over does not know yet what its workers run. Handed on before they have had their time to say so, it is not settled, and
// the next owner has to ask them too: else it would send again what they are running.
func TestAShardThatIsStillAskingIsNotSettled(t *testing.T) {
	b := newBench(t)
	if !b.shard.Settled() {
		t.Error("a shard without tenants has nothing to ask")
	}
	p := b.plan(oneTask(flow.Task{}))
	b.trigger(p)
	one[*Assign](b, b.worker(1, p))
	if !b.shard.Settled() {
		t.Error("an owner from the start knows everything")
	}
	b.takeOver()
	if b.shard.Settled() {
		t.Error("the new owner knows everything before anybody was asked")
	}
	b.wait(time.Second)
	if !b.shard.Settled() {
		t.Error("the workers' time is over, and the shard still waits")
	}
}
