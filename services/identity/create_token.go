package identity

import (
	"context"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/proto/typeid"
)

const (
	defaultTokenLifetime = 90 * 24 * time.Hour
	maxTokenLifetime     = 3650 * 24 * time.Hour
)

// NewToken is what a token is made from.
type NewToken struct {
	Name string
	// Kind is KindAPI or KindWorker.
	Kind authn.Kind
	// Role is required for API tokens and refused for worker tokens.
	Role string
	// Scopes narrow the role: "object:action", "object:*" or "*". For API tokens only.
	Scopes []string
	// Lifetime defaults to 90 days, at most 3,650 days.
	Lifetime time.Duration
}

// CreateToken makes a token of the call's tenant and returns it with its secret, which is kept nowhere. PermissionDenied when the token would allow
// more than the caller may do.
func (s *Service) CreateToken(ctx context.Context, caller authn.Principal, in NewToken) (Token, string, error) {
	in, err := in.checked()
	if err != nil {
		return Token{}, "", err
	}
	role := in.Role
	if in.Kind == authn.KindWorker {
		role = authz.RoleWorker
	}
	if err := s.cfg.Authorizer.Covers(caller, role, in.Scopes); err != nil {
		return Token{}, "", err
	}
	signer, err := s.keys.theSigner(ctx)
	if err != nil {
		return Token{}, "", err
	}
	now := s.now()
	token := Token{
		ID: s.newID(), Name: in.Name, Kind: in.Kind.String(), Role: in.Role, Scopes: in.Scopes, Creator: creator(caller),
		Created: now, Expires: now.Add(in.Lifetime).Truncate(time.Second),
	}
	if !token.Expires.After(now) {
		token.Expires = now.Add(time.Second)
	}
	secret, err := signer.sign(s.claims(caller, token))
	if err != nil {
		return Token{}, "", err
	}
	err = s.queries.InsertToken(ctx, identityq.InsertTokenParams{
		TenantID: caller.TenantID, ID: token.ID, Name: token.Name, Kind: token.Kind, Role: token.Role, Scopes: token.Scopes,
		CreatedAt: token.Created, CreatedBy: token.Creator, ExpiresAt: token.Expires, Kid: signer.kid,
	})
	if err != nil {
		return Token{}, "", pg.Fault(err)
	}
	return token, secret, nil
}

// checked fills in defaults and names all fields that are wrong.
func (in NewToken) checked() (NewToken, error) {
	var wrong []fault.Field
	add := func(path, message string) { wrong = append(wrong, fault.Field{Path: path, Message: message}) }
	if in.Name == "" {
		add("name", "is required")
	}
	switch in.Kind {
	case authn.KindAPI:
		if !slices.Contains([]string{authz.RoleOwner, authz.RoleAdmin, authz.RoleDeveloper, authz.RoleViewer}, in.Role) {
			add("role", "is required for API tokens: owner, admin, developer or viewer")
		}
	case authn.KindWorker:
		if in.Role != "" {
			add("role", "must be unset: what a worker token may do is fixed")
		}
		if len(in.Scopes) > 0 {
			add("scopes", "must be empty: what a worker token may do is fixed")
		}
	default:
		add("kind", "must be API or worker")
	}
	if in.Lifetime == 0 {
		in.Lifetime = defaultTokenLifetime
	}
	if in.Lifetime < time.Second || in.Lifetime > maxTokenLifetime {
		add("lifetime", "must be between 1 s and 3,650 days")
	}
	if len(wrong) > 0 {
		return in, fault.Invalid(fault.ReasonInvalid, "the request is not valid", wrong...)
	}
	in.Scopes = append([]string{}, in.Scopes...) // never nil: the column takes no NULL
	slices.Sort(in.Scopes)
	in.Scopes = slices.Compact(in.Scopes)
	return in, nil
}

func (s *Service) claims(caller authn.Principal, token Token) *authn.Claims {
	id := publicID(typeid.Token, token.ID)
	return &authn.Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: authn.Issuer, Audience: jwt.ClaimStrings{authn.Audience}, Subject: id, ID: id,
			IssuedAt: jwt.NewNumericDate(token.Created), ExpiresAt: jwt.NewNumericDate(token.Expires),
		},
		Kind: token.Kind, Tenant: publicID(typeid.Tenant, caller.Tenant), Role: token.Role, Scopes: token.Scopes, Address: s.cfg.PublicAddress,
	}
}

// creator names the caller for the token's record.
func creator(caller authn.Principal) string {
	if caller.Kind == authn.KindUser {
		return publicID(typeid.User, caller.UserID)
	}
	return publicID(typeid.Token, caller.TokenID)
}
