package identity

import (
	"context"
	"hash/fnv"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
)

// shards is the number of rows in the shards table.
const shards = 64

// CreateTenant makes a tenant with the calling user as its owner and puts it on a shard. displayName defaults to the slug. AlreadyExists, field
// slug, when the slug is taken.
func (s *Service) CreateTenant(ctx context.Context, caller authn.Principal, slug, displayName string) (Tenant, error) {
	if displayName == "" {
		displayName = slug
	}
	tenant := Tenant{ID: s.newID(), Slug: slug, DisplayName: displayName, Created: s.now()}
	err := pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		queries := s.queries.WithTx(tx)
		var err error
		tenant.Number, err = queries.InsertTenant(ctx, identityq.InsertTenantParams{
			PublicID: tenant.ID, Slug: tenant.Slug, DisplayName: tenant.DisplayName, CreatedAt: tenant.Created,
		})
		if err != nil {
			return err
		}
		err = queries.InsertMember(ctx, identityq.InsertMemberParams{
			TenantID: tenant.Number, UserID: caller.UserID, Role: authz.RoleOwner, CreatedAt: tenant.Created,
		})
		if err != nil {
			return err
		}
		return queries.InsertTenantShard(ctx, identityq.InsertTenantShardParams{TenantID: tenant.Number, Shard: shardOf(tenant.ID)})
	})
	if pg.IsUniqueViolation(err, "tenants_slug_key") {
		return Tenant{}, fault.AlreadyExists("tenant", slug).WithFields(fault.Field{Path: "slug", Message: "another tenant has this name: choose another"})
	}
	if err != nil {
		return Tenant{}, pg.Fault(err)
	}
	return tenant, nil
}

// shardOf spreads tenants evenly: ids made at one moment differ in their random part.
func shardOf(id flow.ID) int32 {
	hash := fnv.New64a()
	_, _ = hash.Write(id[:]) // a hash takes everything
	return int32(hash.Sum64() % shards)
}
