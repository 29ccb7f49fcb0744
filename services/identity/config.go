package identity

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/bus"
)

// Config is what the service needs.
type Config struct {
	// Pool is the database. Required.
	Pool *pgxpool.Pool
	// Bus carries revocations and beacons. Required.
	Bus bus.Bus
	// Authorizer says which tokens a caller may make. Required.
	Authorizer *authz.Authorizer
	// MasterKey seals the signing keys: 32 bytes, from LoadMasterKey. Required. (TENON_MASTER_KEY or TENON_MASTER_KEY_FILE)
	MasterKey []byte
	// PublicAddress is put into API and worker tokens, so that an SDK needs the token only: "http://127.0.0.1:8080". Empty leaves it out.
	// (TENON_PUBLIC_ADDRESS)
	PublicAddress string
	// KeyLifetime is how long a signing key signs before a new one takes its turn. Default 90 days, at least 1 h.
	KeyLifetime time.Duration
	// MaxMembers is how many members a tenant can have. Default 1,000.
	MaxMembers int
	// SessionLifetime is how long a sign-in is good for. Default 12 h.
	SessionLifetime time.Duration
	// HashMemory is what one argon2id hash of a new password takes, in KiB. Default 65,536 (64 MiB), at least 8,192.
	HashMemory uint32
	// HashTime is the number of passes over it. Default 2.
	HashTime uint32
	// MaxHashings is how many passwords are hashed at a time; the others wait. Default the number of CPUs, at most 4.
	MaxHashings int
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log is where it speaks. Default slog.Default().
	Log *slog.Logger
}

// WithDefaults returns the config with every unset field filled in.
func (c Config) WithDefaults() Config {
	if c.SessionLifetime == 0 {
		c.SessionLifetime = 12 * time.Hour
	}
	if c.KeyLifetime == 0 {
		c.KeyLifetime = 90 * 24 * time.Hour
	}
	if c.MaxMembers == 0 {
		c.MaxMembers = 1_000
	}
	if c.HashMemory == 0 {
		c.HashMemory = 64 << 10
	}
	if c.HashTime == 0 {
		c.HashTime = 2
	}
	if c.MaxHashings == 0 {
		c.MaxHashings = min(runtime.GOMAXPROCS(0), 4)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	const leastMemory = 8 << 10
	switch {
	case c.Pool == nil, c.Bus == nil, c.Authorizer == nil:
		return errors.New("identity: Config.Pool, Bus and Authorizer are required")
	case c.KeyLifetime < time.Hour:
		return fmt.Errorf("identity: KeyLifetime is %s, it must be at least an hour", c.KeyLifetime)
	case c.MaxMembers < 1:
		return fmt.Errorf("identity: MaxMembers is %d, it must be at least 1", c.MaxMembers)
	case c.HashMemory < leastMemory:
		return fmt.Errorf("identity: HashMemory is %d KiB, it must be at least %d", c.HashMemory, leastMemory)
	case c.MaxHashings < 1:
		return fmt.Errorf("identity: MaxHashings is %d, it must be at least 1", c.MaxHashings)
	case c.SessionLifetime < time.Second:
		return fmt.Errorf("identity: SessionLifetime is %s, it must be at least a second", c.SessionLifetime)
	}
	return checkMasterKey(c.MasterKey)
}
