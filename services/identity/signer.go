package identity

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
)

// signerFor is how long a process signs with a key before it asks whether another's turn has come: 1 min. A rotation is announced for longer.
const signerFor = time.Minute

// signer is the private key that tokens are signed with.
type signer struct {
	kid   string
	key   ed25519.PrivateKey
	read  time.Time  // when Postgres said that it signs
	until *time.Time // when it stops; nil: no end yet
}

func (s *signer) sign(claims *authn.Claims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = s.kid
	signed, err := token.SignedString(s.key)
	if err != nil {
		return "", fault.Internal(err, "sign a token")
	}
	return signed, nil
}

func (s *signer) signsAt(now time.Time) bool {
	return now.Sub(s.read) < signerFor && (s.until == nil || now.Before(*s.until))
}

// theSigner returns the key whose turn it is, and makes it when the install has none.
func (k *Keys) theSigner(ctx context.Context) (*signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.cfg.Now()
	if k.signer != nil && k.signer.signsAt(now) {
		return k.signer, nil
	}
	row, err := k.queries.SigningKey(ctx, now)
	if errors.Is(err, pgx.ErrNoRows) {
		row, err = k.makeFirst(ctx, now)
	}
	if err != nil {
		return nil, pg.Fault(err)
	}
	next := &signer{kid: row.Kid, read: now, until: row.SignsUntil}
	if k.signer != nil && k.signer.kid == row.Kid {
		next.key = k.signer.key // It may have been sealed anew meanwhile, under a master key that only the next start will bring.
	} else if next.key, err = openKey(k.cfg.MasterKey, row.Kid, row.SealedKey); err != nil {
		return nil, err
	}
	k.signer = next
	return next, nil
}

func openKey(master []byte, kid string, sealed []byte) (ed25519.PrivateKey, error) {
	seed, err := unseal(master, kid, sealed)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fault.FailedPrecondition("MASTER_KEY_WRONG",
			"the signing key %s in the database is sealed under another master key: start with that one, or with the new one if `tenond keys rewrap` has been run", kid).
			WithCause(err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
