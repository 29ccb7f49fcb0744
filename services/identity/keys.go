package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
)

const (
	// announceFor is how long a new key is published before it signs: 15 min. Our own processes look an unknown key up at once; others read the
	// JWKS, whose answers they may keep for jwksMaxAge.
	announceFor = 15 * time.Minute
	// settleFor is how long after a key's last signature all tokens that it signed are surely recorded: 10 min.
	settleFor = 10 * time.Minute
)

// KeysConfig is what Keys needs.
type KeysConfig struct {
	// Pool is the database. Required.
	Pool *pgxpool.Pool
	// MasterKey seals the private halves: 32 bytes, from LoadMasterKey. Required.
	MasterKey []byte
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Keys are the keys that tokens are signed with. A key is announced for 15 minutes, signs until its successor does, and verifies until the last
// token it signed has expired; so a rotation invalidates nothing. The service has its own; operators' commands make one for a database without
// a server. Its methods may be called from any goroutine, and in several processes at once.
type Keys struct {
	cfg     KeysConfig
	queries *identityq.Queries

	mu     sync.Mutex // held while the signer is read or made
	signer *signer

	published published
}

// KeyState is where a signing key is in its life.
type KeyState string

const (
	// KeyAnnounced keys are published and do not sign yet.
	KeyAnnounced KeyState = "announced"
	// KeySigning is the state of the one key that signs.
	KeySigning KeyState = "signing"
	// KeyVerifying keys sign no more; tokens that they have signed are good.
	KeyVerifying KeyState = "verifying"
	// KeyExpired keys are about to be deleted.
	KeyExpired KeyState = "expired"
)

// SigningKey describes a key without its private half.
type SigningKey struct {
	// ID is the "kid" of the tokens that it signs.
	ID      string
	State   KeyState
	Created time.Time
	// SignsFrom is when it begins to sign; SignsUntil when its successor does, nil when there is none.
	SignsFrom  time.Time
	SignsUntil *time.Time
	// VerifiesUntil is an hour after its last token expires; nil until it has stopped signing for some minutes.
	VerifiesUntil *time.Time
}

// NewKeys returns the keys of a database. It reads nothing yet.
func NewKeys(cfg KeysConfig) (*Keys, error) {
	if cfg.Pool == nil {
		return nil, errors.New("identity: KeysConfig.Pool is required")
	}
	if err := checkMasterKey(cfg.MasterKey); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keys{cfg: cfg, queries: identityq.New(cfg.Pool)}, nil
}

// List returns all keys, newest first.
func (k *Keys) List(ctx context.Context) ([]SigningKey, error) {
	rows, err := k.queries.SigningKeys(ctx)
	if err != nil {
		return nil, pg.Fault(err)
	}
	now := k.cfg.Now()
	keys := make([]SigningKey, len(rows))
	for i, row := range rows {
		keys[i] = SigningKey{
			ID: row.Kid, State: KeySigning, Created: row.CreatedAt, SignsFrom: row.SignsFrom, SignsUntil: row.SignsUntil, VerifiesUntil: row.VerifyUntil,
		}
		switch {
		case row.VerifyUntil != nil && !now.Before(*row.VerifyUntil):
			keys[i].State = KeyExpired
		case row.SignsUntil != nil && !now.Before(*row.SignsUntil):
			keys[i].State = KeyVerifying
		case now.Before(row.SignsFrom):
			keys[i].State = KeyAnnounced
		}
	}
	return keys, nil
}

// Rotate announces a new key, which signs in 15 minutes and from then on instead of the present one. FailedPrecondition while an earlier rotation is
// under way. An install without keys gets its first, which signs at once.
func (k *Keys) Rotate(ctx context.Context) (SigningKey, error) {
	made, err := k.rotate(ctx, 0)
	if err != nil {
		return SigningKey{}, err
	}
	if made.State == "" {
		return SigningKey{}, fault.FailedPrecondition("ROTATION_UNDER_WAY",
			"the key %s is announced and signs from %s: rotate again after that", made.ID, made.SignsFrom.UTC().Format(time.RFC3339))
	}
	return made, nil
}

// rotate does so when the newest key has been signing for at least age; else the answer is that key, without a state.
func (k *Keys) rotate(ctx context.Context, age time.Duration) (SigningKey, error) {
	now := k.cfg.Now()
	var made SigningKey
	err := pg.InTx(ctx, k.cfg.Pool, func(tx pgx.Tx) error {
		queries := k.queries.WithTx(tx)
		if err := queries.LockSigningKeys(ctx); err != nil {
			return err
		}
		newest, err := queries.NewestSigningKey(ctx)
		if errors.Is(err, pgx.ErrNoRows) {
			made = SigningKey{State: KeySigning, SignsFrom: now}
			return k.insert(ctx, queries, &made, now)
		}
		if err != nil {
			return err
		}
		if now.Sub(newest.SignsFrom) < age || now.Before(newest.SignsFrom) {
			made = SigningKey{ID: newest.Kid, SignsFrom: newest.SignsFrom}
			return nil
		}
		made = SigningKey{State: KeyAnnounced, SignsFrom: now.Add(announceFor)}
		return k.insert(ctx, queries, &made, now)
	})
	return made, pg.Fault(err)
}

// insert makes a key and lets the others sign until its turn comes.
func (k *Keys) insert(ctx context.Context, queries *identityq.Queries, key *SigningKey, now time.Time) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	var entropy [10]byte
	_, _ = rand.Read(entropy[:]) // never fails
	id := flow.MakeID(now.UnixMilli(), entropy)
	key.ID, key.Created = hex.EncodeToString(id[:]), now
	sealed, err := seal(k.cfg.MasterKey, key.ID, private.Seed())
	if err != nil {
		return err
	}
	err = queries.InsertSigningKey(ctx, identityq.InsertSigningKeyParams{
		Kid: key.ID, PublicKey: public, SealedKey: sealed, CreatedAt: now, SignsFrom: key.SignsFrom,
	})
	if err != nil {
		return err
	}
	return queries.EndSigning(ctx, identityq.EndSigningParams{At: &key.SignsFrom, Successor: key.ID})
}

// makeFirst makes the first key. Processes that start together take turns, and the later ones find it made.
func (k *Keys) makeFirst(ctx context.Context, now time.Time) (identityq.SigningKeyRow, error) {
	var row identityq.SigningKeyRow
	err := pg.InTx(ctx, k.cfg.Pool, func(tx pgx.Tx) error {
		queries := k.queries.WithTx(tx)
		if err := queries.LockSigningKeys(ctx); err != nil {
			return err
		}
		// Another process may have made it meanwhile, at an instant that is yet to come by our own clock.
		newest, err := queries.NewestSigningKey(ctx)
		if err == nil {
			if newest.SignsFrom.After(now) {
				now = newest.SignsFrom
			}
			row, err = queries.SigningKey(ctx, now)
			return err
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err := k.insert(ctx, queries, &SigningKey{SignsFrom: now}, now); err != nil {
			return err
		}
		row, err = queries.SigningKey(ctx, now)
		return err
	})
	return row, err
}

// retire fixes how long the keys that have stopped signing verify, and deletes those that do so no more. It returns the deleted keys' ids.
func (k *Keys) retire(ctx context.Context) ([]string, error) {
	now := k.cfg.Now()
	stopped := now.Add(-settleFor)
	if _, err := k.queries.RetireSigningKeys(ctx, &stopped); err != nil {
		return nil, pg.Fault(err)
	}
	dropped, err := k.queries.DropSigningKeys(ctx, &now)
	return dropped, pg.Fault(err)
}

// Rewrap seals all private keys under another master key, all or none, and returns how many it changed; those that are sealed under it already are
// left. FailedPrecondition when a key opens under neither. Processes that run go on with the key in their memory: start each with the new master
// key before the next rotation.
func (k *Keys) Rewrap(ctx context.Context, newMaster []byte) (int, error) {
	if err := checkMasterKey(newMaster); err != nil {
		return 0, err
	}
	if subtle.ConstantTimeCompare(newMaster, k.cfg.MasterKey) == 1 {
		return 0, fault.Invalid("MASTER_KEY_SAME", "the new master key is the old one: make another")
	}
	changed := 0
	err := pg.InTx(ctx, k.cfg.Pool, func(tx pgx.Tx) error {
		queries := k.queries.WithTx(tx)
		if err := queries.LockSigningKeys(ctx); err != nil {
			return err
		}
		rows, err := queries.SealedKeys(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if _, err := unseal(newMaster, row.Kid, row.SealedKey); err == nil {
				continue
			}
			private, err := openKey(k.cfg.MasterKey, row.Kid, row.SealedKey)
			if err != nil {
				return err
			}
			sealed, err := seal(newMaster, row.Kid, private.Seed())
			if err != nil {
				return err
			}
			if err := queries.ResealKey(ctx, identityq.ResealKeyParams{Kid: row.Kid, SealedKey: sealed}); err != nil {
				return err
			}
			changed++
		}
		return nil
	})
	if err != nil {
		return 0, pg.Fault(err)
	}
	return changed, nil
}

func checkMasterKey(key []byte) error {
	if len(key) != masterKeyBytes {
		return fmt.Errorf("identity: the master key has %d bytes, it must have %d: set TENON_MASTER_KEY or TENON_MASTER_KEY_FILE", len(key), masterKeyBytes)
	}
	return nil
}
