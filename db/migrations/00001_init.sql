-- +goose Up

-- Roles. The migrator owns the tables; the engine role sees all tenants; the reader sees only the tenant set for its transaction.
-- +goose StatementBegin
DO $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'tenon_engine') THEN
    CREATE ROLE tenon_engine NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'tenon_reader') THEN
    CREATE ROLE tenon_reader NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- another database of the cluster is being migrated at this moment
END
$$;
-- +goose StatementEnd

-- Identity -----------------------------------------------------------------------------------------------------------------------

CREATE TABLE tenants (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  public_id    uuid NOT NULL UNIQUE,
  slug         text NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9-]{1,61}[a-z0-9]$'),
  display_name text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
  id            uuid PRIMARY KEY,
  email         text NOT NULL,
  display_name  text NOT NULL,
  password_hash text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email ON users (lower(email));

CREATE TABLE members (
  tenant_id  bigint NOT NULL REFERENCES tenants (id),
  user_id    uuid NOT NULL REFERENCES users (id),
  role       text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'viewer')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX members_user ON members (user_id, tenant_id);

CREATE TABLE tokens (
  tenant_id  bigint NOT NULL REFERENCES tenants (id),
  id         uuid NOT NULL,
  name       text NOT NULL,
  kind       text NOT NULL CHECK (kind IN ('api', 'worker')),
  role       text NOT NULL CHECK (role IN ('', 'owner', 'admin', 'developer', 'viewer')),
  scopes     text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  created_by text NOT NULL,
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  CHECK ((kind = 'api') = (role <> ''))
);

-- Browser and CLI sign-ins. A session is a token of a user, not of a tenant.
CREATE TABLE user_sessions (
  user_id    uuid NOT NULL REFERENCES users (id),
  id         uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  PRIMARY KEY (user_id, id)
);

-- The running number is what beacons carry. It is taken under a lock, so that a lower number is never committed after a higher one.
CREATE TABLE revocations (
  number     bigint PRIMARY KEY,
  token_id   uuid NOT NULL UNIQUE,
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE signing_keys (
  kid          text PRIMARY KEY,
  public_key   bytea NOT NULL,
  sealed_key   bytea NOT NULL, -- private key, AES-256-GCM under the master key
  created_at   timestamptz NOT NULL DEFAULT now(),
  signs_until  timestamptz,    -- null: signs now
  verify_until timestamptz     -- null: verifies
);

-- Registry -----------------------------------------------------------------------------------------------------------------------

-- Inside, a workflow is a small number: it stands in every run and in the history's index.
CREATE TABLE workflows (
  tenant_id      bigint NOT NULL REFERENCES tenants (id),
  id             bigint GENERATED ALWAYS AS IDENTITY,
  public_id      uuid NOT NULL,
  name           text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9._-]{0,99}$'),
  newest_version int NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name)
);

CREATE TABLE workflow_versions (
  tenant_id   bigint NOT NULL,
  workflow_id bigint NOT NULL,
  version     int NOT NULL,
  digest      bytea NOT NULL,
  spec        bytea NOT NULL, -- tenon.registry.v1.WorkflowSpec as declared, deterministic protobuf
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, workflow_id, version),
  FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows (tenant_id, id)
);

-- Shards -------------------------------------------------------------------------------------------------------------------------

CREATE TABLE shards (
  id          int PRIMARY KEY,
  epoch       bigint NOT NULL DEFAULT 0,
  owner       uuid,                          -- instance that holds the lease
  address     text NOT NULL DEFAULT '',      -- what the owner announces
  expires_at  timestamptz NOT NULL DEFAULT '-infinity',
  engine_time bigint NOT NULL DEFAULT 0      -- microseconds; no owner's clock runs below it
);
INSERT INTO shards (id) SELECT generate_series(0, 63);

CREATE TABLE tenant_shards (
  tenant_id bigint PRIMARY KEY REFERENCES tenants (id),
  shard     int NOT NULL REFERENCES shards (id)
);
CREATE INDEX tenant_shards_shard ON tenant_shards (shard, tenant_id);

-- Raises TN001 naming the shards whose epoch is no longer the caller's. The caller holds their shared locks already, in an earlier statement.
-- +goose StatementBegin
CREATE FUNCTION check_epochs(shard_ids int[], epochs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  lost text;
BEGIN
  SELECT string_agg(want.id::text, ',' ORDER BY want.id) INTO lost
  FROM unnest(shard_ids, epochs) AS want (id, epoch)
  LEFT JOIN shards s ON s.id = want.id
  WHERE s.epoch IS DISTINCT FROM want.epoch;
  IF lost IS NOT NULL THEN
    RAISE EXCEPTION '%', lost USING ERRCODE = 'TN001';
  END IF;
END
$$;
-- +goose StatementEnd

-- Open runs ----------------------------------------------------------------------------------------------------------------------
-- One row a run (task_no 0) and, where the workflow has several tasks, one row a task. Times are microseconds of engine time, 0 where
-- unset: arrays of them go through unnest without nulls. Fill factor is low and state stands in no index predicate, so that updates stay HOT.
CREATE TABLE live (
  tenant_id         bigint NOT NULL,
  run_id            uuid NOT NULL,
  task_no           smallint NOT NULL,
  single            boolean NOT NULL,          -- the run row is its only task's row too
  class             smallint NOT NULL CHECK (class IN (1, 2, 3)),
  workflow_id       bigint NOT NULL,
  workflow_version  int NOT NULL,
  state             text NOT NULL CHECK (state IN ('blocked', 'queued', 'assigned', 'running', 'backing_off', 'stopping', 'waiting', 'completed', 'failed', 'cancelled', 'timed_out', 'skipped')),
  generation        int NOT NULL,
  attempt           int NOT NULL,
  lost              int NOT NULL,
  priority          smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
  lane              bigint NOT NULL,           -- 0 where the row waits in no lane
  rank              bigint NOT NULL,
  due_at            bigint NOT NULL,           -- next timer of this row; 0: none
  deadline_at       bigint NOT NULL,           -- end of the whole-run timeout, in run rows; 0: none
  created_at        bigint NOT NULL,
  queued_at         bigint NOT NULL,
  started_at        bigint NOT NULL,
  ended_at          bigint NOT NULL,
  assignment_id     uuid NOT NULL,             -- recorded when the assignment lasts, and the one that won
  worker_id         uuid NOT NULL,
  worker_session    bigint NOT NULL,
  stop_reason       smallint NOT NULL,         -- why a stopping row stops: 0 none, 1 cancelled, 2 timed out, 3 attempt timed out
  request_hash      bytea NOT NULL,
  parent_run_id     uuid NOT NULL,
  parent_task_no    smallint NOT NULL,
  parent_generation int NOT NULL,
  child_key         text NOT NULL,
  child_runs        int NOT NULL,
  traceparent       text NOT NULL,
  input             bytea COMPRESSION lz4,     -- JSON; null where it stands in payloads
  input_ref         uuid NOT NULL,
  output            bytea COMPRESSION lz4,
  output_ref        uuid NOT NULL,
  error             bytea COMPRESSION lz4,     -- JSON {kind, message, stack}
  revision          bigint NOT NULL,
  PRIMARY KEY (tenant_id, run_id, task_no)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX live_lane ON live (tenant_id, lane, rank);
CREATE INDEX live_due ON live (tenant_id, due_at) WHERE due_at > 0;

-- Finished runs ------------------------------------------------------------------------------------------------------------------
-- Insert-only, partitioned by retention class and then by id (UUIDv7, so by age). Partitions are made ahead and dropped whole.
CREATE TABLE history_runs (
  tenant_id         bigint NOT NULL,
  class             smallint NOT NULL,
  run_id            uuid NOT NULL,
  generation        int NOT NULL,
  single            boolean NOT NULL,
  workflow_id       bigint NOT NULL,
  workflow_version  int NOT NULL,
  state             text NOT NULL CHECK (state IN ('completed', 'failed', 'cancelled', 'timed_out')),
  attempt           int NOT NULL,
  lost              int NOT NULL,
  priority          smallint NOT NULL,
  created_at        bigint NOT NULL,
  queued_at         bigint NOT NULL,
  started_at        bigint NOT NULL,
  ended_at          bigint NOT NULL,
  assignment_id     uuid NOT NULL,
  worker_id         uuid NOT NULL,
  request_hash      bytea NOT NULL,
  parent_run_id     uuid NOT NULL,
  parent_task_no    smallint NOT NULL,
  parent_generation int NOT NULL,
  child_key         text NOT NULL,
  child_runs        int NOT NULL,
  traceparent       text NOT NULL,
  input             bytea COMPRESSION lz4,
  input_ref         uuid NOT NULL,
  output            bytea COMPRESSION lz4,
  output_ref        uuid NOT NULL,
  error             bytea COMPRESSION lz4,
  revision          bigint NOT NULL,
  PRIMARY KEY (tenant_id, class, run_id, generation)
) PARTITION BY LIST (class);
CREATE INDEX history_runs_workflow ON history_runs (tenant_id, workflow_id, run_id);
CREATE INDEX history_runs_bad ON history_runs (tenant_id, state, run_id) WHERE state IN ('failed', 'cancelled', 'timed_out');

CREATE TABLE history_tasks (
  tenant_id     bigint NOT NULL,
  class         smallint NOT NULL,
  run_id        uuid NOT NULL,
  generation    int NOT NULL,
  task_no       smallint NOT NULL,
  state         text NOT NULL CHECK (state IN ('completed', 'failed', 'cancelled', 'timed_out', 'skipped')),
  attempt       int NOT NULL,
  lost          int NOT NULL,
  queued_at     bigint NOT NULL,
  started_at    bigint NOT NULL,
  ended_at      bigint NOT NULL,
  assignment_id uuid NOT NULL,
  worker_id     uuid NOT NULL,
  output        bytea COMPRESSION lz4,
  output_ref    uuid NOT NULL,
  error         bytea COMPRESSION lz4,
  revision      bigint NOT NULL,
  PRIMARY KEY (tenant_id, class, run_id, generation, task_no)
) PARTITION BY LIST (class);

-- Attempts that ended without ending their task: failed and retried, lost, or put aside by a replay. The last attempt stands in its task's row.
CREATE TABLE attempts (
  tenant_id     bigint NOT NULL,
  class         smallint NOT NULL,
  run_id        uuid NOT NULL,
  generation    int NOT NULL,
  task_no       smallint NOT NULL,
  ended_at      bigint NOT NULL,
  attempt       int NOT NULL,
  outcome       text NOT NULL CHECK (outcome IN ('completed', 'failed', 'cancelled', 'timed_out', 'lost', 'superseded')),
  assignment_id uuid NOT NULL,
  worker_id     uuid NOT NULL,
  started_at    bigint NOT NULL,
  error         bytea COMPRESSION lz4,
  PRIMARY KEY (tenant_id, class, run_id, generation, task_no, ended_at, assignment_id)
) PARTITION BY LIST (class);

-- Payloads over 32 KiB, written before the request that names them: immutable, unfenced; orphans go with their partition.
CREATE TABLE payloads (
  tenant_id bigint NOT NULL,
  class     smallint NOT NULL,
  id        uuid NOT NULL, -- UUIDv7
  body      bytea COMPRESSION lz4 NOT NULL,
  PRIMARY KEY (tenant_id, class, id)
) PARTITION BY LIST (class);

-- What tasks log. The sequence is the worker's own count within the assignment, so that a line sent twice is stored once.
CREATE TABLE logs (
  tenant_id     bigint NOT NULL,
  class         smallint NOT NULL,
  run_id        uuid NOT NULL,
  logged_at     bigint NOT NULL,
  assignment_id uuid NOT NULL,
  sequence      bigint NOT NULL,
  task_no       smallint NOT NULL,
  generation    int NOT NULL,
  attempt       int NOT NULL,
  level         smallint NOT NULL,
  message       text NOT NULL,
  fields        bytea,
  PRIMARY KEY (tenant_id, class, run_id, logged_at, assignment_id, sequence)
) PARTITION BY LIST (class);

-- Children of a run, for lists by parent. Rows only for runs with a parent.
CREATE TABLE child_runs (
  tenant_id     bigint NOT NULL,
  class         smallint NOT NULL,
  parent_run_id uuid NOT NULL,
  run_id        uuid NOT NULL,
  PRIMARY KEY (tenant_id, class, parent_run_id, run_id)
) PARTITION BY LIST (class);

-- Run counts by minute, flushed with a commit about once a second.
CREATE TABLE run_counts (
  tenant_id   bigint NOT NULL,
  workflow_id bigint NOT NULL,
  state       text NOT NULL,
  minute      bigint NOT NULL, -- minutes since 1970
  runs        bigint NOT NULL,
  PRIMARY KEY (tenant_id, workflow_id, state, minute)
) WITH (fillfactor = 70);

-- Makes the partitions of a class whose id ranges cover [from_ms, to_ms), each width_ms wide and aligned to it. Ids are UUIDv7: the first 48 bits are milliseconds.
-- +goose StatementBegin
CREATE FUNCTION ensure_partitions(the_class smallint, from_ms bigint, to_ms bigint, width_ms bigint) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  parent text;
  key_column text;
  class_table text;
  lower_ms bigint;
  name text;
BEGIN
  PERFORM pg_advisory_xact_lock(7321, the_class);
  FOREACH parent IN ARRAY ARRAY['history_runs', 'history_tasks', 'attempts', 'payloads', 'logs', 'child_runs'] LOOP
    key_column := CASE parent WHEN 'payloads' THEN 'id' WHEN 'child_runs' THEN 'parent_run_id' ELSE 'run_id' END;
    class_table := format('%s_c%s', parent, the_class);
    IF to_regclass(class_table) IS NULL THEN
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES IN (%s) PARTITION BY RANGE (%I)', class_table, parent, the_class, key_column);
      -- What outlives its partition goes here, and is cleaned in small batches.
      EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', class_table || '_late', class_table);
    END IF;
    lower_ms := from_ms - from_ms % width_ms;
    WHILE lower_ms < to_ms LOOP
      name := format('%s_%s', class_table, lower_ms);
      IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, class_table, uuid_floor(lower_ms), uuid_floor(lower_ms + width_ms));
      END IF;
      lower_ms := lower_ms + width_ms;
    END LOOP;
  END LOOP;
END
$$;

CREATE FUNCTION uuid_floor(ms bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT (lpad(to_hex(ms), 12, '0') || '00000000000000000000')::uuid
$$;

-- Drops the partitions of a class that hold only ids older than before_ms.
CREATE FUNCTION drop_partitions(the_class smallint, before_ms bigint, width_ms bigint) RETURNS int LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  child text;
  dropped int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(7321, the_class);
  FOR child IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
    WHERE p.relname ~ ('^(history_runs|history_tasks|attempts|payloads|logs|child_runs)_c' || the_class || '$')
      AND c.relname ~ '_[0-9]+$'
      AND substring(c.relname FROM '[0-9]+$')::bigint + width_ms <= before_ms
  LOOP
    EXECUTE format('DROP TABLE %I', child);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;
-- +goose StatementEnd

-- Workers ------------------------------------------------------------------------------------------------------------------------

CREATE TABLE workers (
  tenant_id        bigint NOT NULL,
  id               uuid NOT NULL,
  name             text NOT NULL,
  actions          text[] NOT NULL,
  queues           text[] NOT NULL,
  slots            int NOT NULL,
  language         text NOT NULL,
  language_version text NOT NULL,
  sdk_version      text NOT NULL,
  os               text NOT NULL,
  host             text NOT NULL,
  pid              bigint NOT NULL,
  token_id         uuid NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);

-- A session is committed before its first assignment and closed at its end; no heartbeat touches it.
CREATE TABLE worker_sessions (
  tenant_id  bigint NOT NULL,
  worker_id  uuid NOT NULL,
  session    bigint NOT NULL,
  dispatcher text NOT NULL,
  opened_at  bigint NOT NULL,
  closed_at  bigint NOT NULL,
  PRIMARY KEY (tenant_id, worker_id, session)
);

-- Rights -------------------------------------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA public TO tenon_engine, tenon_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tenon_engine;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO tenon_engine;
GRANT SELECT ON tenants, members, workflows, workflow_versions, live, history_runs, history_tasks, attempts, payloads, logs, child_runs, run_counts, workers, worker_sessions TO tenon_reader;
REVOKE ALL ON FUNCTION ensure_partitions(smallint, bigint, bigint, bigint), drop_partitions(smallint, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions(smallint, bigint, bigint, bigint), drop_partitions(smallint, bigint, bigint) TO tenon_engine;

-- The second wall: a reader sees the rows of the tenant that pg.InTenant has set, and without it nothing.
-- +goose StatementBegin
CREATE FUNCTION current_tenant() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT nullif(current_setting('tenon.tenant_id', true), '')::bigint
$$;

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['members', 'workflows', 'workflow_versions', 'live', 'history_runs', 'history_tasks', 'attempts', 'payloads', 'logs', 'child_runs', 'run_counts', 'workers', 'worker_sessions'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY tenant_reads ON %I FOR SELECT TO tenon_reader USING (tenant_id = current_tenant())', t);
    EXECUTE format('CREATE POLICY engine_all ON %I TO tenon_engine USING (true) WITH CHECK (true)', t);
  END LOOP;
END
$$;
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON tenants FOR SELECT TO tenon_reader USING (id = current_tenant());
CREATE POLICY engine_all ON tenants TO tenon_engine USING (true) WITH CHECK (true);
-- +goose StatementEnd

-- From three days back (clocks, long calls) to a good way ahead; the scheduler's partition loop keeps them coming. Widths: 6 hours, 3 days, 30 days.
SELECT ensure_partitions(1::smallint, ms - 21600000, ms + 86400000, 21600000),
       ensure_partitions(2::smallint, ms - 259200000, ms + 864000000, 259200000),
       ensure_partitions(3::smallint, ms - 2592000000, ms + 7776000000, 2592000000)
FROM (SELECT (extract(epoch FROM now()) * 1000)::bigint AS ms) AS clock;

-- +goose Down
SELECT 1 / 0; -- the first migration is not taken back: drop the database instead
