package identity

import (
	"context"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/proto/typeid"
)

// SignUp makes a user and signs it in. Addresses compare without regard to case: AlreadyExists, field email, when it is taken.
func (s *Service) SignUp(ctx context.Context, email, password, displayName string) (Session, error) {
	email = strings.TrimSpace(email)
	encoded, err := s.hasher.hash(ctx, password)
	if err != nil {
		return Session{}, err
	}
	user := User{ID: s.newID(), Email: email, DisplayName: displayName, Created: s.now()}
	var session Session
	err = pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		err := s.queries.WithTx(tx).InsertUser(ctx, identityq.InsertUserParams{
			ID: user.ID, Email: user.Email, DisplayName: user.DisplayName, PasswordHash: encoded, CreatedAt: user.Created,
		})
		if err != nil {
			return err
		}
		session, err = s.openSession(ctx, tx, user)
		return err
	})
	if pg.IsUniqueViolation(err, "users_email") {
		return Session{}, fault.AlreadyExists("user", email).
			WithFields(fault.Field{Path: "email", Message: "another user has this address: sign in instead"})
	}
	if err != nil {
		return Session{}, pg.Fault(err)
	}
	return session, nil
}

// openSession makes a session token for a user who has proved who it is. Where the sign-in came from is in ctx (authn.WithOrigin).
func (s *Service) openSession(ctx context.Context, db identityq.DBTX, user User) (Session, error) {
	signer, err := s.keys.theSigner(ctx)
	if err != nil {
		return Session{}, err
	}
	id, now := s.newID(), s.now()
	expires := now.Add(s.cfg.SessionLifetime)
	origin := authn.OriginFrom(ctx)
	err = identityq.New(db).InsertSession(ctx, identityq.InsertSessionParams{
		UserID: user.ID, ID: id, CreatedAt: now, ExpiresAt: expires, Kid: signer.kid,
		UserAgent: printable(origin.UserAgent, maxUserAgent), Address: printable(origin.Address, maxAddress),
	})
	if err != nil {
		return Session{}, pg.Fault(err)
	}
	secret, err := signer.sign(&authn.Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: authn.Issuer, Audience: jwt.ClaimStrings{authn.Audience}, Subject: publicID(typeid.User, user.ID), ID: publicID(typeid.Session, id),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Kind: authn.KindUser.String(),
	})
	if err != nil {
		return Session{}, err
	}
	return Session{User: user, Secret: secret, Expires: expires}, nil
}

func publicID(prefix string, id flow.ID) string { return typeid.Format(prefix, id) }
