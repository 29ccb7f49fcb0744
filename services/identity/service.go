package identity

import (
	"crypto/rand"
	"sync/atomic"
	"time"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/flow"
)

// Service is the identity service. Its methods may be called from any goroutine; those that take a caller expect one that authz has let pass.
type Service struct {
	cfg     Config
	queries *identityq.Queries
	hasher  *hasher
	keys    *Keys
	lockout *lockout // of sign-ins, by address
	misses  *lockout // of unknown addresses that were to become members, by tenant

	newest atomic.Int64 // the newest revocation's number that this process knows
}

// New returns the service. It reads nothing yet: the signing key is read, or made, by Run or the first call that needs it.
func New(cfg Config) (*Service, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	keys, err := NewKeys(KeysConfig{Pool: cfg.Pool, MasterKey: cfg.MasterKey, Now: cfg.Now})
	if err != nil {
		return nil, err
	}
	return &Service{
		cfg: cfg, queries: identityq.New(cfg.Pool), hasher: newHasher(cfg), keys: keys,
		lockout: newLockout(signInLimit()), misses: newLockout(missLimit()),
	}, nil
}

// now is the time as tokens tell it, in whole seconds.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Second) }

// newID makes a UUIDv7.
func (s *Service) newID() flow.ID {
	var entropy [10]byte
	_, _ = rand.Read(entropy[:]) // never fails: the program ends if the system has no randomness
	return flow.MakeID(s.cfg.Now().UnixMilli(), entropy)
}
