-- +goose Up

-- Sessions: what a user is shown of each sign-in. last_used_at is written at most once in five minutes.
ALTER TABLE user_sessions
  ADD COLUMN last_used_at timestamptz NOT NULL DEFAULT now(),
  ADD COLUMN user_agent   text NOT NULL DEFAULT '' CHECK (octet_length(user_agent) <= 256),
  ADD COLUMN address      text NOT NULL DEFAULT '' CHECK (octet_length(address) <= 64),
  ADD COLUMN kid          text NOT NULL DEFAULT ''; -- the key that signed its token
CREATE INDEX user_sessions_expiry ON user_sessions (expires_at);

ALTER TABLE tokens ADD COLUMN kid text NOT NULL DEFAULT '';

-- A key is announced when it is made, signs from signs_from until signs_until, and verifies until the last token it signed has expired.
ALTER TABLE signing_keys ADD COLUMN signs_from timestamptz NOT NULL DEFAULT now();
UPDATE signing_keys SET signs_from = created_at;
UPDATE tokens SET kid = coalesce((SELECT kid FROM signing_keys ORDER BY created_at DESC LIMIT 1), '');
UPDATE user_sessions SET last_used_at = created_at, kid = coalesce((SELECT kid FROM signing_keys ORDER BY created_at DESC LIMIT 1), '');

-- A change of a member's role has a number among the revocations: it ends streams and forgets remembered roles, and revokes no token. Then
-- token_id is the change's own id, and user and tenant are set.
ALTER TABLE revocations
  ADD COLUMN user_id   uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  ADD COLUMN tenant_id bigint NOT NULL DEFAULT 0;

-- What later migrations make is the engine's to use too. The record of migrations is the owner's alone to write.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tenon_engine;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO tenon_engine;
-- +goose StatementBegin
DO $$
BEGIN
  IF to_regclass('goose_db_version') IS NOT NULL THEN
    REVOKE INSERT, UPDATE, DELETE ON goose_db_version FROM tenon_engine;
  END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM tenon_engine;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE USAGE, SELECT ON SEQUENCES FROM tenon_engine;
DELETE FROM revocations WHERE tenant_id <> 0;
ALTER TABLE revocations DROP COLUMN user_id, DROP COLUMN tenant_id;
ALTER TABLE signing_keys DROP COLUMN signs_from;
ALTER TABLE tokens DROP COLUMN kid;
DROP INDEX user_sessions_expiry;
ALTER TABLE user_sessions DROP COLUMN last_used_at, DROP COLUMN user_agent, DROP COLUMN address, DROP COLUMN kid;
