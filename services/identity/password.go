package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/alexedwards/argon2id"

	"github.com/tenon-run/tenon/internal/fault"
)

// maxWaiting is how many callers may wait for a hashing; more are sent away at once.
const maxWaiting = 64

// hasher makes and compares argon2id hashes, a few at a time: each takes tens of megabytes and a CPU.
type hasher struct {
	params  argon2id.Params
	slots   chan struct{}
	waiting atomic.Int32
	nobody  string // the hash of no password, compared with when there is no user
}

func newHasher(cfg Config) *hasher {
	const lanes, saltBytes, keyBytes = 2, 16, 32
	params := argon2id.Params{Memory: cfg.HashMemory, Iterations: cfg.HashTime, Parallelism: lanes, SaltLength: saltBytes, KeyLength: keyBytes}
	random := make([]byte, saltBytes+keyBytes)
	_, _ = rand.Read(random) // never fails
	encode := base64.RawStdEncoding.EncodeToString
	nobody := fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", params.Memory, params.Iterations, lanes, encode(random[:saltBytes]), encode(random[saltBytes:]))
	return &hasher{params: params, slots: make(chan struct{}, cfg.MaxHashings), nobody: nobody}
}

func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	encoded, err := argon2id.CreateHash(password, &h.params)
	if err != nil {
		return "", fault.Internal(err, "hash a password")
	}
	return encoded, nil
}

// matches compares in constant time. An empty hash (there is no such user) takes the same work and never matches.
func (h *hasher) matches(ctx context.Context, password, encoded string) (bool, error) {
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer h.leave()
	against := encoded
	if against == "" {
		against = h.nobody
	}
	same, err := argon2id.ComparePasswordAndHash(password, against)
	if err != nil {
		return false, fault.Internal(err, "compare a password")
	}
	return same && encoded != "", nil
}

func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	if h.waiting.Add(1) > maxWaiting {
		h.waiting.Add(-1)
		return fault.ResourceExhausted("SIGN_IN_BUSY", "too many sign-ins at this moment: send the call again").WithRetryAfter(time.Second)
	}
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.Of(ctx.Err())
	}
}

func (h *hasher) leave() { <-h.slots }
