package scheduler

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// Workflows answers what a run is a run of.
type Workflows interface {
	// Plan is the shape of a version that exists.
	Plan(ctx context.Context, tenantID, workflowID int64, version int) (*flow.Plan, error)
	// Resolve finds a workflow by name, its newest version for 0; NotFound names what is missing.
	Resolve(ctx context.Context, tenantID int64, name string, version int) (*flow.Plan, error)
	// CheckInput holds an input against the version's schema; the fault's fields begin with "input".
	CheckInput(ctx context.Context, tenantID int64, plan *flow.Plan, input []byte) error
}

// Config is what a scheduler needs.
type Config struct {
	// Pool reaches Postgres for callers. Required.
	Pool *pgxpool.Pool
	// Commits is the owner's, with pinned plans (pg.Config.PinPlans), so that callers never make a commit wait for a connection. Default Pool.
	Commits *pgxpool.Pool
	// Bus reaches the other services. Required.
	Bus bus.Bus
	// Workflows resolves names and versions. Required.
	Workflows Workflows
	// Log is where the service speaks. Required.
	Log *slog.Logger
	// Instance tells this start of this process from all others. Required.
	Instance flow.ID
	// Members knows the other schedulers, with which the shards are shared. Default: there are none.
	Members Members
	// Engine bounds the engine; see engine.Config for its defaults.
	Engine engine.Config
	// PayloadLimit is the most bytes of an input. Default 4 MiB.
	PayloadLimit int
	// Beat is how often a quiet stream sends something. Default 5 s.
	Beat time.Duration
	// RenewEvery is how often leases are kept and free shards are looked for. Default 4 s.
	RenewEvery time.Duration
}

// WithDefaults returns the config with every unset field filled in.
func (c Config) WithDefaults() Config {
	c.Engine = c.Engine.WithDefaults()
	if c.Commits == nil {
		c.Commits = c.Pool
	}
	if c.PayloadLimit == 0 {
		c.PayloadLimit = 4 << 20
	}
	if c.Beat == 0 {
		c.Beat = 5 * time.Second
	}
	if c.RenewEvery == 0 {
		c.RenewEvery = 4 * time.Second
	}
	return c
}

// Validate names the first field that is missing.
func (c Config) Validate() error {
	switch {
	case c.Pool == nil:
		return fault.Invalid("SCHEDULER_CONFIG", "Pool is required")
	case c.Bus == nil:
		return fault.Invalid("SCHEDULER_CONFIG", "Bus is required")
	case c.Workflows == nil:
		return fault.Invalid("SCHEDULER_CONFIG", "Workflows is required")
	case c.Log == nil:
		return fault.Invalid("SCHEDULER_CONFIG", "Log is required")
	case c.Instance.IsZero():
		return fault.Invalid("SCHEDULER_CONFIG", "Instance is required")
	}
	return nil
}
