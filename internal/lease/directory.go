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

// ReasonNotOwner is the fault's reason when a process that was asked no longer owns the shard under that epoch.
const ReasonNotOwner = "NOT_SHARD_OWNER"

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
}

// NewDirectory reads from the pool.
func NewDirectory(pool *pgxpool.Pool) *Directory {
	return &Directory{pool: pool, tenants: make(map[int64]int32), epochs: make(map[int32]int64)}
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
	d.epochs[shard] = row.Epoch
	d.mu.Unlock()
	return shard, row.Epoch, nil
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

// Forget drops what is remembered of a shard's owner, so that the next call reads the lease.
func (d *Directory) Forget(shard int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.epochs, shard)
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

// Call sends a request to the owner of the tenant's shard. Where nobody answers, or the owner has changed, it reads the lease again and
// sends the same request anew until the context ends; requests carry ids, so that a doubled one does nothing twice.
func (c *Caller) Call(ctx context.Context, tenantID int64, req *busv1.ShardRequest) (*busv1.ShardReply, int64, error) {
	req.TenantId = tenantID
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, 0, fmt.Errorf("encode shard request: %w", err)
	}
	for pause := firstPause; ; pause = min(pause*2, longest) {
		shard, epoch, err := c.Directory.Find(ctx, tenantID)
		if err == nil {
			var answer []byte
			if answer, err = c.try(ctx, Subject(shard, epoch), data, req.GetAwait() != nil); err == nil {
				reply := new(busv1.ShardReply)
				if err := proto.Unmarshal(answer, reply); err != nil {
					return nil, 0, fmt.Errorf("decode shard reply: %w", err)
				}
				return reply, epoch, nil
			}
			c.Directory.Forget(shard)
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

// try sends a request once. One that waits for runs to end may take as long as its caller does.
func (c *Caller) try(ctx context.Context, subject string, data []byte, patient bool) ([]byte, error) {
	if !patient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, oneTry)
		defer cancel()
	}
	return c.Bus.Request(ctx, subject, data) //nolint:wrapcheck // a fault already
}
