package registry

import (
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
)

// Config is what a registry needs.
type Config struct {
	// Pool reaches the database as a role that owns the tables or may become tenon_reader. Required.
	Pool *pgxpool.Pool
	// Bus carries the hint that a workflow has changed. Required.
	Bus bus.Bus
	// Log hears about new versions and lost hints. Required.
	Log *slog.Logger
	// Changed is called after a commit and before the answer, so that this process's own caches forget the workflow at once: Plans.Forget.
	// Default: nothing.
	Changed func(tenantID int64, name string)
	// MaxWorkflows is how many workflows a tenant may have. Default 10,000.
	MaxWorkflows int
	// MaxVersions is how many versions a workflow may have. Default 10,000.
	MaxVersions int
}

// WithDefaults returns the config with every unset field filled in.
func (c Config) WithDefaults() Config {
	if c.Changed == nil {
		c.Changed = func(int64, string) {}
	}
	if c.MaxWorkflows == 0 {
		c.MaxWorkflows = 10_000
	}
	if c.MaxVersions == 0 {
		c.MaxVersions = 10_000
	}
	return c
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Pool == nil:
		return fault.Invalid("REGISTRY_CONFIG", "registry: Config.Pool is missing")
	case c.Bus == nil:
		return fault.Invalid("REGISTRY_CONFIG", "registry: Config.Bus is missing")
	case c.Log == nil:
		return fault.Invalid("REGISTRY_CONFIG", "registry: Config.Log is missing")
	case c.MaxWorkflows < 0 || c.MaxVersions < 0:
		return fault.Invalid("REGISTRY_CONFIG", "registry: Config.MaxWorkflows and Config.MaxVersions must not be negative")
	}
	return nil
}
