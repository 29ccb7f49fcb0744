package identity

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
)

// signer is the private key that tokens are signed with.
type signer struct {
	kid string
	key ed25519.PrivateKey
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

// theSigner reads the signing key, and makes it when the install has none yet.
func (s *Service) theSigner(ctx context.Context) (*signer, error) {
	s.signerMu.Lock()
	defer s.signerMu.Unlock()
	if s.signer != nil {
		return s.signer, nil
	}
	row, err := s.queries.SigningKey(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		row, err = s.makeSigningKey(ctx)
	}
	if err != nil {
		return nil, pg.Fault(err)
	}
	seed, err := unseal(s.cfg.MasterKey, row.Kid, row.SealedKey)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fault.FailedPrecondition("MASTER_KEY_WRONG",
			"the signing key in the database was sealed under another master key: start with the one that this database was first used with").WithCause(err)
	}
	s.signer = &signer{kid: row.Kid, key: ed25519.NewKeyFromSeed(seed)}
	return s.signer, nil
}

// makeSigningKey makes the first key. Processes that start together take turns, and the later ones find it made.
func (s *Service) makeSigningKey(ctx context.Context) (identityq.SigningKeyRow, error) {
	var row identityq.SigningKeyRow
	err := pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		queries := s.queries.WithTx(tx)
		if err := queries.LockSigningKeys(ctx); err != nil {
			return err
		}
		var err error
		if row, err = queries.SigningKey(ctx); !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		id := s.newID()
		row = identityq.SigningKeyRow{Kid: hex.EncodeToString(id[:]), PublicKey: public}
		if row.SealedKey, err = seal(s.cfg.MasterKey, row.Kid, private.Seed()); err != nil {
			return err
		}
		return queries.InsertSigningKey(ctx, identityq.InsertSigningKeyParams(row))
	})
	return row, err
}

// seal encrypts with AES-256-GCM: nonce, then ciphertext. The name is authenticated with it, so that sealed keys cannot be swapped.
func seal(master []byte, name string, plain []byte) ([]byte, error) {
	gcm, err := newGCM(master)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return gcm.Seal(nonce, nonce, plain, []byte(name)), nil
}

func unseal(master []byte, name string, sealed []byte) ([]byte, error) {
	gcm, err := newGCM(master)
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, errors.New("the sealed key is too short")
	}
	return gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], []byte(name))
}

func newGCM(master []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(master)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
