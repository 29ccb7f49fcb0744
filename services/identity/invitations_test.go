package identity

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/proto/typeid"
)

func TestAnInvitationMakesOneMemberOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	made, token, err := b.svc.Invite(t.Context(), owner, authz.RoleDeveloper, 0)
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	var stored int
	secret := token[strings.LastIndex(token, ".")+1:]
	if err := b.pool.QueryRow(t.Context(), "select count(*) from invitations where encode(secret_hash, 'escape') like '%' || $1 || '%'", secret).Scan(&stored); err != nil || stored != 0 {
		t.Errorf("the secret itself is stored: %d, %v", stored, err)
	}
	tenant, read, err := b.svc.ReadInvitation(t.Context(), token)
	if err != nil || tenant.Slug != "acme" || read.ID != made.ID || read.Role != authz.RoleDeveloper {
		t.Fatalf("%+v %+v %v", tenant, read, fault.Detail(err))
	}
	// Two at once: one becomes a member, the other is told that the link is used.
	users := []Session{b.signUp(t, "bob@example.com"), b.signUp(t, "eve@example.com")}
	errs := make([]error, len(users))
	var wg sync.WaitGroup
	for i, u := range users {
		wg.Go(func() { _, _, errs[i] = b.svc.AcceptInvitation(t.Context(), b.verify(t, u.Secret, ""), token) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("accepted by %v and %v", errs[0], errs[1])
	}
	winner, loser := 0, 1
	if errs[0] != nil {
		winner, loser = 1, 0
	}
	wantFault(t, errs[loser], fault.CodeFailedPrecondition, "")
	if !fault.HasReason(errs[loser], ReasonInvitationUsed) {
		t.Errorf("the second is told %v", errs[loser])
	}
	if p := b.verify(t, users[winner].Secret, "acme"); p.Role != authz.RoleDeveloper {
		t.Errorf("the new member's role is %s", p.Role)
	}
	list, _, err := b.svc.ListInvitations(t.Context(), owner, Page{})
	if err != nil || len(list) != 1 || list[0].Accepted == nil || list[0].AcceptedBy != users[winner].User.ID {
		t.Errorf("%+v %v", list, err)
	}
	_, err = b.svc.RevokeInvitation(t.Context(), owner, made.ID)
	wantFault(t, err, fault.CodeFailedPrecondition, "")
}

func TestInvitationsThatAreOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	bob := b.verify(t, b.signUp(t, "bob@example.com").Secret, "")
	revoked, token, err := b.svc.Invite(t.Context(), owner, authz.RoleViewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := b.svc.RevokeInvitation(t.Context(), owner, revoked.ID); err != nil || got.Revoked == nil {
			t.Errorf("%+v %v", got, err)
		}
	}
	if _, _, err := b.svc.AcceptInvitation(t.Context(), bob, token); !fault.HasReason(err, ReasonInvitationEnded) {
		t.Errorf("revoked: %v", err)
	}
	old, token, err := b.svc.Invite(t.Context(), owner, authz.RoleViewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.Exec(t.Context(), "update invitations set expires_at = now() - interval '1 min' where id = $1", old.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.svc.AcceptInvitation(t.Context(), bob, token); !fault.HasReason(err, ReasonInvitationEnded) {
		t.Errorf("expired: %v", err)
	}
	_, token, err = b.svc.Invite(t.Context(), owner, authz.RoleViewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = b.svc.AcceptInvitation(t.Context(), owner, token)
	wantFault(t, err, fault.CodeAlreadyExists, "")
	if _, _, err := b.svc.AcceptInvitation(t.Context(), bob, token); err != nil {
		t.Errorf("a member's attempt has used the link up: %v", err)
	}
}

func TestInvitationsDenied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, foreign := b.owner(t, "acme"), b.owner(t, "other")
	made, token, err := b.svc.Invite(t.Context(), owner, authz.RoleViewer, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.svc.RevokeInvitation(t.Context(), foreign, made.ID)
	wantFault(t, err, fault.CodeNotFound, "")
	if list, _, err := b.svc.ListInvitations(t.Context(), foreign, Page{}); err != nil || len(list) != 0 {
		t.Errorf("another tenant's: %+v %v", list, err)
	}
	_, theirs, err := b.svc.Invite(t.Context(), foreign, authz.RoleViewer, 0)
	if err != nil {
		t.Fatal(err)
	}
	parts, other := strings.Split(token, "."), strings.Split(theirs, ".")
	for name, bad := range map[string]string{
		"nothing": "", "no token": "x", "another secret": parts[0] + "." + parts[1] + "." + other[2], "another tenant": other[0] + "." + parts[1] + "." + parts[2],
		"an id that nobody made": parts[0] + "." + typeid.Format(typeid.Invite, b.svc.newID()) + "." + parts[2], "cut short": token[:len(token)-1], "lengthened": token + "A",
	} {
		if _, _, err := b.svc.ReadInvitation(t.Context(), bad); !fault.Is(err, fault.CodeNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	admin := b.member(t, owner, "acme", "adam", authz.RoleAdmin)
	_, _, err = b.svc.Invite(t.Context(), admin, authz.RoleOwner, 0)
	wantFault(t, err, fault.CodePermissionDenied, "")
	_, _, err = b.svc.Invite(t.Context(), owner, authz.RoleViewer, 31*24*time.Hour)
	wantFault(t, err, fault.CodeInvalid, "lifetime")
	if _, err := b.pool.Exec(t.Context(), `insert into invitations (tenant_id, id, role, secret_hash, created_by, expires_at)
		select $1, gen_random_uuid(), 'viewer', decode(repeat('00', 32), 'hex'), '', now() + interval '1 h' from generate_series(1, $2)`, owner.TenantID, maxOpenInvitations); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.svc.Invite(t.Context(), owner, authz.RoleViewer, 0)
	wantFault(t, err, fault.CodeResourceExhausted, "")
}

func TestRenameTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, foreign := b.owner(t, "acme"), b.owner(t, "other")
	renamed, err := b.svc.RenameTenant(t.Context(), owner, "Acme & Söhne")
	if err != nil || renamed.DisplayName != "Acme & Söhne" || renamed.Slug != "acme" {
		t.Errorf("%+v %v", renamed, err)
	}
	kept, err := b.svc.GetTenant(t.Context(), foreign)
	if err != nil || kept.DisplayName == renamed.DisplayName {
		t.Errorf("another tenant is called %q, %v", kept.DisplayName, err)
	}
}
