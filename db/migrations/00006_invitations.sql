-- +goose Up

-- Links that make whoever accepts them a member, once. The secret is in the link alone.
CREATE TABLE invitations (
  tenant_id   bigint NOT NULL REFERENCES tenants (id),
  id          uuid NOT NULL,
  role        text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'viewer')),
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  created_at  timestamptz NOT NULL DEFAULT now(),
  created_by  text NOT NULL,
  expires_at  timestamptz NOT NULL,
  accepted_at timestamptz,
  accepted_by uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  revoked_at  timestamptz,
  PRIMARY KEY (tenant_id, id),
  CHECK ((accepted_at IS NULL) = (accepted_by = '00000000-0000-0000-0000-000000000000')),
  CHECK (accepted_at IS NULL OR revoked_at IS NULL)
);
CREATE INDEX invitations_expiry ON invitations (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON invitations TO tenon_engine;

-- Written at most once a minute, for all tokens in use at once.
ALTER TABLE tokens ADD COLUMN last_used_at timestamptz;

-- +goose Down
ALTER TABLE tokens DROP COLUMN last_used_at;
DROP TABLE invitations;
