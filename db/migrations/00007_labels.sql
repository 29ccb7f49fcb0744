-- +goose Up

-- A run's labels stand in its row, for whoever reads the run: a JSON object with sorted keys, NULL where it has none. Both tables hold other NULLs, so a row
-- without labels is as long as before.
ALTER TABLE live ADD COLUMN labels bytea;
ALTER TABLE history_runs ADD COLUMN labels bytea;

-- Runs by label, in the order of pages. Rows only for runs with labels, written with the run; they go with its partition.
CREATE TABLE run_labels (
  tenant_id bigint NOT NULL,
  class     smallint NOT NULL,
  key       text NOT NULL,
  value     text NOT NULL,
  run_id    uuid NOT NULL,
  PRIMARY KEY (tenant_id, class, key, value, run_id)
) PARTITION BY LIST (class);
GRANT SELECT ON run_labels TO tenon_reader;
ALTER TABLE run_labels ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_reads ON run_labels FOR SELECT TO tenon_reader USING (tenant_id = current_tenant());
CREATE POLICY engine_all ON run_labels TO tenon_engine USING (true) WITH CHECK (true);

-- As before, and for run_labels too, in the order in which commits and readers lock the tables: neither may wait for a table while it holds one that the
-- maker of partitions waits for.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION ensure_partitions(the_class smallint, from_ms bigint, to_ms bigint, width_ms bigint) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  parent text;
  key_column text;
  class_table text;
  lower_ms bigint;
  name text;
BEGIN
  PERFORM pg_advisory_xact_lock(7321, the_class);
  FOREACH parent IN ARRAY ARRAY['run_labels', 'child_runs', 'history_runs', 'history_tasks', 'attempts', 'payloads', 'logs'] LOOP
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

CREATE OR REPLACE FUNCTION drop_partitions(the_class smallint, before_ms bigint, width_ms bigint) RETURNS int LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  child text;
  dropped int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(7321, the_class);
  FOR child IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
    WHERE p.relname ~ ('^(history_runs|history_tasks|attempts|payloads|logs|child_runs|run_labels)_c' || the_class || '$')
      AND c.relname ~ '_[0-9]+$'
      AND substring(c.relname FROM '[0-9]+$')::bigint + width_ms <= before_ms
    ORDER BY array_position('{run_labels,child_runs,history_runs,history_tasks,attempts,payloads,logs}'::text[], regexp_replace(p.relname, '_c[0-9]+$', '')), c.relname
  LOOP
    EXECUTE format('DROP TABLE %I', child);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;

-- As before, and with the labels.
CREATE OR REPLACE FUNCTION finish_runs(
  tenant_ids bigint[], run_ids uuid[], task_nos smallint[], states text[], attempts int[], losts int[], queued_ats bigint[], started_ats bigint[],
  ended_ats bigint[], assignment_ids uuid[], worker_ids uuid[], child_runss int[], outputs bytea[], output_refs uuid[], errors bytea[], revisions bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  moved bigint;
BEGIN
  WITH gone AS (
    DELETE FROM live l USING (
      SELECT k.*, found.place FROM unnest(
        tenant_ids, run_ids, task_nos, states, attempts, losts, queued_ats, started_ats, ended_ats, assignment_ids, worker_ids, child_runss, outputs,
        output_refs, errors, revisions
      ) AS k (tenant_id, run_id, task_no, state, attempt, lost, queued_at, started_at, ended_at, assignment_id, worker_id, child_runs, output, output_ref, error, revision)
      CROSS JOIN LATERAL (
        SELECT f.ctid AS place FROM live f WHERE f.tenant_id = k.tenant_id AND f.run_id = k.run_id AND f.task_no = k.task_no OFFSET 0
      ) AS found
    ) AS n
    WHERE l.ctid = n.place
    RETURNING l.tenant_id, l.class, l.run_id, l.task_no, l.generation, l.single, l.workflow_id, l.workflow_version, n.state, n.attempt, n.lost, l.priority,
      l.created_at, n.queued_at, n.started_at, n.ended_at, n.assignment_id, n.worker_id, l.request_hash, l.parent_run_id, l.parent_task_no,
      l.parent_generation, l.child_key, n.child_runs, l.traceparent, l.input, l.input_ref, n.output, n.output_ref, n.error, n.revision, l.labels
  ), runs AS (
    INSERT INTO history_runs (tenant_id, class, run_id, generation, single, workflow_id, workflow_version, state, attempt, lost, priority, created_at, queued_at,
      started_at, ended_at, assignment_id, worker_id, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent,
      input, input_ref, output, output_ref, error, revision, labels)
    SELECT g.tenant_id, g.class, g.run_id, g.generation, g.single, g.workflow_id, g.workflow_version, g.state, g.attempt, g.lost, g.priority, g.created_at, g.queued_at,
      g.started_at, g.ended_at, g.assignment_id, g.worker_id, g.request_hash, g.parent_run_id, g.parent_task_no, g.parent_generation, g.child_key, g.child_runs, g.traceparent,
      g.input, g.input_ref, g.output, g.output_ref, g.error, g.revision, g.labels
    FROM gone g WHERE g.task_no = 0
  ), tasks AS (
    INSERT INTO history_tasks (tenant_id, class, run_id, generation, task_no, state, attempt, lost, queued_at, started_at, ended_at, assignment_id, worker_id,
      output, output_ref, error, revision)
    SELECT g.tenant_id, g.class, g.run_id, g.generation, g.task_no, g.state, g.attempt, g.lost, g.queued_at, g.started_at, g.ended_at, g.assignment_id, g.worker_id,
      g.output, g.output_ref, g.error, g.revision
    FROM gone g WHERE g.task_no > 0
  )
  SELECT count(*) INTO moved FROM gone;
  RETURN moved;
END
$$;
-- +goose StatementEnd

SELECT ensure_partitions(1::smallint, ms - 21600000, ms + 86400000, 21600000),
       ensure_partitions(2::smallint, ms - 259200000, ms + 864000000, 259200000),
       ensure_partitions(3::smallint, ms - 2592000000, ms + 7776000000, 2592000000)
FROM (SELECT (extract(epoch FROM now()) * 1000)::bigint AS ms) AS clock;

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION ensure_partitions(the_class smallint, from_ms bigint, to_ms bigint, width_ms bigint) RETURNS void LANGUAGE plpgsql
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

CREATE OR REPLACE FUNCTION drop_partitions(the_class smallint, before_ms bigint, width_ms bigint) RETURNS int LANGUAGE plpgsql
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

CREATE OR REPLACE FUNCTION finish_runs(
  tenant_ids bigint[], run_ids uuid[], task_nos smallint[], states text[], attempts int[], losts int[], queued_ats bigint[], started_ats bigint[],
  ended_ats bigint[], assignment_ids uuid[], worker_ids uuid[], child_runss int[], outputs bytea[], output_refs uuid[], errors bytea[], revisions bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  moved bigint;
BEGIN
  WITH gone AS (
    DELETE FROM live l USING (
      SELECT k.*, found.place FROM unnest(
        tenant_ids, run_ids, task_nos, states, attempts, losts, queued_ats, started_ats, ended_ats, assignment_ids, worker_ids, child_runss, outputs,
        output_refs, errors, revisions
      ) AS k (tenant_id, run_id, task_no, state, attempt, lost, queued_at, started_at, ended_at, assignment_id, worker_id, child_runs, output, output_ref, error, revision)
      CROSS JOIN LATERAL (
        SELECT f.ctid AS place FROM live f WHERE f.tenant_id = k.tenant_id AND f.run_id = k.run_id AND f.task_no = k.task_no OFFSET 0
      ) AS found
    ) AS n
    WHERE l.ctid = n.place
    RETURNING l.tenant_id, l.class, l.run_id, l.task_no, l.generation, l.single, l.workflow_id, l.workflow_version, n.state, n.attempt, n.lost, l.priority,
      l.created_at, n.queued_at, n.started_at, n.ended_at, n.assignment_id, n.worker_id, l.request_hash, l.parent_run_id, l.parent_task_no,
      l.parent_generation, l.child_key, n.child_runs, l.traceparent, l.input, l.input_ref, n.output, n.output_ref, n.error, n.revision
  ), runs AS (
    INSERT INTO history_runs (tenant_id, class, run_id, generation, single, workflow_id, workflow_version, state, attempt, lost, priority, created_at, queued_at,
      started_at, ended_at, assignment_id, worker_id, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent,
      input, input_ref, output, output_ref, error, revision)
    SELECT g.tenant_id, g.class, g.run_id, g.generation, g.single, g.workflow_id, g.workflow_version, g.state, g.attempt, g.lost, g.priority, g.created_at, g.queued_at,
      g.started_at, g.ended_at, g.assignment_id, g.worker_id, g.request_hash, g.parent_run_id, g.parent_task_no, g.parent_generation, g.child_key, g.child_runs, g.traceparent,
      g.input, g.input_ref, g.output, g.output_ref, g.error, g.revision
    FROM gone g WHERE g.task_no = 0
  ), tasks AS (
    INSERT INTO history_tasks (tenant_id, class, run_id, generation, task_no, state, attempt, lost, queued_at, started_at, ended_at, assignment_id, worker_id,
      output, output_ref, error, revision)
    SELECT g.tenant_id, g.class, g.run_id, g.generation, g.task_no, g.state, g.attempt, g.lost, g.queued_at, g.started_at, g.ended_at, g.assignment_id, g.worker_id,
      g.output, g.output_ref, g.error, g.revision
    FROM gone g WHERE g.task_no > 0
  )
  SELECT count(*) INTO moved FROM gone;
  RETURN moved;
END
$$;
-- +goose StatementEnd
DROP TABLE run_labels;
ALTER TABLE history_runs DROP COLUMN labels;
ALTER TABLE live DROP COLUMN labels;
