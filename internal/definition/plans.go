package definition

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

const changedPrefix = "tenon.registry.changed."

// ChangedSubject is where the registry says, after the commit, that a workflow of the tenant has a new version. The message is the workflow's name.
func ChangedSubject(tenantID int64) string { return changedPrefix + strconv.FormatInt(tenantID, 10) }

// Version is one version of a workflow, ready for use: the plan for the engine, the schema for the edge. It is shared and must not be changed.
type Version struct {
	Plan   *flow.Plan
	Schema *Schema // nil accepts any input
}

// PlansConfig says where plans come from.
type PlansConfig struct {
	// DB reads workflows and workflow_versions of every tenant. Required.
	DB sharedq.DBTX
	// Bus brings the registry's hints. Required.
	Bus bus.Bus
	// Log hears about declarations that can no longer be read. Required.
	Log *slog.Logger
	// MaxBytes bounds the versions that are kept, in bytes of their declarations (in memory they are several times as large). Default 32 MiB.
	MaxBytes int
	// MaxNames bounds the newest versions that are remembered, in workflows. Default 10,000.
	MaxNames int
	// MaxAge is how long a newest version is believed without a hint. Default 2 s.
	MaxAge time.Duration
	// Now is the clock for MaxAge. Default time.Now.
	Now func() time.Time
}

// WithDefaults returns the config with every unset field filled in.
func (c PlansConfig) WithDefaults() PlansConfig {
	if c.MaxBytes <= 0 {
		c.MaxBytes = 32 << 20
	}
	if c.MaxNames <= 0 {
		c.MaxNames = 10_000
	}
	if c.MaxAge <= 0 {
		c.MaxAge = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Plans keeps the versions of workflows that are in use, within bounds, and knows which is the newest. A version never changes, so it is kept as long
// as there is room. Which one is the newest is believed until the registry's hint, and 2 s at most, since a hint may be lost; a name that is
// not known is looked up each time. All methods may be called from several goroutines.
type Plans struct {
	cfg PlansConfig
	sub bus.Subscription

	mu       sync.Mutex
	versions *lru[versionKey, *Version]
	newest   *lru[nameKey, newest]
	loading  map[versionKey]*load
	changes  uint64 // counts hints, so that a read that began before one is not kept after it
}

type versionKey struct {
	tenantID, workflowID int64
	version              int
}

type nameKey struct {
	tenantID int64
	name     string
}

type newest struct {
	workflowID int64
	version    int
	readAt     time.Time
}

// load is a version being read by one caller while others wait for it.
type load struct {
	done    chan struct{}
	version *Version
	err     error
}

// NewPlans subscribes to the registry's hints. Close ends the subscription.
func NewPlans(cfg PlansConfig) (*Plans, error) {
	cfg = cfg.WithDefaults()
	p := &Plans{
		cfg: cfg, versions: newLRU[versionKey, *Version](cfg.MaxBytes), newest: newLRU[nameKey, newest](cfg.MaxNames), loading: make(map[versionKey]*load),
	}
	sub, err := cfg.Bus.Subscribe(changedPrefix+"*", p.hear)
	if err != nil {
		return nil, err
	}
	p.sub = sub
	return p, nil
}

// Close ends the subscription and waits for its handler.
func (p *Plans) Close() { p.sub.Stop() }

func (p *Plans) hear(msg bus.Msg) {
	tenantID, err := strconv.ParseInt(msg.Subject[len(changedPrefix):], 10, 64)
	if err == nil {
		p.Forget(tenantID, string(msg.Data))
	}
}

// Forget makes the next Newest of the name read the database. The registry of the same process calls it before it answers, so that whoever has
// put a workflow there and then triggers it there gets the new version; other processes hear of it by a hint.
func (p *Plans) Forget(tenantID int64, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changes++
	p.newest.remove(nameKey{tenantID, name})
}

// Newest tells a workflow's inner number and its newest version. A name that the tenant does not have gives NotFound.
func (p *Plans) Newest(ctx context.Context, tenantID int64, name string) (workflowID int64, version int, err error) {
	key := nameKey{tenantID, name}
	now := p.cfg.Now()
	p.mu.Lock()
	known, ok := p.newest.get(key)
	before := p.changes
	p.mu.Unlock()
	if ok && now.Sub(known.readAt) < p.cfg.MaxAge {
		return known.workflowID, known.version, nil
	}
	if !IsName(name) {
		return 0, 0, UnknownWorkflow(name)
	}
	row, err := sharedq.New(p.cfg.DB).NewestWorkflowVersion(ctx, sharedq.NewestWorkflowVersionParams{TenantID: tenantID, Name: name})
	if err != nil {
		if err = pg.Fault(err); fault.Is(err, fault.CodeNotFound) {
			return 0, 0, UnknownWorkflow(name)
		}
		return 0, 0, err
	}
	found := newest{workflowID: row.ID, version: int(row.NewestVersion), readAt: now}
	p.mu.Lock()
	if p.changes == before {
		p.newest.put(key, found, 1)
	}
	p.mu.Unlock()
	return found.workflowID, found.version, nil
}

// UnknownWorkflow is the fault for a name that the tenant has no workflow of.
func UnknownWorkflow(name string) error {
	err := fault.NotFound("workflow", clip(name))
	err.Message += ": declare it with PutWorkflow, or start a worker that serves it, and check that the token belongs to the right tenant"
	return err
}

// Get returns one version of a workflow, by its inner number. One that does not exist gives NotFound.
func (p *Plans) Get(ctx context.Context, tenantID, workflowID int64, version int) (*Version, error) {
	key := versionKey{tenantID, workflowID, version}
	for {
		p.mu.Lock()
		if found, ok := p.versions.get(key); ok {
			p.mu.Unlock()
			return found, nil
		}
		other, busy := p.loading[key]
		if !busy {
			mine := &load{done: make(chan struct{})}
			p.loading[key] = mine
			p.mu.Unlock()
			return p.load(ctx, key, mine)
		}
		p.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, fault.Of(ctx.Err())
		}
		// A failure may be the other caller's own, such as the end of its context: then it is this caller's turn to read.
		if other.err == nil || fault.Is(other.err, fault.CodeNotFound) {
			return other.version, other.err
		}
		if ctx.Err() != nil {
			return nil, fault.Of(ctx.Err())
		}
	}
}

// load reads one version for all who wait for it.
func (p *Plans) load(ctx context.Context, key versionKey, l *load) (*Version, error) {
	var size int
	l.err = fault.Internal(context.Canceled, "read of %v panicked", key) // what the others see if read does not return
	defer func() {
		p.mu.Lock()
		delete(p.loading, key)
		if l.err == nil {
			p.versions.put(key, l.version, size)
		}
		p.mu.Unlock()
		close(l.done)
	}()
	l.version, size, l.err = p.read(ctx, key)
	return l.version, l.err
}

func (p *Plans) read(ctx context.Context, key versionKey) (*Version, int, error) {
	spec, err := sharedq.New(p.cfg.DB).WorkflowVersionSpec(ctx, sharedq.WorkflowVersionSpecParams{
		TenantID: key.tenantID, WorkflowID: key.workflowID, Version: int32(key.version), //nolint:gosec // at most 10,000
	})
	if err != nil {
		if err = pg.Fault(err); fault.Is(err, fault.CodeNotFound) {
			err = fault.NotFound("workflow version", strconv.Itoa(key.version)).WithCause(err)
		}
		return nil, 0, err
	}
	declared := &registryv1.WorkflowSpec{}
	if err := proto.Unmarshal(spec, declared); err != nil {
		p.cfg.Log.Error("plans: a stored declaration cannot be read", "tenant_id", key.tenantID, "workflow_id", key.workflowID, "version", key.version, "error", err)
		return nil, 0, fault.Internal(err, "decode version %d of workflow %d", key.version, key.workflowID)
	}
	c := read(declared)
	if len(c.faults) > 0 {
		p.cfg.Log.Error("plans: a stored declaration breaks a rule", "tenant_id", key.tenantID, "workflow_id", key.workflowID, "version", key.version,
			"path", c.faults[0].Path)
		return nil, 0, fault.FailedPrecondition("WORKFLOW_OUTDATED",
			"version %d of workflow %q was declared under older rules (%s %s): declare it again", key.version, declared.GetName(), c.faults[0].Path, c.faults[0].Message)
	}
	c.plan.WorkflowID, c.plan.Version = key.workflowID, key.version
	const overhead = 1 << 10 // so that many tiny versions count too
	return &Version{Plan: c.plan, Schema: c.schema}, len(spec) + overhead, nil
}
