-- name: InsertTenant :one
INSERT INTO tenants (public_id, slug, display_name, created_at) VALUES (@public_id, @slug, @display_name, @created_at)
RETURNING id;

-- name: InsertMember :exec
INSERT INTO members (tenant_id, user_id, role, created_at) VALUES (@tenant_id, @user_id, @role, @created_at);

-- name: InsertTenantShard :exec
INSERT INTO tenant_shards (tenant_id, shard) VALUES (@tenant_id, @shard);

-- name: TenantByID :one
SELECT id, public_id, slug, display_name, created_at FROM tenants WHERE id = @id;

-- name: TenantsOfUser :many
SELECT t.id, t.public_id, t.slug, t.display_name, t.created_at, m.role
FROM members m JOIN tenants t ON t.id = m.tenant_id
WHERE m.user_id = @user_id AND m.tenant_id > @after_id
ORDER BY m.tenant_id
LIMIT @page_size::int;

-- name: Members :many
SELECT u.id, u.email, u.display_name, u.created_at AS user_created_at, m.role, m.created_at
FROM members m JOIN users u ON u.id = m.user_id
WHERE m.tenant_id = @tenant_id AND (m.created_at, m.user_id) > (@after_time::timestamptz, @after_user::uuid)
ORDER BY m.created_at, m.user_id
LIMIT @page_size::int;

-- LockTenant makes changes of a tenant's members take turns, so that the count of owners holds.
-- name: LockTenant :one
SELECT id FROM tenants WHERE id = @id FOR NO KEY UPDATE;

-- name: CountMembers :one
SELECT count(*) FROM members WHERE tenant_id = @tenant_id;

-- name: CountOwners :one
SELECT count(*) FROM members WHERE tenant_id = @tenant_id AND role = 'owner';

-- name: MemberByID :one
SELECT u.id, u.email, u.display_name, u.created_at AS user_created_at, m.role, m.created_at
FROM members m JOIN users u ON u.id = m.user_id
WHERE m.tenant_id = @tenant_id AND m.user_id = @user_id;

-- name: ChangeMemberRole :exec
UPDATE members SET role = @role WHERE tenant_id = @tenant_id AND user_id = @user_id;

-- name: DeleteMember :exec
DELETE FROM members WHERE tenant_id = @tenant_id AND user_id = @user_id;

-- name: RenameTenant :one
UPDATE tenants SET display_name = @display_name WHERE id = @id RETURNING id, public_id, slug, display_name, created_at;
