package identity

import (
	"context"
	"time"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
)

// GetTenant reads the tenant of the call.
func (s *Service) GetTenant(ctx context.Context, caller authn.Principal) (Tenant, error) {
	row, err := s.queries.TenantByID(ctx, caller.TenantID)
	if err != nil {
		return Tenant{}, pg.Fault(err)
	}
	return tenantFromRow(row), nil
}

// ListTenants lists the tenants that the calling user is a member of, oldest first, and the token of the next page, empty on the last.
func (s *Service) ListTenants(ctx context.Context, caller authn.Principal, page Page) ([]Membership, string, error) {
	const list = "tenants"
	after, err := page.cursor(list)
	if err != nil {
		return nil, "", err
	}
	params := identityq.TenantsOfUserParams{UserID: caller.UserID, PageSize: page.size() + 1}
	if after != nil {
		params.AfterID = after.Num
	}
	rows, err := s.queries.TenantsOfUser(ctx, params)
	if err != nil {
		return nil, "", pg.Fault(err)
	}
	rows, next, err := cut(rows, page.size(), func(row identityq.TenantsOfUserRow) cursor { return cursor{List: list, Num: row.ID} })
	memberships := make([]Membership, len(rows))
	for i, row := range rows {
		tenant := Tenant{Number: row.ID, ID: row.PublicID, Slug: row.Slug, DisplayName: row.DisplayName, Created: row.CreatedAt}
		memberships[i] = Membership{Tenant: tenant, Role: row.Role}
	}
	return memberships, next, err
}

// ListMembers lists the members of the call's tenant, oldest first, and the token of the next page, empty on the last.
func (s *Service) ListMembers(ctx context.Context, caller authn.Principal, page Page) ([]Member, string, error) {
	const list = "members"
	after, err := page.cursor(list)
	if err != nil {
		return nil, "", err
	}
	params := identityq.MembersParams{TenantID: caller.TenantID, PageSize: page.size() + 1}
	if after != nil {
		params.AfterTime, params.AfterUser = time.UnixMicro(after.Num), idOf(after.ID)
	}
	rows, err := s.queries.Members(ctx, params)
	if err != nil {
		return nil, "", pg.Fault(err)
	}
	rows, next, err := cut(rows, page.size(), func(row identityq.MembersRow) cursor {
		return cursor{List: list, Num: row.CreatedAt.UnixMicro(), ID: row.ID[:]}
	})
	members := make([]Member, len(rows))
	for i, row := range rows {
		user := User{ID: row.ID, Email: row.Email, DisplayName: row.DisplayName, Created: row.UserCreatedAt}
		members[i] = Member{User: user, Role: row.Role, Joined: row.CreatedAt}
	}
	return members, next, err
}

// idOf reads a cursor's id, whose length has been checked.
func idOf(raw []byte) flow.ID {
	var id flow.ID
	copy(id[:], raw)
	return id
}

// RenameTenant changes the display name of the call's tenant.
func (s *Service) RenameTenant(ctx context.Context, caller authn.Principal, displayName string) (Tenant, error) {
	row, err := s.queries.RenameTenant(ctx, identityq.RenameTenantParams{ID: caller.TenantID, DisplayName: displayName})
	if err != nil {
		return Tenant{}, pg.Fault(err)
	}
	return Tenant{Number: row.ID, ID: row.PublicID, Slug: row.Slug, DisplayName: row.DisplayName, Created: row.CreatedAt}, nil
}
