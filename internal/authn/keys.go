package authn

import (
	"context"
	"crypto/ed25519"
	"sync"
	"time"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/pg"
)

const (
	// keysFor is how long a list of keys is used before it is read again, when a token asks: 5 min.
	keysFor = 5 * time.Minute
	// keysAtMost bounds the reads that tokens of unknown keys can cause: one each 200 ms.
	keysAtMost = 200 * time.Millisecond
)

// keySet is the public half of the signing keys, read from Postgres when a token names one that is not known yet.
type keySet struct {
	queries *sharedq.Queries
	now     func() time.Time

	mu   sync.Mutex // held during a read, so that callers wait for one instead of each making its own
	keys map[string]verifyKey
	read time.Time
}

type verifyKey struct {
	public ed25519.PublicKey
	until  time.Time // zero: no end yet
}

// get returns nil when there is no such key. An error means that the keys could not be read.
func (k *keySet) get(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if key, ok := k.keys[kid]; ok && now.Sub(k.read) < keysFor {
		return key.at(now), nil
	}
	if !k.read.IsZero() && now.Sub(k.read) < keysAtMost {
		return k.keys[kid].at(now), nil
	}
	rows, err := k.queries.VerifyingKeys(ctx)
	if err != nil {
		return nil, pg.Fault(err)
	}
	k.keys, k.read = make(map[string]verifyKey, len(rows)), now
	for _, row := range rows {
		if len(row.PublicKey) != ed25519.PublicKeySize {
			continue
		}
		key := verifyKey{public: row.PublicKey}
		if row.VerifyUntil != nil {
			key.until = *row.VerifyUntil
		}
		k.keys[row.Kid] = key
	}
	return k.keys[kid].at(now), nil
}

func (v verifyKey) at(now time.Time) ed25519.PublicKey {
	if !v.until.IsZero() && !now.Before(v.until) {
		return nil
	}
	return v.public
}
