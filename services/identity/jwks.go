package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
)

// jwksFor is how long a process answers with the list it has read: 1 min, so that anybody may ask without reaching Postgres.
const jwksFor = time.Minute

// KeySet is the public half of the signing keys as a JSON Web Key Set (RFC 7517, RFC 8037).
type KeySet struct {
	JSON []byte
	// Tag changes with JSON, for an ETag header.
	Tag string
}

// published is the key set that a process has read last.
type published struct {
	mu   sync.Mutex // held during a read, so that callers wait for one instead of each making its own
	set  KeySet
	read time.Time // of the last attempt
}

type jsonWebKey struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	X         string `json:"x"`
}

// KeySet returns the keys that verify tokens, announced ones included, at most a minute old. While Postgres cannot be read it is the last one that
// was; Unavailable when there is none.
func (k *Keys) KeySet(ctx context.Context) (KeySet, error) {
	p := &k.published
	p.mu.Lock()
	defer p.mu.Unlock()
	now := k.cfg.Now()
	if p.set.Tag != "" && now.Sub(p.read) < jwksFor {
		return p.set, nil
	}
	set, err := k.readKeySet(ctx, now)
	if err != nil {
		if p.set.Tag == "" {
			return KeySet{}, fault.Unavailable("KEYS_UNKNOWN", "the server cannot read its signing keys at the moment; send the call again").WithCause(err)
		}
		set = p.set
	}
	p.set, p.read = set, now
	return set, nil
}

func (k *Keys) readKeySet(ctx context.Context, now time.Time) (KeySet, error) {
	rows, err := k.queries.SigningKeys(ctx)
	if err != nil {
		return KeySet{}, pg.Fault(err)
	}
	list := struct {
		Keys []jsonWebKey `json:"keys"`
	}{Keys: []jsonWebKey{}}
	for _, row := range rows {
		if row.VerifyUntil == nil || now.Before(*row.VerifyUntil) {
			list.Keys = append(list.Keys, jsonWebKey{
				Type: "OKP", Curve: "Ed25519", Use: "sig", Algorithm: "EdDSA", ID: row.Kid, X: base64.RawURLEncoding.EncodeToString(row.PublicKey),
			})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return KeySet{}, fault.Internal(err, "encode the key set")
	}
	sum := sha256.Sum256(text)
	return KeySet{JSON: text, Tag: hex.EncodeToString(sum[:16])}, nil
}

// KeySet returns the keys that verify tokens; see Keys.KeySet.
func (s *Service) KeySet(ctx context.Context) (KeySet, error) { return s.keys.KeySet(ctx) }
