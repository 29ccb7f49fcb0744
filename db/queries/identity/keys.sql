-- The signing keys. The instant comes in as a value: the process that signs decides by one clock.

-- name: LockSigningKeys :exec
SELECT pg_advisory_xact_lock(7322, 2);

-- name: SigningKey :one
SELECT kid, public_key, sealed_key, signs_until FROM signing_keys
WHERE signs_from <= @at AND (signs_until IS NULL OR signs_until > @at)
ORDER BY signs_from DESC, kid DESC
LIMIT 1;

-- name: NewestSigningKey :one
SELECT kid, signs_from FROM signing_keys ORDER BY signs_from DESC, kid DESC LIMIT 1;

-- name: SigningKeys :many
SELECT kid, public_key, created_at, signs_from, signs_until, verify_until FROM signing_keys ORDER BY signs_from DESC, kid DESC;

-- name: InsertSigningKey :exec
INSERT INTO signing_keys (kid, public_key, sealed_key, created_at, signs_from) VALUES (@kid, @public_key, @sealed_key, @created_at, @signs_from);

-- name: EndSigning :exec
UPDATE signing_keys SET signs_until = @at WHERE signs_until IS NULL AND kid <> @successor;

-- A key that has stopped signing verifies until its last token has expired. It is asked some time after the stop, when all of them are recorded.
-- name: RetireSigningKeys :execrows
UPDATE signing_keys k SET verify_until = greatest(k.signs_until,
  (SELECT max(t.expires_at) FROM tokens t WHERE t.kid = k.kid), (SELECT max(s.expires_at) FROM user_sessions s WHERE s.kid = k.kid)) + interval '1 hour'
WHERE k.verify_until IS NULL AND k.signs_until < @stopped_before;

-- name: DropSigningKeys :many
DELETE FROM signing_keys WHERE verify_until < @at RETURNING kid;

-- name: SealedKeys :many
SELECT kid, sealed_key FROM signing_keys ORDER BY kid FOR UPDATE;

-- name: ResealKey :exec
UPDATE signing_keys SET sealed_key = @sealed_key WHERE kid = @kid;
