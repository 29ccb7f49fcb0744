package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// Reasons of faults.
const (
	// ReasonNotOwner is given when a process that was asked no longer owns the shard under that epoch, or the tenant is in another shard.
	ReasonNotOwner = "NOT_SHARD_OWNER"
	// ReasonOwnerMoved is given when the owner was followed by another while it had the call.
	ReasonOwnerMoved = "OWNER_MOVED"
)

// Subject is where the owner of a shard listens under an epoch.
func Subject(shard int32, epoch int64) string {
	return fmt.Sprintf("tenon.shard.%d.%d", shard, epoch)
}

// Directory finds a tenant's shard and a shard's owner, and remembers both until told that they have changed. It is bounded by the number
// of tenants that this process has served.
type Directory struct {
	pool *pgxpool.Pool

	mu      sync.Mutex
	tenants map[int64]int32
	epochs  map[int32]int64
	tries   map[int32]map[*try]struct{}
}

// try is one request under way to the owner of a shard.
type try struct {
	epoch int64
	stop  context.CancelCauseFunc
}

// errMoved ends tries whose owner has a successor. A replay, which may have been carried out, ends with it.
var errMoved = fault.Unavailable(ReasonOwnerMoved, "the tenant's scheduler was replaced while it had the call: look whether it was carried out, then send it again")

// NewDirectory reads from the pool.
func NewDirectory(pool *pgxpool.Pool) *Directory {
	return &Directory{pool: pool, tenants: make(map[int64]int32), epochs: make(map[int32]int64), tries: make(map[int32]map[*try]struct{})}
}

// maxTenants bounds the remembered tenants; beyond it the map is begun anew.
const maxTenants = 100_000

// Find answers with a tenant's shard and the epoch of its owner.
func (d *Directory) Find(ctx context.Context, tenantID int64) (shard int32, epoch int64, err error) {
	shard, err = d.shard(ctx, tenantID)
	if err != nil {
		return 0, 0, err
	}
	d.mu.Lock()
	epoch, ok := d.epochs[shard]
	d.mu.Unlock()
	if ok {
		return shard, epoch, nil
	}
	row, err := sharedq.New(d.pool).ShardEpoch(ctx, shard)
	if err != nil {
		return 0, 0, pg.Fault(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epochs[shard] = max(d.epochs[shard], row.Epoch) // a new owner may have spoken while the lease was read
	return shard, d.epochs[shard], nil
}

func (d *Directory) shard(ctx context.Context, tenantID int64) (int32, error) {
	d.mu.Lock()
	shard, ok := d.tenants[tenantID]
	d.mu.Unlock()
	if ok {
		return shard, nil
	}
	shard, err := sharedq.New(d.pool).ShardOfTenant(ctx, tenantID)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fault.NotFound("tenant", "of this call").WithCause(err)
	}
	if err != nil {
		return 0, pg.Fault(err)
	}
	d.mu.Lock()
	if len(d.tenants) >= maxTenants {
		clear(d.tenants)
	}
	d.tenants[tenantID] = shard
	d.mu.Unlock()
	return shard, nil
}

// forget drops what is remembered of a shard's owner, unless it is news already, so that the next call reads the lease.
func (d *Directory) forget(shard int32, epoch int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epochs[shard] <= epoch {
		delete(d.epochs, shard)
	}
}

// forgetTenant drops what is remembered of a tenant's shard: its owner says that the tenant is elsewhere.
func (d *Directory) forgetTenant(tenantID int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tenants, tenantID)
}

// Moved notes that a shard has a new owner, as that has said. Requests to the owners before it are not waited for any longer: one that died or was
// stopped with them in its hands would never answer.
func (d *Directory) Moved(shard int32, epoch int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epochs[shard] = max(d.epochs[shard], epoch)
	for t := range d.tries[shard] {
		if t.epoch < epoch {
			t.stop(errMoved)
		}
	}
}

// watch ends a try when its owner has a successor. Call the returned function when the try is over.
func (d *Directory) watch(shard int32, t *try) (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epochs[shard] > t.epoch {
		t.stop(errMoved)
	}
	if d.tries[shard] == nil {
		d.tries[shard] = make(map[*try]struct{})
	}
	d.tries[shard][t] = struct{}{}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.tries[shard], t)
	}
}

// Caller sends requests to the owners of shards.
type Caller struct {
	Bus       bus.Bus
	Directory *Directory
}

const (
	firstPause = 5 * time.Millisecond
	longest    = 200 * time.Millisecond
	// oneTry bounds one request to an owner. An owner that was stopped keeps its connection and answers nothing; the next try goes to its
	// successor, once there is one.
	oneTry = 5 * time.Second
)

// Moved tells the caller that a shard has a new owner; see Directory.Moved.
func (c *Caller) Moved(shard int32, epoch int64) { c.Directory.Moved(shard, epoch) }

// Call sends a request to the owner of the tenant's shard. Where nobody answers, or the owner has changed, it reads the lease again and
// sends the same request anew until the context ends; requests carry ids, so that a doubled one does nothing twice. A replay has no id: it is sent
// again only when it is certain that nobody has taken it.
func (c *Caller) Call(ctx context.Context, tenantID int64, req *busv1.ShardRequest) (*busv1.ShardReply, int64, error) {
	req.TenantId = tenantID
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, 0, fmt.Errorf("encode shard request: %w", err)
	}
	for pause := firstPause; ; pause = min(pause*2, longest) {
		shard, epoch, err := c.Directory.Find(ctx, tenantID)
		if err == nil {
			var reply *busv1.ShardReply
			if reply, err = c.try(ctx, tenantID, shard, epoch, data, req.GetAwait() != nil); err == nil {
				return reply, epoch, nil
			}
			if req.GetReplay() != nil && !fault.HasReason(err, bus.ReasonNoResponder) && !fault.HasReason(err, ReasonNotOwner) {
				return nil, 0, err
			}
			if data, err = again(req, data, err); err == nil {
				continue // there is a new owner, at once
			}
		}
		if code := fault.Of(err).Code; ctx.Err() != nil || code != fault.CodeUnavailable && code != fault.CodeDeadlineExceeded {
			return nil, 0, err
		}
		select {
		case <-ctx.Done():
			return nil, 0, err
		case <-time.After(pause):
		}
	}
}

// CallOnce sends a request to the tenant's present owner, once. It is for news that would be old by the time another owner hears it.
func (c *Caller) CallOnce(ctx context.Context, tenantID int64, req *busv1.ShardRequest) (*busv1.ShardReply, int64, error) {
	req.TenantId = tenantID
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, 0, fmt.Errorf("encode shard request: %w", err)
	}
	shard, epoch, err := c.Directory.Find(ctx, tenantID)
	if err != nil {
		return nil, 0, err
	}
	reply, err := c.try(ctx, tenantID, shard, epoch, data, false)
	return reply, epoch, err
}

// again prepares a request to be sent once more after it failed with err, which is nil afterwards when there is no reason to wait. A trigger that may
// have arrived is no longer certain to be the first of its id.
func again(req *busv1.ShardRequest, data []byte, err error) ([]byte, error) {
	if runs := req.GetTrigger().GetRuns(); len(runs) > 0 {
		for _, run := range runs {
			run.Fresh = false
		}
		encoded, encodeErr := proto.Marshal(req)
		if encodeErr != nil {
			return nil, fmt.Errorf("encode shard request: %w", encodeErr)
		}
		data = encoded
	}
	if errors.Is(err, errMoved) {
		err = nil
	}
	return data, err
}

// try sends a request once. One that waits for runs to end may take as long as its caller does. After a failure the lease is read anew.
func (c *Caller) try(ctx context.Context, tenantID int64, shard int32, epoch int64, data []byte, patient bool) (*busv1.ShardReply, error) {
	if !patient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, oneTry)
		defer cancel()
	}
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer c.Directory.watch(shard, &try{epoch: epoch, stop: stop})()
	answer, err := c.Bus.Request(waiting, Subject(shard, epoch), data)
	if err != nil {
		c.Directory.forget(shard, epoch)
		if fault.HasReason(err, ReasonNotOwner) {
			c.Directory.forgetTenant(tenantID)
		}
		if ctx.Err() == nil && errors.Is(context.Cause(waiting), errMoved) {
			return nil, errMoved
		}
		return nil, err //nolint:wrapcheck // a fault already
	}
	reply := new(busv1.ShardReply)
	if err := proto.Unmarshal(answer, reply); err != nil {
		return nil, fmt.Errorf("decode shard reply: %w", err)
	}
	return reply, nil
}
