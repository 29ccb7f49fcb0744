package identity

import (
	"context"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/pg"
)

// Caller describes who makes a call.
type Caller struct {
	User   *User   // set for users
	Token  *Token  // set for API and worker tokens
	Tenant *Tenant // the tenant of the call, if any
	Role   string  // in that tenant
}

// WhoAmI describes the caller.
func (s *Service) WhoAmI(ctx context.Context, caller authn.Principal) (Caller, error) {
	var answer Caller
	if caller.Kind == authn.KindUser {
		row, err := s.queries.UserByID(ctx, caller.UserID)
		if err != nil {
			return Caller{}, pg.Fault(err)
		}
		answer.User = &User{ID: row.ID, Email: row.Email, DisplayName: row.DisplayName, Created: row.CreatedAt}
	} else {
		row, err := s.queries.TokenByID(ctx, identityq.TokenByIDParams{TenantID: caller.TenantID, ID: caller.TokenID})
		if err != nil {
			return Caller{}, pg.Fault(err)
		}
		token := tokenFromRow(row)
		answer.Token = &token
	}
	if caller.TenantID != 0 {
		tenant, err := s.GetTenant(ctx, caller)
		if err != nil {
			return Caller{}, err
		}
		answer.Tenant, answer.Role = &tenant, caller.Role
	}
	return answer, nil
}
