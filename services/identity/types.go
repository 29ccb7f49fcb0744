package identity

import (
	"time"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/flow"
)

// User is a person with a password.
type User struct {
	ID          flow.ID
	Email       string
	DisplayName string
	Created     time.Time
}

// Tenant is a customer: everything but users belongs to one.
type Tenant struct {
	// Number is the inner id, as in authn.Principal.TenantID.
	Number      int64
	ID          flow.ID
	Slug        string
	DisplayName string
	Created     time.Time
}

// Membership is a tenant and the user's role in it.
type Membership struct {
	Tenant Tenant
	Role   string
}

// Member is a user of a tenant.
type Member struct {
	User   User
	Role   string
	Joined time.Time
}

// Token is an API token or a worker token, without its secret.
type Token struct {
	ID      flow.ID
	Name    string
	Kind    string // "api" or "worker"
	Role    string // empty for worker tokens
	Scopes  []string
	Creator string // TypeID of the user or API token that made it
	Created time.Time
	Expires time.Time
	Revoked *time.Time // nil while the token is good
	Used    *time.Time // up to two minutes behind; nil when it never was
}

// Session is a sign-in: Secret is the session token.
type Session struct {
	User    User
	Secret  string
	Expires time.Time
}

// OpenSession is a sign-in that is good, without its token.
type OpenSession struct {
	ID      flow.ID
	Created time.Time
	// LastUsed is up to five minutes behind.
	LastUsed time.Time
	Expires  time.Time
	// UserAgent and Address are what authn.Origin said at the sign-in.
	UserAgent string
	Address   string
	// Current is set for the session that the call is made with.
	Current bool
}

// Page asks for a part of a list.
type Page struct {
	// Size is the most items to return. Default 100, at most 1,000.
	Size int32
	// Token is the end of the page before; empty for the first page.
	Token string
}

func tenantFromRow(row identityq.Tenant) Tenant {
	return Tenant{Number: row.ID, ID: row.PublicID, Slug: row.Slug, DisplayName: row.DisplayName, Created: row.CreatedAt}
}

func tokenFromRow(row identityq.Token) Token {
	return Token{
		ID: row.ID, Name: row.Name, Kind: row.Kind, Role: row.Role, Scopes: row.Scopes, Creator: row.CreatedBy,
		Created: row.CreatedAt, Expires: row.ExpiresAt, Revoked: row.RevokedAt, Used: row.LastUsedAt,
	}
}
