-- name: InsertInvitation :exec
INSERT INTO invitations (tenant_id, id, role, secret_hash, created_at, created_by, expires_at)
VALUES (@tenant_id, @id, @role, @secret_hash, @created_at, @created_by, @expires_at);

-- name: CountOpenInvitations :one
SELECT count(*) FROM invitations WHERE tenant_id = @tenant_id AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now();

-- name: InvitationsBefore :many
SELECT * FROM invitations WHERE tenant_id = @tenant_id AND id < @before_id ORDER BY id DESC LIMIT @page_size::int;

-- name: InvitationOfTenant :one
SELECT sqlc.embed(invitations), sqlc.embed(tenants)
FROM tenants JOIN invitations ON invitations.tenant_id = tenants.id
WHERE tenants.public_id = @tenant AND invitations.id = @id;

-- AcceptInvitation finds nothing when the invitation is not open any more: of two at once, one is accepted.
-- name: AcceptInvitation :execrows
UPDATE invitations SET accepted_at = @accepted_at::timestamptz, accepted_by = @accepted_by
WHERE tenant_id = @tenant_id AND id = @id AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > @accepted_at::timestamptz;

-- RevokeInvitation leaves one that was accepted as it is.
-- name: RevokeInvitation :one
UPDATE invitations SET revoked_at = CASE WHEN accepted_at IS NULL THEN coalesce(revoked_at, now()) END
WHERE tenant_id = @tenant_id AND id = @id RETURNING *;

-- name: PruneInvitations :exec
DELETE FROM invitations WHERE expires_at < now() - interval '30 days';
