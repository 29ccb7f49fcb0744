-- name: InsertToken :exec
INSERT INTO tokens (tenant_id, id, name, kind, role, scopes, created_at, created_by, expires_at, kid)
VALUES (@tenant_id, @id, @name, @kind, @role, @scopes, @created_at, @created_by, @expires_at, @kid);

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

-- Tokens that were not revoked before; the answer is the highest number.
-- name: AddRevocations :one
WITH added AS (
  INSERT INTO revocations (number, token_id, expires_at)
  SELECT (SELECT coalesce(max(r.number), 0) FROM revocations r) + row_number() OVER (ORDER BY item.token_id), item.token_id, item.expires_at
  FROM unnest(@token_ids::uuid[], @expiries::timestamptz[]) AS item (token_id, expires_at)
  ON CONFLICT (token_id) DO NOTHING
  RETURNING number
)
SELECT coalesce(max(number), 0)::bigint AS number FROM added;

-- A changed membership: told until every session that was open at the change has expired.
-- name: AddMembershipChange :one
INSERT INTO revocations (number, token_id, expires_at, user_id, tenant_id)
SELECT coalesce(max(number), 0) + 1, @id,
  greatest(now() + interval '1 hour', (SELECT max(s.expires_at) FROM user_sessions s WHERE s.user_id = @user_id)), @user_id, @tenant_id
FROM revocations
RETURNING number;

-- The newest row stays whatever its age: the next number is counted from it.
-- name: PruneRevocations :exec
DELETE FROM revocations WHERE expires_at < now() - interval '1 hour' AND number < (SELECT max(number) FROM revocations);
