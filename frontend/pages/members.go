package pages

import (
	"time"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

// MembersView is the tenant's members at the instant Now, oldest first.
type MembersView struct {
	Members []*identityv1.Member
	// Invitations are the newest links that have been made.
	Invitations []*identityv1.Invitation
	Next        string
	Now         time.Time
}

// MemberForm is a person to be added, as the form shows it again after a refusal.
type MemberForm struct{ Email, Role, Error string }

// personName is what people call a user.
func personName(u *identityv1.User) string {
	if u.GetDisplayName() != "" {
		return u.GetDisplayName()
	}
	return u.GetEmail()
}

func roleOptions() []string { return []string{"owner", "admin", "developer", "viewer"} }

func invitationStatus(one *identityv1.Invitation, now time.Time) Status {
	switch {
	case one.GetAcceptTime() != nil:
		return Status{"Accepted", "ok"}
	case one.GetRevokeTime() != nil:
		return Status{"Revoked", "idle"}
	case !one.GetExpireTime().AsTime().After(now):
		return Status{"Ended", "idle"}
	default:
		return Status{"Open", "busy"}
	}
}
