package lease_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/testkit"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

const shard = 5

// ground is a tenant in an owned shard, and a caller.
type ground struct {
	tenant int64
	bus    *bus.NATS
	store  *lease.Store
	caller *lease.Caller
}

func prepare(t *testing.T) *ground {
	t.Helper()
	pool := testkit.Database(t)
	g := &ground{bus: testkit.Bus(t), store: owner(t, pool)}
	g.caller = &lease.Caller{Bus: g.bus, Directory: lease.NewDirectory(pool)}
	err := pool.QueryRow(t.Context(), "INSERT INTO tenants (public_id, slug, display_name) VALUES ($1, 'acme', 'Acme') RETURNING id", uuid.New()).Scan(&g.tenant)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "INSERT INTO tenant_shards VALUES ($1, $2)", g.tenant, shard); err != nil {
		t.Fatal(err)
	}
	return g
}

// own takes the shard anew and answers its requests.
func (g *ground) own(t *testing.T, handle bus.Handler) int64 {
	t.Helper()
	l, ok := take(t, g.store, shard, flow.ID{})
	if !ok {
		t.Fatal("the shard is somebody else's")
	}
	sub, err := g.bus.Serve(lease.Subject(shard, l.Epoch), handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Stop)
	return l.Epoch
}

func (g *ground) trigger() *busv1.ShardRequest {
	return &busv1.ShardRequest{Kind: &busv1.ShardRequest_Trigger{Trigger: &busv1.TriggerRuns{Runs: []*busv1.TriggerRun{{Fresh: true}}}}}
}

// An owner that took a request and died would never answer. The call goes on as soon as its successor is heard of, and what it sends there is no longer
// certain to be new.
func TestACallLeavesAnOwnerThatHasASuccessor(t *testing.T) {
	t.Parallel()
	g := prepare(t)
	arrived := make(chan struct{})
	g.own(t, func(ctx context.Context, _ []byte) ([]byte, error) {
		close(arrived)
		<-ctx.Done() // not before the bus is closed
		return nil, ctx.Err()
	})
	var fresh atomic.Bool
	go func() {
		<-arrived
		epoch := g.own(t, func(_ context.Context, data []byte) ([]byte, error) {
			req := new(busv1.ShardRequest)
			err := proto.Unmarshal(data, req)
			fresh.Store(err != nil || req.GetTrigger().GetRuns()[0].GetFresh())
			return nil, err
		})
		g.caller.Moved(shard, epoch)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // a try that is not ended takes five
	defer cancel()
	if _, epoch, err := g.caller.Call(ctx, g.tenant, g.trigger()); err != nil || epoch != 2 || fresh.Load() {
		t.Errorf("epoch %d answered, still called new %t, %v; want the second owner", epoch, fresh.Load(), err)
	}
}

// A replay that may have been carried out is not carried out again.
func TestAReplayIsNotSentAgainInDoubt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first error
		calls int32
	}{
		"in doubt":          {fault.Unavailable("COMMIT_UNKNOWN", "it may have been stored"), 1},
		"certainly refused": {fault.Unavailable(lease.ReasonNotOwner, "somebody else's"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := prepare(t)
			var calls atomic.Int32
			g.own(t, func(context.Context, []byte) ([]byte, error) {
				if calls.Add(1) == 1 {
					return nil, test.first
				}
				return nil, nil
			})
			_, _, err := g.caller.Call(t.Context(), g.tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Replay{Replay: &busv1.ReplayRun{}}})
			if (err == nil) != (test.calls == 2) || calls.Load() != test.calls {
				t.Errorf("%d calls, %v; want %d", calls.Load(), err, test.calls)
			}
		})
	}
}

// A replay whose owner was replaced meanwhile ends with a word that its caller can act on.
func TestAReplayLeavesAnOwnerThatHasASuccessor(t *testing.T) {
	t.Parallel()
	g := prepare(t)
	arrived := make(chan struct{})
	epoch := g.own(t, func(ctx context.Context, _ []byte) ([]byte, error) {
		close(arrived)
		<-ctx.Done() // not before the bus is closed
		return nil, ctx.Err()
	})
	go func() {
		<-arrived
		g.caller.Moved(shard, epoch+1)
	}()
	_, _, err := g.caller.Call(t.Context(), g.tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Replay{Replay: &busv1.ReplayRun{}}})
	if !fault.Is(err, fault.CodeUnavailable) || !fault.HasReason(err, "OWNER_MOVED") {
		t.Errorf("the replay ended with %v", err)
	}
}
