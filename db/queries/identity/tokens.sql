-- name: InsertToken :exec
INSERT INTO tokens (tenant_id, id, name, kind, role, scopes, created_at, created_by, expires_at)
VALUES (@tenant_id, @id, @name, @kind, @role, @scopes, @created_at, @created_by, @expires_at);

-- name: TokenByID :one
SELECT * FROM tokens WHERE tenant_id = @tenant_id AND id = @id;

-- name: TokensBefore :many
SELECT * FROM tokens WHERE tenant_id = @tenant_id AND id < @before_id ORDER BY id DESC LIMIT @page_size::int;

-- name: RevokeToken :one
UPDATE tokens SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = @tenant_id AND id = @id RETURNING *;

-- LockRevocations makes numbers rise in the order of commits: it is held until the transaction ends.
-- name: LockRevocations :exec
SELECT pg_advisory_xact_lock(7322, 1);

-- A token that was revoked before keeps its number.
-- name: AddRevocation :one
INSERT INTO revocations (number, token_id, expires_at)
SELECT coalesce(max(number), 0) + 1, @token_id, @expires_at FROM revocations
ON CONFLICT (token_id) DO UPDATE SET expires_at = excluded.expires_at
RETURNING number;

-- The newest row stays whatever its age: the next number is counted from it.
-- name: PruneRevocations :exec
DELETE FROM revocations WHERE expires_at < now() - interval '1 hour' AND number < (SELECT max(number) FROM revocations);

-- name: LockSigningKeys :exec
SELECT pg_advisory_xact_lock(7322, 2);

-- name: SigningKey :one
SELECT kid, public_key, sealed_key FROM signing_keys WHERE signs_until IS NULL OR signs_until > now() ORDER BY created_at DESC LIMIT 1;

-- name: InsertSigningKey :exec
INSERT INTO signing_keys (kid, public_key, sealed_key) VALUES (@kid, @public_key, @sealed_key);
