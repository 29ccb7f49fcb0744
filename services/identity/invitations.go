package identity

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/proto/typeid"
)

// The reasons of the faults that invitations give.
const (
	ReasonInvitationsFull  = "INVITATIONS_FULL"
	ReasonInvitationUsed   = "INVITATION_USED"
	ReasonInvitationEnded  = "INVITATION_ENDED"
	ReasonInvitationBadKey = "INVITATION_UNKNOWN"
)

const (
	defaultInvitationLifetime = 7 * 24 * time.Hour
	maxInvitationLifetime     = 30 * 24 * time.Hour
	maxOpenInvitations        = 200
	invitationSecretBytes     = 32
)

// Invitation is a link to become a member, without its secret.
type Invitation struct {
	ID         flow.ID
	Role       string
	Creator    string
	Created    time.Time
	Expires    time.Time
	Accepted   *time.Time
	AcceptedBy flow.ID
	Revoked    *time.Time
}

// Invite makes an invitation to the call's tenant and returns it with its token, which is kept nowhere: the row has a hash of the secret.
func (s *Service) Invite(ctx context.Context, caller authn.Principal, role string, lifetime time.Duration) (Invitation, string, error) {
	if err := s.mayGive(caller, role); err != nil {
		return Invitation{}, "", err
	}
	if lifetime == 0 {
		lifetime = defaultInvitationLifetime
	}
	if lifetime < time.Second || lifetime > maxInvitationLifetime {
		return Invitation{}, "", fault.InvalidField("lifetime", "must be between 1 s and 30 days")
	}
	var secret [invitationSecretBytes]byte
	_, _ = rand.Read(secret[:]) // never fails: the program ends if the system has no randomness
	hash := sha256.Sum256(secret[:])
	now := s.now()
	made := Invitation{ID: s.newID(), Role: role, Creator: creator(caller), Created: now, Expires: now.Add(lifetime)}
	err := pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		queries := s.queries.WithTx(tx)
		if _, err := queries.LockTenant(ctx, caller.TenantID); err != nil {
			return err
		}
		open, err := queries.CountOpenInvitations(ctx, caller.TenantID)
		if err != nil {
			return err
		}
		if open >= maxOpenInvitations {
			return fault.ResourceExhausted(ReasonInvitationsFull, "the tenant has %d open invitations, which is the most: revoke some, or wait until they expire", open)
		}
		return queries.InsertInvitation(ctx, identityq.InsertInvitationParams{
			TenantID: caller.TenantID, ID: made.ID, Role: role, SecretHash: hash[:], CreatedAt: made.Created, CreatedBy: made.Creator, ExpiresAt: made.Expires,
		})
	})
	if err != nil {
		return Invitation{}, "", pg.Fault(err)
	}
	token := publicID(typeid.Tenant, caller.Tenant) + "." + publicID(typeid.Invite, made.ID) + "." + base64.RawURLEncoding.EncodeToString(secret[:])
	return made, token, nil
}

// ListInvitations lists the invitations of the call's tenant, newest first, and the token of the next page, empty on the last.
func (s *Service) ListInvitations(ctx context.Context, caller authn.Principal, page Page) ([]Invitation, string, error) {
	const list = "invitations"
	after, err := page.cursor(list)
	if err != nil {
		return nil, "", err
	}
	params := identityq.InvitationsBeforeParams{TenantID: caller.TenantID, PageSize: page.size() + 1, BeforeID: flow.ID(bytes.Repeat([]byte{0xff}, len(flow.ID{})))}
	if after != nil {
		params.BeforeID = idOf(after.ID)
	}
	rows, err := s.queries.InvitationsBefore(ctx, params)
	if err != nil {
		return nil, "", pg.Fault(err)
	}
	rows, next, err := cut(rows, page.size(), func(row identityq.Invitation) cursor { return cursor{List: list, ID: row.ID[:]} })
	out := make([]Invitation, len(rows))
	for i, row := range rows {
		out[i] = invitationFromRow(row)
	}
	return out, next, err
}

// RevokeInvitation makes an invitation of the call's tenant useless. NotFound for one that is not the tenant's; FailedPrecondition for one that was accepted.
func (s *Service) RevokeInvitation(ctx context.Context, caller authn.Principal, id flow.ID) (Invitation, error) {
	row, err := s.queries.RevokeInvitation(ctx, identityq.RevokeInvitationParams{TenantID: caller.TenantID, ID: id})
	if errors.Is(err, pgx.ErrNoRows) {
		return Invitation{}, fault.NotFound("invitation", publicID(typeid.Invite, id))
	}
	if err != nil {
		return Invitation{}, pg.Fault(err)
	}
	if row.AcceptedAt != nil {
		return Invitation{}, fault.FailedPrecondition(ReasonInvitationUsed, "the invitation has been accepted: remove the member instead").
			WithResource("invitation", publicID(typeid.Invite, id))
	}
	return invitationFromRow(row), nil
}

// ReadInvitation tells who has an invitation's token what it is to. NotFound for a token that nobody made.
func (s *Service) ReadInvitation(ctx context.Context, token string) (Tenant, Invitation, error) {
	unknown := fault.New(fault.CodeNotFound, ReasonInvitationBadKey, "there is no such invitation: use the whole link as it was given, or ask for another")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Tenant{}, Invitation{}, unknown
	}
	tenant, tenantErr := typeid.Parse(typeid.Tenant, parts[0])
	id, idErr := typeid.Parse(typeid.Invite, parts[1])
	secret, secretErr := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if tenantErr != nil || idErr != nil || secretErr != nil || len(secret) != invitationSecretBytes {
		return Tenant{}, Invitation{}, unknown
	}
	row, err := s.queries.InvitationOfTenant(ctx, identityq.InvitationOfTenantParams{Tenant: tenant, ID: id})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Tenant{}, Invitation{}, pg.Fault(err)
	}
	hash := sha256.Sum256(secret)
	if subtle.ConstantTimeCompare(hash[:], row.Invitation.SecretHash) != 1 { // of no row, it is empty
		return Tenant{}, Invitation{}, unknown
	}
	return tenantFromRow(row.Tenant), invitationFromRow(row.Invitation), nil
}

// AcceptInvitation makes the calling user a member, and uses the invitation up.
func (s *Service) AcceptInvitation(ctx context.Context, caller authn.Principal, token string) (Tenant, string, error) {
	tenant, invitation, err := s.ReadInvitation(ctx, token)
	if err != nil {
		return Tenant{}, "", err
	}
	now := s.now()
	err = pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		queries := s.queries.WithTx(tx)
		if _, err := queries.LockTenant(ctx, tenant.Number); err != nil {
			return err
		}
		count, err := queries.CountMembers(ctx, tenant.Number)
		if err != nil {
			return err
		}
		if count >= int64(s.cfg.MaxMembers) {
			return fault.ResourceExhausted(ReasonMembersFull, "the tenant has %d members, which is the most: ask an owner or admin to remove one", count)
		}
		accepted, err := queries.AcceptInvitation(ctx, identityq.AcceptInvitationParams{
			TenantID: tenant.Number, ID: invitation.ID, AcceptedAt: now, AcceptedBy: caller.UserID,
		})
		if err != nil {
			return err
		}
		if accepted == 0 {
			return ended(invitation)
		}
		return queries.InsertMember(ctx, identityq.InsertMemberParams{TenantID: tenant.Number, UserID: caller.UserID, Role: invitation.Role, CreatedAt: now})
	})
	if pg.IsUniqueViolation(err, "members_pkey") {
		return Tenant{}, "", fault.AlreadyExists("member", publicID(typeid.User, caller.UserID))
	}
	if err != nil {
		return Tenant{}, "", pg.Fault(err)
	}
	return tenant, invitation.Role, nil
}

// ended says why an invitation cannot be accepted.
func ended(i Invitation) error {
	reason, text := ReasonInvitationEnded, "the invitation has expired or was revoked: ask for another"
	if i.Accepted != nil || i.Revoked == nil && i.Expires.After(time.Now()) {
		reason, text = ReasonInvitationUsed, "the invitation has been accepted already: ask for another"
	}
	return fault.FailedPrecondition(reason, "%s", text).WithResource("invitation", publicID(typeid.Invite, i.ID))
}

func invitationFromRow(row identityq.Invitation) Invitation {
	return Invitation{
		ID: row.ID, Role: row.Role, Creator: row.CreatedBy, Created: row.CreatedAt, Expires: row.ExpiresAt, Accepted: row.AcceptedAt, AcceptedBy: row.AcceptedBy,
		Revoked: row.RevokedAt,
	}
}
