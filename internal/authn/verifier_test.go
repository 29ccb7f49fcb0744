package authn

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/testkit"
	"github.com/tenon-run/tenon/proto/typeid"
)

type bench struct {
	pool     *pgxpool.Pool
	verifier *Verifier
	rev      *Revocations
	now      time.Time
	public   ed25519.PublicKey
	key      ed25519.PrivateKey
	tenant   flow.ID
	number   int64
	user     flow.ID
}

// setup makes a tenant "acme" with a developer, a signing key "k1" and a verifier whose revocations are current.
func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{pool: testkit.Database(t), now: time.Now().Truncate(time.Second), tenant: flow.ID{1, 2}, user: flow.ID{3, 4}}
	var err error
	if b.public, b.key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "insert into signing_keys (kid, public_key, sealed_key) values ('k1', $1, '')", []byte(b.public))
	if err := b.pool.QueryRow(t.Context(), "insert into tenants (public_id, slug, display_name) values ($1, 'acme', 'Acme') returning id", b.tenant).Scan(&b.number); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "insert into users (id, email, display_name, password_hash) values ($1, 'a@b.c', '', '')", b.user)
	b.exec(t, "insert into members (tenant_id, user_id, role) values ($1, $2, 'developer')", b.number, b.user)
	b.rev, err = NewRevocations(RevocationsConfig{Pool: b.pool, Bus: testkit.Bus(t), Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	b.verifier, err = NewVerifier(Config{Pool: b.pool, Revocations: b.rev, Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run keeps revocations current until the test's end.
func (b *bench) run(t *testing.T) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- b.rev.RunReady(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return b
}

func (b *bench) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) claims(kind string) *Claims {
	id := typeid.Format(typeid.Token, flow.ID{9})
	c := &Claims{Kind: kind, Tenant: typeid.Format(typeid.Tenant, b.tenant), RegisteredClaims: jwt.RegisteredClaims{
		Issuer: Issuer, Audience: jwt.ClaimStrings{Audience}, Subject: id, ID: id, ExpiresAt: jwt.NewNumericDate(b.now.Add(time.Hour)),
	}}
	switch kind {
	case "api":
		c.Role, c.Scopes = "viewer", []string{"run:read"}
	case "user":
		c.Tenant, c.ID, c.Subject = "", typeid.Format(typeid.Session, flow.ID{8}), typeid.Format(typeid.User, b.user)
	}
	return c
}

func (b *bench) sign(t *testing.T, claims *Claims) string {
	return signWith(t, jwt.SigningMethodEdDSA, b.key, "k1", claims)
}

func signWith(t *testing.T, method jwt.SigningMethod, key any, kid string, claims *Claims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestVerifyReadsEachKind(t *testing.T) {
	b := setup(t).run(t)
	p, err := b.verifier.Verify(t.Context(), "", "acme")
	if err != nil || p.Kind != KindAnonymous || p.Role != "anonymous" {
		t.Errorf("no token: %+v %v", p, err)
	}
	for range 2 { // the second time from the cache
		p, err = b.verifier.Verify(t.Context(), "bearer "+b.sign(t, b.claims("api")), "another-tenant")
		if err != nil || p.Kind != KindAPI || p.TenantID != b.number || p.Tenant != b.tenant || p.Role != "viewer" || len(p.Scopes) != 1 || p.TokenID != (flow.ID{9}) {
			t.Errorf("api token: %+v %v", p, err)
		}
	}
	worker := b.claims("worker")
	worker.Role, worker.Scopes = "owner", []string{"*"} // never believed
	p, err = b.verifier.Verify(t.Context(), b.sign(t, worker), "")
	if err != nil || p.Kind != KindWorker || p.Role != "worker" || p.Scopes != nil || p.TenantID != b.number {
		t.Errorf("worker token: %+v %v", p, err)
	}
	session := b.sign(t, b.claims("user"))
	p, err = b.verifier.Verify(t.Context(), session, "")
	if err != nil || p.Kind != KindUser || p.Role != "user" || p.TenantID != 0 || p.UserID != b.user {
		t.Errorf("session: %+v %v", p, err)
	}
	for _, name := range []string{"acme", typeid.Format(typeid.Tenant, b.tenant)} {
		p, err = b.verifier.Verify(t.Context(), session, name)
		if err != nil || p.Role != "developer" || p.TenantID != b.number || p.Tenant != b.tenant {
			t.Errorf("session in %s: %+v %v", name, p, err)
		}
	}
	if got := From(With(t.Context(), p)); got.Role != "developer" || From(t.Context()).Kind != KindAnonymous {
		t.Errorf("from context: %+v", got)
	}
}

func TestVerifyRefuses(t *testing.T) {
	b := setup(t).run(t)
	_, foreign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(kind string, change func(*Claims)) string {
		claims := b.claims(kind)
		change(claims)
		return b.sign(t, claims)
	}
	good := b.sign(t, b.claims("api"))
	for name, c := range map[string]struct{ token, reason string }{
		"rubbish":            {"rubbish", ReasonTokenInvalid},
		"huge":               {strings.Repeat("x", maxTokenBytes+1), ReasonTokenInvalid},
		"foreign key":        {signWith(t, jwt.SigningMethodEdDSA, foreign, "k1", b.claims("api")), ReasonTokenInvalid},
		"unknown kid":        {signWith(t, jwt.SigningMethodEdDSA, b.key, "k2", b.claims("api")), ReasonTokenInvalid},
		"alg none":           {signWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "k1", b.claims("api")), ReasonTokenInvalid},
		"public key as HMAC": {signWith(t, jwt.SigningMethodHS256, []byte(b.public), "k1", b.claims("api")), ReasonTokenInvalid},
		"tampered":           {good[:len(good)-8] + "AAAAAAAA", ReasonTokenInvalid},
		"expired":            {changed("api", func(c *Claims) { c.ExpiresAt = jwt.NewNumericDate(b.now.Add(-time.Second)) }), ReasonTokenExpired},
		"no expiry":          {changed("api", func(c *Claims) { c.ExpiresAt = nil }), ReasonTokenInvalid},
		"other issuer":       {changed("api", func(c *Claims) { c.Issuer = "x" }), ReasonTokenInvalid},
		"other audience":     {changed("api", func(c *Claims) { c.Audience = jwt.ClaimStrings{"x"} }), ReasonTokenInvalid},
		"no kind":            {changed("api", func(c *Claims) { c.Kind = "" }), ReasonTokenInvalid},
		"anonymous kind":     {changed("api", func(c *Claims) { c.Kind = "anonymous" }), ReasonTokenInvalid},
		"no role":            {changed("api", func(c *Claims) { c.Role = "" }), ReasonTokenInvalid},
		"no tenant":          {changed("api", func(c *Claims) { c.Tenant = "" }), ReasonTokenInvalid},
		"a tenant that went": {changed("api", func(c *Claims) { c.Tenant = typeid.Format(typeid.Tenant, flow.ID{77}) }), ReasonTokenInvalid},
		"session as token":   {changed("user", func(c *Claims) { c.Kind = "api"; c.Role = "owner" }), ReasonTokenInvalid},
		"no user":            {changed("user", func(c *Claims) { c.Subject = "" }), ReasonTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.verifier.Verify(t.Context(), c.token, "")
			if !fault.Is(err, fault.CodeUnauthenticated) || !fault.HasReason(err, c.reason) {
				t.Errorf("got %v, want %s", err, c.reason)
			}
			if err != nil && len(c.token) > 10 && strings.Contains(fault.Detail(err), c.token) {
				t.Error("the error repeats the token")
			}
		})
	}
}

func TestATokenExpiresInTheCache(t *testing.T) {
	b := setup(t).run(t)
	token := b.sign(t, b.claims("api"))
	if _, err := b.verifier.Verify(t.Context(), token, ""); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	if _, err := b.verifier.Verify(t.Context(), token, ""); !fault.HasReason(err, ReasonTokenExpired) {
		t.Errorf("after its hour: %v", err)
	}
}

func TestARetiredKeyVerifiesNoMore(t *testing.T) {
	b := setup(t).run(t)
	b.exec(t, "update signing_keys set verify_until = now() - interval '1 s'")
	if _, err := b.verifier.Verify(t.Context(), b.sign(t, b.claims("api")), ""); !fault.HasReason(err, ReasonTokenInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestANewKeyIsFound(t *testing.T) {
	b := setup(t).run(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token := signWith(t, jwt.SigningMethodEdDSA, private, "k2", b.claims("api"))
	if _, err := b.verifier.Verify(t.Context(), token, ""); !fault.HasReason(err, ReasonTokenInvalid) {
		t.Fatalf("before the key exists: %v", err)
	}
	b.exec(t, "insert into signing_keys (kid, public_key, sealed_key) values ('k2', $1, '')", []byte(public))
	b.now = b.now.Add(keysAtMost)
	if _, err := b.verifier.Verify(t.Context(), token, ""); err != nil {
		t.Error(err)
	}
}

func TestMembershipIsForMembersAndFresh(t *testing.T) {
	b := setup(t).run(t)
	session := b.sign(t, b.claims("user"))
	b.exec(t, "insert into tenants (public_id, slug, display_name) values ($1, 'other', '')", flow.ID{5})
	for _, name := range []string{"other", "nobody", "No Slug\x00", typeid.Format(typeid.Tenant, flow.ID{5}), "tnt_x", strings.Repeat("a", 64)} {
		if _, err := b.verifier.Verify(t.Context(), session, name); !fault.Is(err, fault.CodePermissionDenied) || !fault.HasReason(err, ReasonNotAMember) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := b.verifier.Verify(t.Context(), session, "acme"); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "update members set role = 'viewer'")
	b.now = b.now.Add(time.Second)
	if p, err := b.verifier.Verify(t.Context(), session, "acme"); err != nil || p.Role != "viewer" {
		t.Errorf("a second after the change: %+v %v", p, err)
	}
	b.exec(t, "delete from members")
	b.now = b.now.Add(time.Second)
	if _, err := b.verifier.Verify(t.Context(), session, "acme"); !fault.HasReason(err, ReasonNotAMember) {
		t.Errorf("a second after the removal: %v", err)
	}
}

func TestBeforeTheListIsReadNobodyIsTrusted(t *testing.T) {
	b := setup(t) // Run is not called
	if _, err := b.verifier.Verify(t.Context(), b.sign(t, b.claims("api")), ""); !fault.HasReason(err, ReasonRevocationsUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestRevocationsFromBeforeTheStartCount(t *testing.T) {
	b := setup(t)
	b.exec(t, "insert into revocations (number, token_id, expires_at) values (41, $1, now() + interval '1 h')", flow.ID{9})
	b.run(t)
	token := b.sign(t, b.claims("api"))
	if _, err := b.verifier.Verify(t.Context(), token, ""); !fault.HasReason(err, ReasonTokenRevoked) {
		t.Errorf("got %v", err)
	}
}

func TestGuardEndsWithTheToken(t *testing.T) {
	b := setup(t).run(t)
	p, err := b.verifier.Verify(t.Context(), b.sign(t, b.claims("api")), "")
	if err != nil {
		t.Fatal(err)
	}
	revoked, stop := b.verifier.Guard(t.Context(), p)
	defer stop()
	b.exec(t, "insert into revocations (number, token_id, expires_at) values (1, $1, now() + interval '1 h')", p.TokenID) // nobody says a word
	<-revoked.Done()
	if cause := context.Cause(revoked); !fault.HasReason(cause, ReasonTokenRevoked) {
		t.Errorf("cause %v", cause)
	}

	p.TokenID, p.Expires = flow.ID{10}, b.now.Add(time.Millisecond)
	expired, stop := b.verifier.Guard(t.Context(), p)
	defer stop()
	<-expired.Done()
	if cause := context.Cause(expired); !fault.HasReason(cause, ReasonTokenExpired) {
		t.Errorf("cause %v", cause)
	}

	anonymous, stop := b.verifier.Guard(t.Context(), Anonymous())
	stop()
	if context.Cause(anonymous) != context.Canceled { //nolint:errorlint // the very value
		t.Errorf("cause %v", context.Cause(anonymous))
	}
	b.rev.mu.RLock()
	defer b.rev.mu.RUnlock()
	if len(b.rev.watches) > 2 {
		t.Errorf("%d watches", len(b.rev.watches))
	}
}

func TestGuardEndsWithTheMembership(t *testing.T) {
	b := setup(t).run(t)
	session := b.sign(t, b.claims("user"))
	p, err := b.verifier.Verify(t.Context(), session, "acme")
	if err != nil {
		t.Fatal(err)
	}
	guarded, stop := b.verifier.Guard(t.Context(), p)
	defer stop()
	account, err := b.verifier.Verify(t.Context(), session, "")
	if err != nil {
		t.Fatal(err)
	}
	own, stop := b.verifier.Guard(t.Context(), account)
	defer stop()
	b.exec(t, "update members set role = 'viewer'")
	b.exec(t, "insert into revocations (number, token_id, expires_at, user_id, tenant_id) values (1, $1, now() + interval '1 h', $2, $3)",
		flow.ID{0xee}, b.user, b.number)
	<-guarded.Done()
	if cause := context.Cause(guarded); !fault.HasReason(cause, ReasonMembershipChanged) {
		t.Errorf("cause %v", cause)
	}
	if own.Err() != nil {
		t.Errorf("a stream about the account ended: %v", context.Cause(own))
	}
	// The verifier's clock stands still: the role that it remembers is not too old, it is known to have changed.
	if p, err = b.verifier.Verify(t.Context(), session, "acme"); err != nil || p.Role != "viewer" {
		t.Errorf("after the change: %+v %v", p, err)
	}
	again, stop := b.verifier.Guard(t.Context(), p)
	defer stop()
	if again.Err() != nil {
		t.Errorf("opened again, and ended: %v", context.Cause(again))
	}
}

func TestUseOfASessionIsNoted(t *testing.T) {
	b := setup(t).run(t)
	b.exec(t, "insert into user_sessions (user_id, id, expires_at, last_used_at) values ($1, $2, now() + interval '1 h', '2020-01-01'), ($1, $3, now() + interval '1 h', '2020-01-01')",
		b.user, flow.ID{8}, flow.ID{80})
	used := func() (recent, old bool) {
		t.Helper()
		err := b.pool.QueryRow(t.Context(), `select (select last_used_at > now() - interval '1 min' from user_sessions where id = $1),
			(select last_used_at = '2020-01-01' from user_sessions where id = $2)`, flow.ID{8}, flow.ID{80}).Scan(&recent, &old)
		if err != nil {
			t.Fatal(err)
		}
		return recent, old
	}
	session := b.sign(t, b.claims("user"))
	if _, err := b.verifier.Verify(t.Context(), session, ""); err != nil {
		t.Fatal(err)
	}
	if recent, old := used(); !recent || !old {
		t.Errorf("the session noted %v, another one untouched %v", recent, old)
	}
	b.exec(t, "update user_sessions set last_used_at = now() - interval '4 min'")
	b.now = b.now.Add(tokenFor)
	if _, err := b.verifier.Verify(t.Context(), session, ""); err != nil {
		t.Fatal(err)
	}
	if recent, _ := used(); recent {
		t.Error("noted twice within five minutes")
	}
}

func TestUsesOfTokensAreNotedTogether(t *testing.T) {
	b := setup(t).run(t)
	b.exec(t, `insert into tokens (tenant_id, id, name, kind, role, created_by, expires_at)
		values ($1, $2, 'used', 'api', 'owner', '', now() + interval '1 h'), ($1, $3, 'idle', 'api', 'owner', '', now() + interval '1 h')`, b.number, flow.ID{9}, flow.ID{80})
	token := b.sign(t, b.claims("api"))
	for range 3 {
		if _, err := b.verifier.Verify(t.Context(), token, ""); err != nil {
			t.Fatal(err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := b.verifier.NoteUses(ended, testkit.Logger(t)); err != nil {
		t.Fatal(err)
	}
	var used, idle bool
	err := b.pool.QueryRow(t.Context(), `select (select last_used_at is not null from tokens where id = $1), (select last_used_at is not null from tokens where id = $2)`,
		flow.ID{9}, flow.ID{80}).Scan(&used, &idle)
	if err != nil || !used || idle {
		t.Errorf("the used token noted %t, the idle one %t, %v", used, idle, err)
	}
	if left := b.verifier.uses.take(); len(left) != 0 {
		t.Errorf("%d uses are kept after they were noted", len(left))
	}
}
