package authn

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/proto/typeid"
)

// TenantHeader is the request header in which a signed-in user names the tenant of the call, by TypeID or slug.
const TenantHeader = "Tenon-Tenant"

// The reasons of the faults that Verify and Guard give.
const (
	ReasonTokenInvalid       = "TOKEN_INVALID"
	ReasonTokenExpired       = "TOKEN_EXPIRED"
	ReasonTokenRevoked       = "TOKEN_REVOKED"
	ReasonRevocationsUnknown = "REVOCATIONS_UNKNOWN"
	ReasonNotAMember         = "NOT_A_MEMBER"
	ReasonMembershipChanged  = "MEMBERSHIP_CHANGED"
)

const (
	maxTokenBytes = 8 << 10
	maxTokens     = 10_000
	maxMembers    = 10_000
	// tokenFor is how long a verified signature is remembered at most: 5 min. Revocation is looked up at every call all the same.
	tokenFor = 5 * time.Minute
	// membershipFor is how long a user's role in a tenant is remembered: 800 ms, so that a change works within a second even where its number
	// is not heard of.
	membershipFor = 800 * time.Millisecond
	// touchTimeout bounds the write that notes a session's use: 500 ms.
	touchTimeout = 500 * time.Millisecond
)

// Config is what a Verifier needs.
type Config struct {
	// Pool reads keys, tenants and memberships. Required.
	Pool *pgxpool.Pool
	// Revocations must be running (or run soon): until it has read the list, Verify answers Unavailable to every token. Required.
	Revocations *Revocations
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Verifier turns tokens into principals. Its methods may be called from any goroutine.
type Verifier struct {
	queries     *sharedq.Queries
	revocations *Revocations
	now         func() time.Time
	parser      *jwt.Parser
	keys        *keySet
	tokens      *lru[[sha256.Size]byte, Principal]
	members     *lru[memberKey, membership]
	uses        uses
}

type memberKey struct {
	user   flow.ID
	tenant string // as the header names it
}

type membership struct {
	tenantID int64
	tenant   flow.ID
	role     string
	asOf     int64
}

// NewVerifier returns a verifier. It reads nothing yet.
func NewVerifier(cfg Config) (*Verifier, error) {
	if cfg.Pool == nil || cfg.Revocations == nil {
		return nil, errors.New("authn: Config.Pool and Config.Revocations are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	queries := sharedq.New(cfg.Pool)
	return &Verifier{
		queries: queries, revocations: cfg.Revocations, now: cfg.Now, parser: newParser(cfg.Now), keys: &keySet{queries: queries, now: cfg.Now},
		tokens: newLRU[[sha256.Size]byte, Principal](maxTokens), members: newLRU[memberKey, membership](maxMembers),
		uses: uses{last: make(map[tokenKey]time.Time)},
	}, nil
}

// Verify returns the principal behind a token. bearer is the token, with or without "Bearer " in front; empty gives the anonymous principal.
// tenantHeader is the value of TenantHeader: it picks the tenant of a user's call, and is ignored for API and worker tokens, whose tenant is in
// the token. Errors: Unauthenticated for a token that is malformed, forged, expired or revoked; PermissionDenied when the user is no member
// of the tenant (or there is none); Unavailable when revocations or keys cannot be read.
func (v *Verifier) Verify(ctx context.Context, bearer, tenantHeader string) (Principal, error) {
	token := trimBearer(bearer)
	if token == "" {
		return Anonymous(), nil
	}
	if len(token) > maxTokenBytes {
		return Principal{}, invalidToken(nil)
	}
	now := v.now()
	key := sha256.Sum256([]byte(token))
	p, known := v.tokens.get(key, now)
	if !known {
		var err error
		if p, err = v.read(ctx, token); err != nil {
			return Principal{}, err
		}
		v.tokens.put(key, p, earlier(p.Expires, now.Add(tokenFor)))
	}
	if !now.Before(p.Expires) {
		return Principal{}, expiredToken()
	}
	if err := v.revocations.check(p.TokenID); err != nil {
		return Principal{}, err
	}
	if p.Kind != KindUser {
		v.uses.note(p, now)
	}
	if p.Kind == KindUser && tenantHeader != "" {
		return v.withTenant(ctx, p, tenantHeader)
	}
	return p, nil
}

// trimBearer takes the scheme off, in any case, as RFC 9110 asks.
func trimBearer(value string) string {
	const scheme = "bearer "
	value = strings.TrimSpace(value)
	if len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
		return strings.TrimSpace(value[len(scheme):])
	}
	return value
}

// read checks signature and claims of a token seen for the first time, and finds its tenant's number.
func (v *Verifier) read(ctx context.Context, token string) (Principal, error) {
	var claims Claims
	var keyErr error
	_, err := v.parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		var key ed25519.PublicKey
		if key, keyErr = v.keys.get(ctx, kid); keyErr == nil && key == nil {
			return nil, errors.New("no such key")
		}
		return key, keyErr
	})
	switch {
	case keyErr != nil:
		return Principal{}, keyErr
	case errors.Is(err, jwt.ErrTokenExpired):
		return Principal{}, expiredToken()
	case err != nil:
		return Principal{}, invalidToken(err)
	}
	p, err := claims.principal()
	if err != nil {
		return Principal{}, invalidToken(err)
	}
	if p.Kind == KindUser {
		v.touch(ctx, p)
		return p, nil
	}
	p.TenantID, err = v.queries.TenantByPublicID(ctx, p.Tenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return Principal{}, invalidToken(err)
	}
	if err != nil {
		return Principal{}, pg.Fault(err)
	}
	return p, nil
}

// touch notes that a session is in use. It is called when a token is read, which a token in use is every tokenFor; that a note is lost hurts
// nobody, so the call goes on without it.
func (v *Verifier) touch(ctx context.Context, p Principal) {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	_ = v.queries.TouchSession(ctx, sharedq.TouchSessionParams{UserID: p.UserID, ID: p.TokenID}) // see above
}

// withTenant reads the user's role in the tenant that the header names.
func (v *Verifier) withTenant(ctx context.Context, p Principal, name string) (Principal, error) {
	now := v.now() // before the read, so that the age is never underestimated
	key := memberKey{user: p.UserID, tenant: name}
	found, ok := v.members.get(key, now)
	if !ok || v.revocations.isStale(member{p.UserID, found.tenantID}, found.asOf) {
		asOf := v.revocations.asOf() // before the read, like now
		var err error
		if found, err = v.readMembership(ctx, p.UserID, name); err != nil {
			return Principal{}, err
		}
		found.asOf = asOf
		v.members.put(key, found, now.Add(membershipFor))
	}
	p.TenantID, p.Tenant, p.Role, p.asOf = found.tenantID, found.tenant, found.role, found.asOf
	return p, nil
}

func (v *Verifier) readMembership(ctx context.Context, user flow.ID, name string) (membership, error) {
	var found membership
	var err error
	if strings.HasPrefix(name, typeid.Tenant+"_") {
		var id flow.ID
		if id, err = parseID(typeid.Tenant, name); err != nil {
			return membership{}, notAMember()
		}
		var row sharedq.MembershipByPublicIDRow
		row, err = v.queries.MembershipByPublicID(ctx, sharedq.MembershipByPublicIDParams{PublicID: id, UserID: user})
		found = membership{tenantID: row.ID, tenant: row.PublicID, role: row.Role}
	} else {
		if !isSlug(name) {
			return membership{}, notAMember()
		}
		var row sharedq.MembershipBySlugRow
		row, err = v.queries.MembershipBySlug(ctx, sharedq.MembershipBySlugParams{Slug: name, UserID: user})
		found = membership{tenantID: row.ID, tenant: row.PublicID, role: row.Role}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return membership{}, notAMember()
	}
	if err != nil {
		return membership{}, pg.Fault(err)
	}
	return found, nil
}

// isSlug keeps what cannot be a slug (and could not be sent to Postgres as text) away from the database and the cache.
func isSlug(name string) bool {
	const longest = 63
	return len(name) <= longest && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Guard returns a context that ends with a cause when p loses the right it came with: an Unauthenticated fault when its token is revoked or
// expires, an Aborted one when a user's role in the tenant is changed or taken away. The caller must call cancel. A stream runs under it; after
// Aborted its client opens it again, and is let in as its new role allows.
func (v *Verifier) Guard(ctx context.Context, p Principal) (context.Context, context.CancelFunc) {
	guarded, end := context.WithCancelCause(ctx)
	if p.Kind == KindAnonymous {
		return guarded, func() { end(nil) }
	}
	expiry := time.AfterFunc(p.Expires.Sub(v.now()), func() { end(expiredToken()) })
	unwatch := v.revocations.watchToken(p.TokenID, end)
	unwatchMember := func() {}
	if p.Kind == KindUser && p.TenantID != 0 {
		unwatchMember = v.revocations.watchMember(member{p.UserID, p.TenantID}, p.asOf, end)
	}
	return guarded, func() {
		expiry.Stop()
		unwatch()
		unwatchMember()
		end(nil)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func invalidToken(cause error) error {
	return fault.Unauthenticated(ReasonTokenInvalid, "the token is not one that this server has signed: sign in again or make a new token").WithCause(cause)
}

func expiredToken() error {
	return fault.Unauthenticated(ReasonTokenExpired, "the token has expired: sign in again or make a new token")
}

func revokedToken() error {
	return fault.Unauthenticated(ReasonTokenRevoked, "the token has been revoked: sign in again or use another token")
}

func notAMember() error {
	return fault.PermissionDenied(ReasonNotAMember, "the tenant in the %s header does not exist, or you are not a member of it: ListTenants lists yours", TenantHeader)
}

func membershipChanged() error {
	return fault.Aborted(ReasonMembershipChanged, "your role in the tenant has changed: send the call again, it is decided by the new role")
}
