-- What every process reads to know its callers. internal/authn is the reader.

-- name: VerifyingKeys :many
SELECT kid, public_key, verify_until FROM signing_keys WHERE verify_until IS NULL OR verify_until > now();

-- name: NewestRevocation :one
SELECT coalesce(max(number), 0)::bigint AS number FROM revocations;

-- name: RevocationsAfter :many
SELECT number, token_id, expires_at, user_id, tenant_id FROM revocations WHERE number > @after AND expires_at > now() ORDER BY number;

-- name: TenantByPublicID :one
SELECT id FROM tenants WHERE public_id = @public_id;

-- name: MembershipByPublicID :one
SELECT t.id, t.public_id, m.role
FROM tenants t JOIN members m ON m.tenant_id = t.id
WHERE t.public_id = @public_id AND m.user_id = @user_id;

-- name: MembershipBySlug :one
SELECT t.id, t.public_id, m.role
FROM tenants t JOIN members m ON m.tenant_id = t.id
WHERE t.slug = @slug AND m.user_id = @user_id;

-- Notes that a session is in use, at most once in five minutes.
-- name: TouchSession :exec
UPDATE user_sessions SET last_used_at = now() WHERE user_id = @user_id AND id = @id AND revoked_at IS NULL AND last_used_at < now() - interval '5 minutes';

-- Notes when tokens were used last.
-- name: TouchTokens :exec
UPDATE tokens SET last_used_at = n.used_at
FROM (SELECT unnest(@tenant_ids::bigint[]) AS tenant_id, unnest(@ids::uuid[]) AS id, unnest(@used_ats::timestamptz[]) AS used_at) AS n
WHERE tokens.tenant_id = n.tenant_id AND tokens.id = n.id AND (tokens.last_used_at IS NULL OR tokens.last_used_at < n.used_at);
