package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/embedded"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const password = "correct horse battery"

// bench is an identity service, and another process that verifies what it signs.
type bench struct {
	svc      *Service
	pool     *pgxpool.Pool
	nats     *embedded.NATS
	verifier *authn.Verifier
	log      *bytes.Buffer
	logMu    sync.Mutex
}

func (b *bench) Write(line []byte) (int, error) {
	b.logMu.Lock()
	defer b.logMu.Unlock()
	return b.log.Write(line)
}

func setup(t *testing.T) *bench {
	t.Helper()
	return setupOn(t, func(inner bus.Bus) bus.Bus { return inner })
}

// setupOn wraps the service's own bus; the verifier has another connection.
func setupOn(t *testing.T, wrap func(bus.Bus) bus.Bus) *bench {
	t.Helper()
	b := &bench{pool: testkit.Database(t), nats: testkit.NATS(t), log: &bytes.Buffer{}}
	cfg := b.config(t)
	cfg.Bus = wrap(testkit.BusOn(t, b.nats))
	var err error
	if b.svc, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	revocations, err := authn.NewRevocations(authn.RevocationsConfig{Pool: b.pool, Bus: testkit.BusOn(t, b.nats), Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if b.verifier, err = authn.NewVerifier(authn.Config{Pool: b.pool, Revocations: revocations}); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	start(t, func(ctx context.Context) error { return revocations.RunReady(ctx, func() { close(ready) }) })
	<-ready
	start(t, b.svc.Run)
	return b
}

func (b *bench) config(t *testing.T) Config {
	t.Helper()
	authorizer, err := authz.New()
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Pool: b.pool, Bus: testkit.BusOn(t, b.nats), Authorizer: authorizer, MasterKey: bytes.Repeat([]byte{7}, masterKeyBytes), HashMemory: 8 << 10, HashTime: 1,
		PublicAddress: "http://tenon.test", Log: slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// start runs something until the test's end.
func start(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func (b *bench) signUp(t *testing.T, email string) Session {
	t.Helper()
	session, err := b.svc.SignUp(t.Context(), email, password, "Someone")
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	return session
}

func (b *bench) verify(t *testing.T, token, tenant string) authn.Principal {
	t.Helper()
	p, err := b.verifier.Verify(t.Context(), token, tenant)
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	return p
}

// owner signs up, makes the tenant and returns the principal of a call to it.
func (b *bench) owner(t *testing.T, slug string) authn.Principal {
	t.Helper()
	session := b.signUp(t, slug+"@example.com")
	if _, err := b.svc.CreateTenant(t.Context(), b.verify(t, session.Secret, ""), slug, ""); err != nil {
		t.Fatal(fault.Detail(err))
	}
	return b.verify(t, session.Secret, slug)
}

func (b *bench) token(t *testing.T, caller authn.Principal, in NewToken) (Token, string) {
	t.Helper()
	token, secret, err := b.svc.CreateToken(t.Context(), caller, in)
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	return token, secret
}

func wantFault(t *testing.T, err error, code fault.Code, field string) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Fatalf("got %v, want %s", fault.Detail(err), code)
	}
	if field == "" {
		return
	}
	for _, f := range fault.Of(err).Fields {
		if f.Path == field {
			return
		}
	}
	t.Errorf("%v does not name the field %s", err, field)
}

func TestSignUpSignInSignOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.signUp(t, "Ann@Example.com")
	session, err := b.svc.SignIn(t.Context(), "ann@example.COM", password)
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	if session.User.ID != made.User.ID || session.User.Email != "Ann@Example.com" {
		t.Errorf("signed in as %+v", session.User)
	}
	p := b.verify(t, session.Secret, "")
	if p.Kind != authn.KindUser || p.UserID != made.User.ID || !p.Expires.Equal(session.Expires) || time.Until(p.Expires) < 11*time.Hour {
		t.Errorf("principal %+v", p)
	}
	guarded, stop := b.verifier.Guard(t.Context(), p)
	defer stop()
	if err := b.svc.SignOut(t.Context(), p); err != nil {
		t.Fatal(fault.Detail(err))
	}
	<-guarded.Done()
	if _, err := b.verifier.Verify(t.Context(), session.Secret, ""); !fault.HasReason(err, authn.ReasonTokenRevoked) {
		t.Errorf("after sign-out: %v", err)
	}
	b.verify(t, made.Secret, "") // the other session goes on
	if err := b.svc.SignOut(t.Context(), p); err != nil {
		t.Errorf("a second sign-out: %v", err)
	}
}

func TestSignUpWithATakenAddress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.signUp(t, "ann@example.com")
	_, err := b.svc.SignUp(t.Context(), "ANN@example.com", password, "")
	wantFault(t, err, fault.CodeAlreadyExists, "email")
}

func TestSignInDenied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.signUp(t, "ann@example.com")
	_, wrong := b.svc.SignIn(t.Context(), "ann@example.com", "not the password")
	wantFault(t, wrong, fault.CodeUnauthenticated, "")
	_, unknown := b.svc.SignIn(t.Context(), "bob@example.com", password)
	wantFault(t, unknown, fault.CodeUnauthenticated, "")
	if wrong.Error() != unknown.Error() || !fault.HasReason(unknown, fault.Of(wrong).Reason) {
		t.Errorf("%q and %q tell known from unknown", wrong, unknown)
	}
}

func TestSignInLocksAfterTenFailures(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.signUp(t, "ann@example.com")
	for range lockAfter {
		_, err := b.svc.SignIn(t.Context(), "Ann@example.com", "not the password")
		wantFault(t, err, fault.CodeUnauthenticated, "")
	}
	_, err := b.svc.SignIn(t.Context(), "ann@example.com", password)
	wantFault(t, err, fault.CodeResourceExhausted, "")
	if wait := fault.Of(err).RetryAfter; wait <= 0 || wait > lockWindow {
		t.Errorf("retry after %s", wait)
	}
}

func TestLockout(t *testing.T) {
	t.Parallel()
	l, now := newLockout(signInLimit()), time.Unix(1000, 0)
	for range lockAfter {
		if err := l.begin("a", now); err != nil {
			t.Fatal(err)
		}
	}
	if l.begin("A", now.Add(lockWindow-1)) == nil {
		t.Error("not locked within the window")
	}
	if err := l.begin("a", now.Add(lockWindow)); err != nil {
		t.Errorf("still locked after the window: %v", err)
	}
	for range 2 * lockAfter {
		l.takeBack("A")
		if err := l.begin("a", now.Add(lockWindow)); err != nil {
			t.Fatalf("locked although the attempt was taken back: %v", err)
		}
	}
	for range 2 * lockAfter {
		l.forgive("a")
		if err := l.begin("a", now); err != nil {
			t.Fatalf("locked although the password was right: %v", err)
		}
	}
	for i := range lockMost + 5 {
		if err := l.begin(strings.Repeat("x", 1+i%7)+string(rune('0'+i%10))+time.Duration(i).String(), now); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.attempts) > lockMost {
		t.Errorf("%d addresses are remembered", len(l.attempts))
	}
}

func TestHashingIsCapped(t *testing.T) {
	t.Parallel()
	h := newHasher(Config{MaxHashings: 1, HashMemory: 8 << 10, HashTime: 1})
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.hash(ctx, password); !fault.Is(err, fault.CodeAborted) {
		t.Errorf("a caller that gave up waiting: %v", err)
	}
	h.waiting.Store(maxWaiting)
	_, err := h.matches(t.Context(), password, "")
	wantFault(t, err, fault.CodeResourceExhausted, "")
	h.waiting.Store(0)
	h.leave()
	if same, err := h.matches(t.Context(), password, ""); same || err != nil {
		t.Errorf("no user: %v %v", same, err)
	}
	encoded, err := h.hash(t.Context(), password)
	if err != nil || !strings.HasPrefix(encoded, "$argon2id$v=19$m=8192,t=1,p=2$") || strings.Count(h.nobody, "$") != strings.Count(encoded, "$") || len(h.nobody) != len(encoded) {
		t.Errorf("hash %q, nobody's %q, %v", encoded, h.nobody, err)
	}
}

func TestCreateTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	caller := b.verify(t, b.signUp(t, "ann@example.com").Secret, "")
	tenant, err := b.svc.CreateTenant(t.Context(), caller, "acme", "")
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	var shard int32
	var role string
	err = b.pool.QueryRow(t.Context(), "select s.shard, m.role from tenant_shards s join members m using (tenant_id) where tenant_id = $1", tenant.Number).Scan(&shard, &role)
	if err != nil || shard != shardOf(tenant.ID) || role != authz.RoleOwner || tenant.DisplayName != "acme" {
		t.Errorf("tenant %+v, shard %d, role %q, %v", tenant, shard, role, err)
	}
	_, err = b.svc.CreateTenant(t.Context(), caller, "acme", "")
	wantFault(t, err, fault.CodeAlreadyExists, "slug")
	_, err = b.svc.CreateTenant(t.Context(), caller, "Not A Slug", "")
	wantFault(t, err, fault.CodeInvalid, "")
	got, err := b.svc.GetTenant(t.Context(), b.verify(t, b.signUp(t, "x@example.com").Secret, ""))
	wantFault(t, err, fault.CodeNotFound, "")
	if got.Number != 0 {
		t.Errorf("no tenant, yet %+v", got)
	}
}

func TestShardsAreSpread(t *testing.T) {
	t.Parallel()
	seen := map[int32]int{}
	svc := &Service{cfg: Config{Now: time.Now}}
	for range 64 * 50 {
		shard := shardOf(svc.newID())
		if shard < 0 || shard >= shards {
			t.Fatalf("shard %d", shard)
		}
		seen[shard]++
	}
	if len(seen) != shards {
		t.Errorf("%d shards in use", len(seen))
	}
}

func TestListsPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	caller := b.owner(t, "tenant-0")
	for _, slug := range []string{"tenant-1", "tenant-2", "tenant-3", "tenant-4"} {
		if _, err := b.svc.CreateTenant(t.Context(), caller, slug, ""); err != nil {
			t.Fatal(fault.Detail(err))
		}
		b.token(t, caller, NewToken{Name: slug, Kind: authn.KindWorker})
		other := b.signUp(t, slug+"@example.com").User
		if _, err := b.pool.Exec(t.Context(), "insert into members (tenant_id, user_id, role) values ($1, $2, 'viewer')", caller.TenantID, other.ID); err != nil {
			t.Fatal(err)
		}
	}
	var tenants, members, tokens []string
	tokenOf := map[string]string{}
	walk(t, func(page Page) (string, error) {
		list, next, err := b.svc.ListTenants(t.Context(), caller, page)
		for _, item := range list {
			tenants = append(tenants, item.Tenant.Slug)
		}
		tokenOf["tenants"] = max(tokenOf["tenants"], next)
		return next, err
	})
	walk(t, func(page Page) (string, error) {
		list, next, err := b.svc.ListMembers(t.Context(), caller, page)
		for _, item := range list {
			members = append(members, item.User.Email)
		}
		return next, err
	})
	walk(t, func(page Page) (string, error) {
		list, next, err := b.svc.ListTokens(t.Context(), caller, page)
		for _, item := range list {
			tokens = append(tokens, item.Name)
		}
		return next, err
	})
	if got := strings.Join(tenants, " "); got != "tenant-0 tenant-1 tenant-2 tenant-3 tenant-4" {
		t.Errorf("tenants %s", got)
	}
	if got := strings.Join(members, " "); got != "tenant-0@example.com tenant-1@example.com tenant-2@example.com tenant-3@example.com tenant-4@example.com" {
		t.Errorf("members %s", got)
	}
	if len(tokens) != 4 {
		t.Errorf("tokens %s", tokens)
	}
	for _, bad := range []string{"%", "e30", tokenOf["tenants"]} {
		_, _, err := b.svc.ListTokens(t.Context(), caller, Page{Token: bad})
		wantFault(t, err, fault.CodeInvalid, "page_token")
	}
}

// walk reads pages of two until the last.
func walk(t *testing.T, read func(Page) (string, error)) {
	t.Helper()
	page := Page{Size: 2}
	for range 10 {
		next, err := read(page)
		if err != nil {
			t.Fatal(fault.Detail(err))
		}
		if next == "" {
			return
		}
		page.Token = next
	}
	t.Fatal("the list has no end")
}

func TestProcessesThatStartTogetherShareOneKey(t *testing.T) {
	t.Parallel()
	b := &bench{pool: testkit.Database(t), nats: testkit.NATS(t), log: &bytes.Buffer{}}
	kids := make([]string, 6)
	var wait sync.WaitGroup
	for i := range kids {
		svc, err := New(b.config(t))
		if err != nil {
			t.Fatal(err)
		}
		wait.Go(func() {
			signer, err := svc.keys.theSigner(t.Context())
			if err != nil {
				t.Error(fault.Detail(err))
				return
			}
			kids[i] = signer.kid
		})
	}
	wait.Wait()
	for _, kid := range kids {
		if kid == "" || kid != kids[0] {
			t.Errorf("kids %v", kids)
			break
		}
	}
}

func TestAnotherMasterKeyIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.signUp(t, "ann@example.com")
	cfg := b.config(t)
	cfg.MasterKey = bytes.Repeat([]byte{8}, masterKeyBytes)
	svc, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = svc.Run(t.Context())
	wantFault(t, err, fault.CodeFailedPrecondition, "")
	sealed, err := seal(cfg.MasterKey, "a", []byte("secret"))
	if err != nil || bytes.Contains(sealed, []byte("secret")) {
		t.Fatalf("%q %v", sealed, err)
	}
	if _, err := unseal(cfg.MasterKey, "b", sealed); err == nil {
		t.Error("opened under another name")
	}
	if plain, err := unseal(cfg.MasterKey, "a", sealed); err != nil || string(plain) != "secret" {
		t.Errorf("%q %v", plain, err)
	}
}

func TestSecretsAreNeitherLoggedNorStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	_, secret := b.token(t, owner, NewToken{Name: "w", Kind: authn.KindWorker})
	_, failure := b.svc.SignIn(t.Context(), "acme@example.com", "wrong "+password)
	var rows []byte
	err := b.pool.QueryRow(t.Context(), `select json_build_array((select json_agg(u) from users u), (select json_agg(k) from signing_keys k),
		(select json_agg(t) from tokens t), (select json_agg(s) from user_sessions s))`).Scan(&rows)
	if err != nil || !json.Valid(rows) {
		t.Fatal(err)
	}
	signer, err := b.svc.keys.theSigner(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	signature := secret[strings.LastIndex(secret, ".")+1:]
	b.logMu.Lock()
	defer b.logMu.Unlock()
	for place, text := range map[string]string{"database": string(rows), "log": b.log.String(), "error": fault.Detail(failure)} {
		for what, value := range map[string]string{"password": password, "token": signature, "key": string(signer.key.Seed())} {
			if strings.Contains(text, value) {
				t.Errorf("the %s holds a %s", place, what)
			}
		}
	}
}
