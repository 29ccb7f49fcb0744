package identity

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/proto/typeid"
)

// The reasons of the faults that the changes of members give.
const (
	ReasonUserUnknown = "USER_UNKNOWN"
	ReasonRoleTooHigh = "ROLE_TOO_HIGH"
	ReasonLastOwner   = "LAST_OWNER"
	ReasonMembersFull = "MEMBERS_FULL"
)

// AddMember makes the user with the address a member of the call's tenant. Errors: NotFound, field email, when nobody has signed up with it;
// AlreadyExists for a member; PermissionDenied for a role that allows more than the caller may do; ResourceExhausted when the tenant has
// Config.MaxMembers members, or has asked for thirty unknown addresses within ten minutes.
func (s *Service) AddMember(ctx context.Context, caller authn.Principal, email, role string) (Member, error) {
	if err := s.mayGive(caller, role); err != nil {
		return Member{}, err
	}
	email = strings.TrimSpace(email)
	// Sign-up tells anybody whether an address is taken, so this tells no more; it must not be the faster way to ask for many.
	tenant := publicID(typeid.Tenant, caller.Tenant)
	if err := s.misses.begin(tenant, s.cfg.Now()); err != nil {
		return Member{}, err
	}
	row, err := s.queries.UserByEmail(ctx, email)
	if errors.Is(err, pgx.ErrNoRows) {
		return Member{}, fault.New(fault.CodeNotFound, ReasonUserUnknown, "nobody has signed up with this address: ask the person to sign up first, then add the member again").
			WithResource("user", email).WithFields(fault.Field{Path: "email", Message: "is no user's address"})
	}
	s.misses.takeBack(tenant)
	if err != nil {
		return Member{}, pg.Fault(err)
	}
	member := Member{User: User{ID: row.ID, Email: row.Email, DisplayName: row.DisplayName, Created: row.CreatedAt}, Role: role, Joined: s.now()}
	err = pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		queries := s.queries.WithTx(tx)
		if _, err := queries.LockTenant(ctx, caller.TenantID); err != nil {
			return err
		}
		count, err := queries.CountMembers(ctx, caller.TenantID)
		if err != nil {
			return err
		}
		if count >= int64(s.cfg.MaxMembers) {
			return fault.ResourceExhausted(ReasonMembersFull, "the tenant has %d members, which is the most: remove one first", count)
		}
		return queries.InsertMember(ctx, identityq.InsertMemberParams{TenantID: caller.TenantID, UserID: row.ID, Role: role, CreatedAt: member.Joined})
	})
	if pg.IsUniqueViolation(err, "members_pkey") {
		return Member{}, fault.AlreadyExists("member", publicID(typeid.User, row.ID)).
			WithFields(fault.Field{Path: "email", Message: "is a member's address already: change the member's role instead"})
	}
	if err != nil {
		return Member{}, pg.Fault(err)
	}
	return member, nil
}

// ChangeMemberRole gives a member of the call's tenant another role, everywhere within a second: streams that the member has open in the tenant end.
// Errors: NotFound for who is no member; PermissionDenied when the old or the new role allows more than the caller may do; FailedPrecondition for
// the last owner.
func (s *Service) ChangeMemberRole(ctx context.Context, caller authn.Principal, user flow.ID, role string) (Member, error) {
	if err := s.mayGive(caller, role); err != nil {
		return Member{}, err
	}
	var member Member
	err := s.changeMember(ctx, caller, user, func(queries *identityq.Queries, found Member) (changed bool, err error) {
		member, member.Role = found, role
		if found.Role == role {
			return false, nil
		}
		return true, queries.ChangeMemberRole(ctx, identityq.ChangeMemberRoleParams{TenantID: caller.TenantID, UserID: user, Role: role})
	})
	return member, err
}

// RemoveMember takes a member out of the call's tenant, with the effects and errors of ChangeMemberRole. Tokens that the member has made stay.
func (s *Service) RemoveMember(ctx context.Context, caller authn.Principal, user flow.ID) error {
	return s.changeMember(ctx, caller, user, func(queries *identityq.Queries, _ Member) (bool, error) {
		return true, queries.DeleteMember(ctx, identityq.DeleteMemberParams{TenantID: caller.TenantID, UserID: user})
	})
}

// changeMember runs change, which may only take rights away from an owner, under the tenant's lock, and gives the change a number.
func (s *Service) changeMember(ctx context.Context, caller authn.Principal, user flow.ID, change func(*identityq.Queries, Member) (bool, error)) error {
	var number int64
	err := pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		queries := s.queries.WithTx(tx)
		if _, err := queries.LockTenant(ctx, caller.TenantID); err != nil {
			return err
		}
		row, err := queries.MemberByID(ctx, identityq.MemberByIDParams{TenantID: caller.TenantID, UserID: user})
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("member", publicID(typeid.User, user))
		}
		if err != nil {
			return err
		}
		if err := s.mayTake(caller, row.Role); err != nil {
			return err
		}
		found := Member{User: User{ID: row.ID, Email: row.Email, DisplayName: row.DisplayName, Created: row.UserCreatedAt}, Role: row.Role, Joined: row.CreatedAt}
		changed, err := change(queries, found)
		if err != nil || !changed {
			return err
		}
		if row.Role == authz.RoleOwner {
			owners, err := queries.CountOwners(ctx, caller.TenantID)
			if err != nil {
				return err
			}
			if owners == 0 {
				return fault.FailedPrecondition(ReasonLastOwner, "this is the tenant's last owner: make another member an owner first").
					WithResource("member", publicID(typeid.User, user))
			}
		}
		if err := queries.LockRevocations(ctx); err != nil {
			return err
		}
		number, err = queries.AddMembershipChange(ctx, identityq.AddMembershipChangeParams{ID: s.newID(), UserID: user, TenantID: caller.TenantID})
		return err
	})
	if err != nil {
		return pg.Fault(err)
	}
	if number != 0 {
		s.announce(number)
	}
	return nil
}

// mayGive lets nobody hand out more than the caller has, its token's scopes counted.
func (s *Service) mayGive(caller authn.Principal, role string) error {
	if role == "" {
		return fault.InvalidField("role", "must be owner, admin, developer or viewer")
	}
	if err := s.cfg.Authorizer.Covers(caller, role, nil); err != nil {
		return roleTooHigh(caller, role).WithCause(err)
	}
	return nil
}

// mayTake lets nobody change who stands above the caller: the role counts, and not how far a token narrows it.
func (s *Service) mayTake(caller authn.Principal, role string) error {
	if err := s.cfg.Authorizer.Covers(authn.Principal{Role: caller.Role}, role, nil); err != nil {
		return roleTooHigh(caller, role).WithCause(err)
	}
	return nil
}

func roleTooHigh(caller authn.Principal, role string) *fault.Error {
	return fault.PermissionDenied(ReasonRoleTooHigh,
		"the role %q allows more than your own role %q (with its scopes): ask an owner to give it, change it or take it away", role, caller.Role)
}
