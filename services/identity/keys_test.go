package identity

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/testkit"
)

// keyBench is a bench whose processes share a clock that the test moves.
type keyBench struct {
	*bench
	clock atomic.Int64
}

func (k *keyBench) now() time.Time       { return time.Unix(k.clock.Load(), 0).UTC() }
func (k *keyBench) pass(d time.Duration) { k.clock.Add(int64(d / time.Second)) }
func (k *keyBench) kid(t *testing.T, token string) string {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, &authn.Claims{})
	if err != nil {
		t.Fatal(err)
	}
	kid, _ := parsed.Header["kid"].(string)
	return kid
}

// setupKeys runs no beacons: the test calls maintain itself.
func setupKeys(t *testing.T) *keyBench {
	t.Helper()
	k := &keyBench{bench: &bench{pool: testkit.Database(t), nats: testkit.NATS(t), log: &bytes.Buffer{}}}
	k.clock.Store(time.Now().Unix())
	k.svc = k.process(t, 7)
	revocations, err := authn.NewRevocations(authn.RevocationsConfig{Pool: k.pool, Bus: testkit.BusOn(t, k.nats), Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if k.verifier, err = authn.NewVerifier(authn.Config{Pool: k.pool, Revocations: revocations, Now: k.now}); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	start(t, func(ctx context.Context) error { return revocations.RunReady(ctx, func() { close(ready) }) })
	<-ready
	return k
}

// process is one more identity process, with a master key of 32 such bytes.
func (k *keyBench) process(t *testing.T, master byte) *Service {
	t.Helper()
	cfg := k.config(t)
	cfg.Now, cfg.MasterKey, cfg.SessionLifetime = k.now, bytes.Repeat([]byte{master}, masterKeyBytes), 100*24*time.Hour
	svc, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func (k *keyBench) states(t *testing.T) string {
	t.Helper()
	keys, err := k.svc.keys.List(t.Context())
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	var states []string
	for _, key := range keys {
		states = append(states, string(key.State))
	}
	return strings.Join(states, " ")
}

func TestRotationInvalidatesNothing(t *testing.T) {
	t.Parallel()
	k := setupKeys(t)
	other := k.process(t, 7)
	owner := k.owner(t, "acme")
	long, worker := k.token(t, owner, NewToken{Name: "w", Kind: authn.KindWorker, Lifetime: 200 * 24 * time.Hour})
	first, last := k.kid(t, worker), long.Expires // the session, good for 100 days, is signed by the same key

	made, err := k.svc.keys.Rotate(t.Context())
	if err != nil || made.State != KeyAnnounced || made.SignsFrom != k.now().Add(announceFor) {
		t.Fatalf("%+v %v", made, fault.Detail(err))
	}
	if _, err := other.keys.Rotate(t.Context()); !fault.Is(err, fault.CodeFailedPrecondition) || !strings.Contains(err.Error(), made.ID) {
		t.Errorf("a rotation during another: %v", err)
	}
	// Announced: published, and not signing, in no process.
	for _, svc := range []*Service{k.svc, other} {
		set, err := svc.KeySet(t.Context())
		if err != nil || !strings.Contains(string(set.JSON), made.ID) || !strings.Contains(string(set.JSON), first) {
			t.Errorf("published %s, %v", set.JSON, err)
		}
	}
	k.pass(announceFor - time.Second)
	if _, token := k.token(t, owner, NewToken{Name: "w", Kind: authn.KindWorker}); k.kid(t, token) != first || k.states(t) != "announced signing" {
		t.Errorf("signed by %s; states %s", k.kid(t, token), k.states(t))
	}
	k.pass(time.Second)
	var second string
	for _, svc := range []*Service{k.svc, other} {
		if _, second, err = svc.CreateToken(t.Context(), owner, NewToken{Name: "w", Kind: authn.KindWorker}); err != nil || k.kid(t, second) != made.ID {
			t.Errorf("signed by %s, %v", k.kid(t, second), err)
		}
	}
	k.verify(t, worker, "")
	k.verify(t, second, "")
	if got := k.states(t); got != "signing verifying" {
		t.Errorf("states %s", got)
	}
	k.svc.maintain(t.Context())
	if keys, err := k.svc.keys.List(t.Context()); err != nil || keys[1].VerifiesUntil != nil {
		t.Errorf("its end was fixed while tokens may still be on their way: %+v %v", keys, err)
	}

	// The end of the first key is the end of the last token that it signed.
	k.pass(settleFor + time.Second)
	k.svc.maintain(t.Context())
	keys, err := k.svc.keys.List(t.Context())
	if err != nil || keys[1].VerifiesUntil == nil || !keys[1].VerifiesUntil.Equal(last.Add(time.Hour)) {
		t.Fatalf("%+v %v", keys, err)
	}
	k.clock.Store(last.Unix() - 1)
	k.svc.maintain(t.Context()) // by now the second key is old and a third is announced; the first one verifies
	if set, err := k.svc.KeySet(t.Context()); err != nil || !strings.Contains(string(set.JSON), first) || k.states(t) != "announced signing verifying" {
		t.Errorf("%s %s %v", k.states(t), set.JSON, err)
	}
	k.clock.Store(last.Unix() + 3601)
	k.svc.maintain(t.Context())
	if set, err := k.svc.KeySet(t.Context()); err != nil || strings.Contains(string(set.JSON), first) || k.states(t) != "signing verifying" {
		t.Errorf("%s %s %v", k.states(t), set.JSON, err)
	}
}

func TestASessionOutlivesARotationOfItsKey(t *testing.T) {
	t.Parallel()
	k := setupKeys(t)
	session := k.signUp(t, "ann@example.com")
	for range 3 {
		if _, err := k.svc.keys.Rotate(t.Context()); err != nil {
			t.Fatal(fault.Detail(err))
		}
		k.pass(2 * time.Hour) // longer than a key without tokens lives on
		k.svc.maintain(t.Context())
		k.verify(t, session.Secret, "")
	}
	if got := k.states(t); got != "signing verifying" {
		t.Errorf("states %s", got)
	}
}

func TestAKeyRotatesByAgeOnce(t *testing.T) {
	t.Parallel()
	k := setupKeys(t)
	other := k.process(t, 7)
	k.signUp(t, "ann@example.com")
	k.pass(k.svc.cfg.KeyLifetime - time.Second)
	k.svc.maintain(t.Context())
	if got := k.states(t); got != "signing" {
		t.Fatalf("a second before its age: %s", got)
	}
	k.pass(time.Second)
	var wait sync.WaitGroup
	for _, svc := range []*Service{k.svc, other, k.svc, other} {
		wait.Go(func() { svc.maintain(t.Context()) })
	}
	wait.Wait()
	if got := k.states(t); got != "announced signing" {
		t.Errorf("states %s", got)
	}
}

func TestRotateMakesTheFirstKey(t *testing.T) {
	t.Parallel()
	k := setupKeys(t)
	made, err := k.svc.keys.Rotate(t.Context())
	if err != nil || made.State != KeySigning || k.states(t) != "signing" {
		t.Fatalf("%+v %v", made, fault.Detail(err))
	}
	if session := k.signUp(t, "ann@example.com"); k.kid(t, session.Secret) != made.ID {
		t.Errorf("signed by %s", k.kid(t, session.Secret))
	}
}

func TestTheKeySetVerifiesTokens(t *testing.T) {
	t.Parallel()
	k := setupKeys(t)
	if set, err := k.svc.KeySet(t.Context()); err != nil || string(set.JSON) != `{"keys":[]}` {
		t.Errorf("without keys: %s %v", set.JSON, err)
	}
	k.pass(jwksFor)
	session := k.signUp(t, "ann@example.com")
	set, err := k.svc.KeySet(t.Context())
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	var list struct{ Keys []map[string]string }
	if err := json.Unmarshal(set.JSON, &list); err != nil || len(list.Keys) != 1 || len(list.Keys[0]) != 6 {
		t.Fatalf("%s %v", set.JSON, err)
	}
	key := list.Keys[0]
	public, err := base64.RawURLEncoding.DecodeString(key["x"])
	if err != nil || key["kty"] != "OKP" || key["crv"] != "Ed25519" || key["alg"] != "EdDSA" || key["use"] != "sig" || key["kid"] != k.kid(t, session.Secret) {
		t.Fatalf("%v %v", key, err)
	}
	if _, err := jwt.Parse(session.Secret, func(*jwt.Token) (any, error) { return ed25519.PublicKey(public), nil }, jwt.WithTimeFunc(k.now)); err != nil {
		t.Error(err)
	}
	// While Postgres is away the last list is good enough; a process that has never read it says so.
	k.pool.Close()
	k.pass(2 * jwksFor)
	if again, err := k.svc.KeySet(t.Context()); err != nil || again.Tag != set.Tag {
		t.Errorf("%+v %v", again, err)
	}
	if _, err := k.process(t, 7).KeySet(t.Context()); !fault.Is(err, fault.CodeUnavailable) {
		t.Errorf("never read: %v", err)
	}
}

func TestRewrap(t *testing.T) {
	t.Parallel()
	k := setupKeys(t)
	session := k.signUp(t, "ann@example.com")
	if _, err := k.svc.keys.Rotate(t.Context()); err != nil {
		t.Fatal(fault.Detail(err))
	}
	next := bytes.Repeat([]byte{8}, masterKeyBytes)
	wrong, err := NewKeys(KeysConfig{Pool: k.pool, MasterKey: bytes.Repeat([]byte{9}, masterKeyBytes), Now: k.now})
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := wrong.Rewrap(t.Context(), next); changed != 0 || !fault.HasReason(err, "MASTER_KEY_WRONG") {
		t.Errorf("with the wrong old key: %d, %v", changed, err)
	}
	if _, err := k.svc.keys.Rewrap(t.Context(), k.svc.cfg.MasterKey); !fault.Is(err, fault.CodeInvalid) {
		t.Errorf("to the same key: %v", err)
	}
	if _, err := k.svc.keys.Rewrap(t.Context(), []byte("short")); err == nil {
		t.Error("to a short key, and no error")
	}
	for i, want := range []int{2, 0} {
		if changed, err := k.svc.keys.Rewrap(t.Context(), next); changed != want || err != nil {
			t.Errorf("call %d changed %d, %v", i, changed, fault.Detail(err))
		}
	}
	// A process that runs goes on with the key in its memory, a new one needs the new master key.
	k.pass(2 * signerFor)
	if signer, err := k.svc.keys.theSigner(t.Context()); err != nil || signer.kid != k.kid(t, session.Secret) {
		t.Errorf("the running process: %v", fault.Detail(err))
	}
	if _, err := k.process(t, 7).keys.theSigner(t.Context()); !fault.HasReason(err, "MASTER_KEY_WRONG") {
		t.Errorf("a start with the old key: %v", err)
	}
	k.pass(announceFor)
	fresh := k.process(t, 8)
	again, err := fresh.SignIn(t.Context(), "ann@example.com", password)
	if err != nil || k.kid(t, again.Secret) == k.kid(t, session.Secret) {
		t.Fatalf("a start with the new key, and the rotated key: %v", fault.Detail(err))
	}
	k.verify(t, session.Secret, "")
	k.verify(t, again.Secret, "")
}

func TestKeysConfig(t *testing.T) {
	t.Parallel()
	if _, err := NewKeys(KeysConfig{}); err == nil || !strings.Contains(err.Error(), "Pool") {
		t.Errorf("without a pool: %v", err)
	}
	k := setupKeys(t)
	if _, err := NewKeys(KeysConfig{Pool: k.pool, MasterKey: []byte("x")}); err == nil || !strings.Contains(err.Error(), "TENON_MASTER_KEY") {
		t.Errorf("with a short key: %v", err)
	}
	cfg := k.config(t)
	cfg.KeyLifetime = time.Minute
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "KeyLifetime") {
		t.Errorf("KeyLifetime: %v", err)
	}
	cfg.KeyLifetime, cfg.MaxMembers = 0, -1
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "MaxMembers") {
		t.Errorf("MaxMembers: %v", err)
	}
}
