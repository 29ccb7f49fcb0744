package identity

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
)

// member signs a user up and makes it a member of the owner's tenant.
func (b *bench) member(t *testing.T, owner authn.Principal, slug, name, role string) authn.Principal {
	t.Helper()
	session := b.signUp(t, name+"@example.com")
	if _, err := b.svc.AddMember(t.Context(), owner, name+"@example.com", role); err != nil {
		t.Fatal(fault.Detail(err))
	}
	return b.verify(t, session.Secret, slug)
}

func TestAddMember(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	session := b.signUp(t, "bob@example.com")
	if _, err := b.verifier.Verify(t.Context(), session.Secret, "acme"); !fault.HasReason(err, authn.ReasonNotAMember) {
		t.Errorf("before: %v", err)
	}
	member, err := b.svc.AddMember(t.Context(), owner, " BOB@example.com", authz.RoleDeveloper)
	if err != nil || member.User.ID != session.User.ID || member.User.Email != "bob@example.com" || member.Role != authz.RoleDeveloper {
		t.Fatalf("%+v %v", member, fault.Detail(err))
	}
	if p := b.verify(t, session.Secret, "acme"); p.Role != authz.RoleDeveloper {
		t.Errorf("role %s", p.Role)
	}
	_, err = b.svc.AddMember(t.Context(), owner, "bob@example.com", authz.RoleOwner)
	wantFault(t, err, fault.CodeAlreadyExists, "email")
	if p := b.verify(t, session.Secret, "acme"); p.Role != authz.RoleDeveloper {
		t.Errorf("adding again made the role %s", p.Role)
	}
	_, err = b.svc.AddMember(t.Context(), owner, "bob@example.com", "")
	wantFault(t, err, fault.CodeInvalid, "role")
}

func TestAddMemberOfAnUnknownAddress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, other := b.owner(t, "acme"), b.owner(t, "other")
	b.signUp(t, "late@example.com")
	for i := range missAfter {
		_, err := b.svc.AddMember(t.Context(), owner, fmt.Sprintf("nobody%d@example.com", i), authz.RoleViewer)
		wantFault(t, err, fault.CodeNotFound, "email")
		if !fault.HasReason(err, ReasonUserUnknown) || !strings.Contains(err.Error(), "sign up first") {
			t.Fatalf("%v", err)
		}
	}
	_, err := b.svc.AddMember(t.Context(), owner, "late@example.com", authz.RoleViewer)
	wantFault(t, err, fault.CodeResourceExhausted, "")
	if wait := fault.Of(err).RetryAfter; wait <= 0 || wait > missWindow {
		t.Errorf("retry after %s", wait)
	}
	for range 2 * missAfter { // another tenant goes on, and known addresses cost nothing
		_, err := b.svc.AddMember(t.Context(), other, "acme@example.com", authz.RoleViewer)
		if err != nil && !fault.Is(err, fault.CodeAlreadyExists) {
			t.Fatal(fault.Detail(err))
		}
	}
}

func TestAddMemberToAFullTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.svc.cfg.MaxMembers = 2
	owner := b.owner(t, "acme")
	b.member(t, owner, "acme", "bob", authz.RoleViewer)
	b.signUp(t, "eve@example.com")
	_, err := b.svc.AddMember(t.Context(), owner, "eve@example.com", authz.RoleViewer)
	wantFault(t, err, fault.CodeResourceExhausted, "")
	if !fault.HasReason(err, ReasonMembersFull) {
		t.Error(err)
	}
}

func TestMembersDenied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	admin := b.member(t, owner, "acme", "adam", authz.RoleAdmin)
	viewer := b.member(t, owner, "acme", "vera", authz.RoleViewer)
	b.signUp(t, "new@example.com")
	_, secret := b.token(t, owner, NewToken{Name: "members", Kind: authn.KindAPI, Role: authz.RoleOwner, Scopes: []string{"member:*"}})
	token := b.verify(t, secret, "")
	change := func(caller authn.Principal, user flow.ID, role string) func() error {
		return func() error {
			_, err := b.svc.ChangeMemberRole(t.Context(), caller, user, role)
			return err
		}
	}
	for name, call := range map[string]func() error{
		"an admin adds an owner": func() error {
			_, err := b.svc.AddMember(t.Context(), admin, "new@example.com", authz.RoleOwner)
			return err
		},
		"an admin makes itself an owner":            change(admin, admin.UserID, authz.RoleOwner),
		"an admin demotes an owner":                 change(admin, owner.UserID, authz.RoleViewer),
		"an admin removes an owner":                 func() error { return b.svc.RemoveMember(t.Context(), admin, owner.UserID) },
		"a narrow token gives more than it has":     change(token, viewer.UserID, authz.RoleDeveloper),
		"a role that may not even ask gives a role": change(viewer, viewer.UserID, authz.RoleAdmin),
	} {
		if err := call(); !fault.Is(err, fault.CodePermissionDenied) || !fault.HasReason(err, ReasonRoleTooHigh) {
			t.Errorf("%s: %v", name, err)
		}
	}
	members, _, err := b.svc.ListMembers(t.Context(), owner, Page{})
	if err != nil || len(members) != 3 {
		t.Fatalf("%d members, %v", len(members), err)
	}
	roles := map[flow.ID]string{owner.UserID: authz.RoleOwner, admin.UserID: authz.RoleAdmin, viewer.UserID: authz.RoleViewer}
	for _, member := range members {
		if roles[member.User.ID] != member.Role {
			t.Errorf("after the denials %s is %s", member.User.Email, member.Role)
		}
	}
	// What is allowed: an admin changes its like, and a narrow token takes away.
	if err := change(admin, viewer.UserID, authz.RoleAdmin)(); err != nil {
		t.Error(fault.Detail(err))
	}
	if err := b.svc.RemoveMember(t.Context(), token, viewer.UserID); err != nil {
		t.Error(fault.Detail(err))
	}
}

func TestMembersOfAnotherTenantAreNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mine, yours := b.owner(t, "mine"), b.owner(t, "yours")
	_, theirs := b.svc.ChangeMemberRole(t.Context(), mine, yours.UserID, authz.RoleViewer)
	wantFault(t, theirs, fault.CodeNotFound, "")
	wantFault(t, b.svc.RemoveMember(t.Context(), mine, yours.UserID), fault.CodeNotFound, "")
	wantFault(t, b.svc.RemoveMember(t.Context(), mine, flow.ID{9}), fault.CodeNotFound, "")
	if p := b.verify(t, b.signIn(t, "yours@example.com"), "yours"); p.Role != authz.RoleOwner {
		t.Errorf("role %s", p.Role)
	}
}

func (b *bench) signIn(t *testing.T, email string) string {
	t.Helper()
	session, err := b.svc.SignIn(t.Context(), email, password)
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	return session.Secret
}

func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.owner(t, "acme")
	for range 2 {
		_, err := b.svc.ChangeMemberRole(t.Context(), owner, owner.UserID, authz.RoleAdmin)
		wantFault(t, err, fault.CodeFailedPrecondition, "")
		if !fault.HasReason(err, ReasonLastOwner) {
			t.Error(err)
		}
		wantFault(t, b.svc.RemoveMember(t.Context(), owner, owner.UserID), fault.CodeFailedPrecondition, "")
	}
	if _, err := b.svc.ChangeMemberRole(t.Context(), owner, owner.UserID, authz.RoleOwner); err != nil {
		t.Errorf("the role that it has: %v", fault.Detail(err))
	}
	// Two owners who demote each other at the same moment: one of them stays.
	second := b.member(t, owner, "acme", "bob", authz.RoleOwner)
	var wait sync.WaitGroup
	failures := make(chan error, 2)
	for _, user := range []flow.ID{owner.UserID, second.UserID} {
		wait.Go(func() { failures <- b.svc.RemoveMember(t.Context(), owner, user) })
	}
	wait.Wait()
	close(failures)
	refused := 0
	for err := range failures {
		if err != nil {
			refused++
			wantFault(t, err, fault.CodeFailedPrecondition, "")
		}
	}
	var owners int
	if err := b.pool.QueryRow(t.Context(), "select count(*) from members where role = 'owner'").Scan(&owners); err != nil || owners != 1 || refused != 1 {
		t.Errorf("%d owners, %d refusals, %v", owners, refused, err)
	}
}

func TestAChangedRoleWorksElsewhereWithinASecond(t *testing.T) {
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
			session := b.signUp(t, "bob@example.com")
			if _, err := b.svc.AddMember(t.Context(), owner, "bob@example.com", authz.RoleDeveloper); err != nil {
				t.Fatal(fault.Detail(err))
			}
			ended := func(what string, change func() error) {
				t.Helper()
				stream, stop := b.verifier.Guard(t.Context(), b.verify(t, session.Secret, "acme"))
				defer stop()
				bystander, stop := b.verifier.Guard(t.Context(), owner)
				defer stop()
				if err := change(); err != nil {
					t.Fatal(fault.Detail(err))
				}
				began := time.Now() // a second from the answer
				<-stream.Done()
				if took := time.Since(began); took > time.Second {
					t.Errorf("%s took %s", what, took)
				}
				if cause := context.Cause(stream); !fault.HasReason(cause, authn.ReasonMembershipChanged) {
					t.Errorf("%s: the stream ended with %v", what, cause)
				}
				if bystander.Err() != nil {
					t.Errorf("%s: another member's stream ended", what)
				}
			}
			ended("the change", func() error {
				_, err := b.svc.ChangeMemberRole(t.Context(), owner, session.User.ID, authz.RoleViewer)
				return err
			})
			if p := b.verify(t, session.Secret, "acme"); p.Role != authz.RoleViewer {
				t.Errorf("after the change the role is %s", p.Role)
			}
			ended("the removal", func() error { return b.svc.RemoveMember(t.Context(), owner, session.User.ID) })
			if _, err := b.verifier.Verify(t.Context(), session.Secret, "acme"); !fault.HasReason(err, authn.ReasonNotAMember) {
				t.Errorf("after the removal: %v", err)
			}
			b.verify(t, session.Secret, "") // the sign-in itself is good
		})
	}
}
