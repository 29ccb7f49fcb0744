package authn

import (
	"errors"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/proto/typeid"
)

const (
	// Issuer and Audience are the "iss" and "aud" of every token.
	Issuer   = "tenon"
	Audience = "tenon"
)

// Claims is what a token says. "jti" is the token's TypeID (tok_... or, for a user's session, ses_...); "sub" is the user's TypeID in session
// tokens and the token's own in the others.
type Claims struct {
	jwt.RegisteredClaims
	// Kind is "user", "api" or "worker".
	Kind string `json:"kind"`
	// Tenant is the tenant's TypeID; empty in session tokens.
	Tenant string `json:"tenant,omitempty"`
	// Role is set in API tokens.
	Role string `json:"role,omitempty"`
	// Scopes narrow the role; empty means all of it.
	Scopes []string `json:"scopes,omitempty"`
	// Address is the server's public address, for SDKs that are given a token only.
	Address string `json:"addr,omitempty"`
}

var errClaims = errors.New("the claims do not fit together")

// principal reads the claims of a verified token. TenantID is left for the caller to look up, and so is a user's role.
func (c *Claims) principal() (Principal, error) {
	p := Principal{Scopes: c.Scopes, Role: c.Role}
	if c.ExpiresAt != nil {
		p.Expires = c.ExpiresAt.Time
	}
	kind := slices.Index(kindNames[:], c.Kind)
	if kind <= int(KindAnonymous) {
		return Principal{}, errClaims
	}
	p.Kind = Kind(kind) //nolint:gosec // an index into four names
	if p.Kind == KindUser {
		return p.withSession(c)
	}
	var err error
	if p.TokenID, err = parseID(typeid.Token, c.ID); err != nil {
		return Principal{}, err
	}
	if p.Tenant, err = parseID(typeid.Tenant, c.Tenant); err != nil {
		return Principal{}, err
	}
	if p.Kind == KindWorker {
		p.Role, p.Scopes = "worker", nil
	}
	if p.Role == "" {
		return Principal{}, errClaims
	}
	return p, nil
}

func (p Principal) withSession(c *Claims) (Principal, error) {
	var err error
	if p.TokenID, err = parseID(typeid.Session, c.ID); err != nil {
		return Principal{}, err
	}
	if p.UserID, err = parseID(typeid.User, c.Subject); err != nil {
		return Principal{}, err
	}
	p.Role, p.Scopes = "user", nil
	return p, nil
}

func parseID(prefix, text string) (flow.ID, error) {
	raw, err := typeid.Parse(prefix, text)
	return flow.ID(raw), err
}

func newParser(now func() time.Time) *jwt.Parser {
	return jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(Issuer), jwt.WithAudience(Audience),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(now), jwt.WithStrictDecoding())
}
