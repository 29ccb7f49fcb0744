-- name: InsertUser :exec
INSERT INTO users (id, email, display_name, password_hash, created_at)
VALUES (@id, @email, @display_name, @password_hash, @created_at);

-- name: UserByEmail :one
SELECT id, email, display_name, password_hash, created_at FROM users WHERE lower(email) = lower(@email);

-- name: UserByID :one
SELECT id, email, display_name, created_at FROM users WHERE id = @id;

-- name: InsertSession :exec
INSERT INTO user_sessions (user_id, id, created_at, expires_at) VALUES (@user_id, @id, @created_at, @expires_at);

-- name: RevokeSession :one
UPDATE user_sessions SET revoked_at = coalesce(revoked_at, now())
WHERE user_id = @user_id AND id = @id
RETURNING expires_at;
