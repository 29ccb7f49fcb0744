package authn

import (
	"context"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// Kind tells what stands behind a call.
type Kind uint8

const (
	// KindAnonymous is a caller without a token.
	KindAnonymous Kind = iota
	// KindUser is a signed-in user with a session token.
	KindUser
	// KindAPI is a program with an API token.
	KindAPI
	// KindWorker is a worker with a worker token.
	KindWorker
)

var kindNames = [...]string{"anonymous", "user", "api", "worker"}

// String returns the kind's name, which is also the token's "kind" claim.
func (k Kind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

// Principal is a verified caller. The zero Principal is the anonymous one.
type Principal struct {
	Kind Kind
	// TenantID is the tenant's inner number and Tenant its public id. Both are zero for a caller without a tenant: an anonymous one, or a
	// user who named none in the Tenon-Tenant header.
	TenantID int64
	Tenant   flow.ID
	// UserID is set for users.
	UserID flow.ID
	// TokenID is the id of the API or worker token, or of the user's session.
	TokenID flow.ID
	// Role is the role that authz decides with: "anonymous", "worker", the token's role, the user's role in the tenant, or "user" for a user
	// without a tenant.
	Role string
	// Scopes narrow the role of an API token; empty means all that the role allows. They must not be changed.
	Scopes []string
	// Expires is when the token ends; zero for the anonymous caller.
	Expires time.Time

	// asOf is the number of the revocations as of which a user's Role was read.
	asOf int64
}

// Anonymous returns the principal of a caller without a token.
func Anonymous() Principal { return Principal{Role: "anonymous"} }

type contextKey struct{}

// With returns a context that carries p.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns the context's principal, the anonymous one when there is none.
func From(ctx context.Context) Principal {
	if p, ok := ctx.Value(contextKey{}).(Principal); ok {
		return p
	}
	return Anonymous()
}
