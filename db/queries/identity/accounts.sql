-- name: InsertUser :exec
INSERT INTO users (id, email, display_name, password_hash, created_at)
VALUES (@id, @email, @display_name, @password_hash, @created_at);

-- name: UserByEmail :one
SELECT id, email, display_name, password_hash, created_at FROM users WHERE lower(email) = lower(@email);

-- name: UserByID :one
SELECT id, email, display_name, created_at FROM users WHERE id = @id;

-- name: InsertSession :exec
INSERT INTO user_sessions (user_id, id, created_at, last_used_at, expires_at, user_agent, address, kid)
VALUES (@user_id, @id, @created_at, @created_at, @expires_at, @user_agent, @address, @kid);

-- name: RevokeSession :one
UPDATE user_sessions SET revoked_at = coalesce(revoked_at, now())
WHERE user_id = @user_id AND id = @id
RETURNING expires_at;

-- name: RevokeOtherSessions :many
UPDATE user_sessions SET revoked_at = now()
WHERE user_id = @user_id AND id <> @kept_id AND revoked_at IS NULL AND expires_at > now()
RETURNING id, expires_at;

-- name: OpenSessionsBefore :many
SELECT id, created_at, last_used_at, expires_at, user_agent, address FROM user_sessions
WHERE user_id = @user_id AND id < @before_id AND revoked_at IS NULL AND expires_at > now()
ORDER BY id DESC
LIMIT @page_size::int;

-- name: PruneSessions :exec
DELETE FROM user_sessions WHERE expires_at < now() - interval '1 day';
