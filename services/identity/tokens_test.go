package identity

import (
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/proto/typeid"
)

func TestCreateTokenAndWhoAmI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	api, secret := b.token(t, owner, NewToken{Name: "ci", Kind: authn.KindAPI, Role: authz.RoleDeveloper, Scopes: []string{"run:read", "run:*", "run:read"}, Lifetime: time.Hour})
	p := b.verify(t, secret, "")
	if p.Kind != authn.KindAPI || p.TenantID != owner.TenantID || p.Role != authz.RoleDeveloper || len(p.Scopes) != 2 || p.TokenID != api.ID {
		t.Errorf("principal %+v", p)
	}
	var claims authn.Claims
	if _, _, err := jwt.NewParser().ParseUnverified(secret, &claims); err != nil || claims.Address != "http://tenon.test" || claims.ID != typeid.Format(typeid.Token, api.ID) {
		t.Errorf("claims %+v %v", claims, err)
	}
	who, err := b.svc.WhoAmI(t.Context(), p)
	if err != nil || who.User != nil || who.Token.ID != api.ID || who.Tenant.Slug != "acme" || who.Role != authz.RoleDeveloper {
		t.Errorf("who %+v %v", who, err)
	}
	worker, secret := b.token(t, owner, NewToken{Name: "w", Kind: authn.KindWorker})
	p = b.verify(t, secret, "")
	if p.Kind != authn.KindWorker || time.Until(p.Expires) < 89*24*time.Hour {
		t.Errorf("worker %+v", p)
	}
	if who, err = b.svc.WhoAmI(t.Context(), p); err != nil || who.Token.ID != worker.ID || who.Token.Kind != "worker" {
		t.Errorf("who %+v %v", who, err)
	}
	if who, err = b.svc.WhoAmI(t.Context(), owner); err != nil || who.Token != nil || who.User.ID != owner.UserID || who.Role != authz.RoleOwner {
		t.Errorf("who %+v %v", who, err)
	}
}

func TestCreateTokenRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	for field, in := range map[string]NewToken{
		"name":     {Kind: authn.KindWorker},
		"kind":     {Name: "x", Kind: authn.KindUser},
		"role":     {Name: "x", Kind: authn.KindAPI},
		"scopes":   {Name: "x", Kind: authn.KindWorker, Scopes: []string{"*"}},
		"lifetime": {Name: "x", Kind: authn.KindWorker, Lifetime: maxTokenLifetime + time.Second},
	} {
		_, _, err := b.svc.CreateToken(t.Context(), owner, in)
		wantFault(t, err, fault.CodeInvalid, field)
	}
	_, _, err := b.svc.CreateToken(t.Context(), owner, NewToken{Name: "x", Kind: authn.KindWorker, Role: authz.RoleViewer})
	wantFault(t, err, fault.CodeInvalid, "role")

	_, secret := b.token(t, owner, NewToken{Name: "admin", Kind: authn.KindAPI, Role: authz.RoleAdmin, Scopes: []string{"token:*", "run:read"}})
	admin := b.verify(t, secret, "")
	for name, in := range map[string]NewToken{
		"higher role":  {Name: "x", Kind: authn.KindAPI, Role: authz.RoleOwner},
		"wider scopes": {Name: "x", Kind: authn.KindAPI, Role: authz.RoleAdmin},
		"worker":       {Name: "x", Kind: authn.KindWorker},
	} {
		if _, _, err := b.svc.CreateToken(t.Context(), admin, in); !fault.Is(err, fault.CodePermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.token(t, admin, NewToken{Name: "same", Kind: authn.KindAPI, Role: authz.RoleViewer, Scopes: []string{"run:read"}})
}

func TestRevocationWorksElsewhereWithinASecond(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"message arrives": false, "message lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var faulty *bus.Faulty
			b := setupOn(t, func(inner bus.Bus) bus.Bus {
				faulty = bus.WithFaults(inner, func(call bus.Call) bus.Harm { return bus.Harm{Drop: lost && call.Subject == authn.SubjectRevoked} })
				return faulty
			})
			defer faulty.Close()
			owner := b.owner(t, "acme")
			token, secret := b.token(t, owner, NewToken{Name: "w", Kind: authn.KindWorker})
			p := b.verify(t, secret, "")
			guarded, stop := b.verifier.Guard(t.Context(), p)
			defer stop()
			began := time.Now()
			revoked, err := b.svc.RevokeToken(t.Context(), owner, token.ID)
			if err != nil || revoked.Revoked == nil {
				t.Fatalf("%+v %v", revoked, err)
			}
			<-guarded.Done()
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %s", took)
			}
			if _, err := b.verifier.Verify(t.Context(), secret, ""); !fault.HasReason(err, authn.ReasonTokenRevoked) {
				t.Errorf("after: %v", err)
			}
			again, err := b.svc.RevokeToken(t.Context(), owner, token.ID)
			if err != nil || !again.Revoked.Equal(*revoked.Revoked) {
				t.Errorf("a second time: %+v %v", again, err)
			}
		})
	}
}

func TestRevokeTokenOfAnotherTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mine, yours := b.owner(t, "mine"), b.owner(t, "yours")
	token, secret := b.token(t, yours, NewToken{Name: "w", Kind: authn.KindWorker})
	_, err := b.svc.RevokeToken(t.Context(), mine, token.ID)
	wantFault(t, err, fault.CodeNotFound, "")
	b.verify(t, secret, "")
	var count int
	if err := b.pool.QueryRow(t.Context(), "select count(*) from revocations").Scan(&count); err != nil || count != 0 {
		t.Errorf("%d revocations, %v", count, err)
	}
	err = b.svc.SignOut(t.Context(), authn.Principal{Kind: authn.KindAPI, TokenID: token.ID})
	wantFault(t, err, fault.CodeFailedPrecondition, "")
}

func TestRevocationNumbersHaveNoGapsUnderContention(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	var ids []flow.ID
	for range 12 {
		token, _ := b.token(t, owner, NewToken{Name: "w", Kind: authn.KindWorker})
		ids = append(ids, token.ID, token.ID) // each revoked twice at once
	}
	var wait sync.WaitGroup
	for _, id := range ids {
		wait.Go(func() {
			if _, err := b.svc.RevokeToken(t.Context(), owner, id); err != nil {
				t.Error(fault.Detail(err))
			}
		})
	}
	wait.Wait()
	var count, highest int64
	if err := b.pool.QueryRow(t.Context(), "select count(*), max(number) from revocations").Scan(&count, &highest); err != nil || count != 12 || highest != 12 {
		t.Errorf("%d revocations, highest %d, %v", count, highest, err)
	}
	if b.svc.newest.Load() != highest {
		t.Errorf("the beacon carries %d", b.svc.newest.Load())
	}
}

func TestPruneKeepsTheNewestNumber(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.pool.Exec(t.Context(), `insert into revocations (number, token_id, expires_at)
		select n, gen_random_uuid(), now() - interval '2 h' from generate_series(1, 5) n`); err != nil {
		t.Fatal(err)
	}
	if err := b.svc.queries.PruneRevocations(t.Context()); err != nil {
		t.Fatal(err)
	}
	var count, highest int64
	if err := b.pool.QueryRow(t.Context(), "select count(*), max(number) from revocations").Scan(&count, &highest); err != nil || count != 1 || highest != 5 {
		t.Errorf("%d left, highest %d, %v", count, highest, err)
	}
}
