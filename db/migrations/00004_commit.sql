-- +goose Up
-- Only rows that wait in a lane are in its index. Besides what it saves, the primary key is then the only index that a look-up by keys can use: while
-- the planner believes the table to be empty, all indexes that begin with the tenant look alike to it, and a batch became a scan of the tenant's rows.
DROP INDEX live_lane;
CREATE INDEX live_lane ON live (tenant_id, lane, rank) WHERE lane <> 0;

-- The two batches that find rows of live by their keys. Each key is looked up on its own (OFFSET 0 keeps the planner from turning the join around), and
-- the row is then changed where it was found. They are functions because sqlc knows neither ctid nor what a DELETE returns of its USING list.
-- +goose StatementBegin
CREATE FUNCTION update_live(
  tenant_ids bigint[], run_ids uuid[], task_nos smallint[], states text[], generations int[], attempts int[], losts int[], lanes bigint[], ranks bigint[],
  due_ats bigint[], deadline_ats bigint[], queued_ats bigint[], started_ats bigint[], ended_ats bigint[], assignment_ids uuid[], worker_ids uuid[],
  worker_sessions bigint[], stop_reasons smallint[], child_runss int[], outputs bytea[], output_refs uuid[], errors bytea[], revisions bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  changed bigint;
BEGIN
  UPDATE live l SET
    state = n.state, generation = n.generation, attempt = n.attempt, lost = n.lost, lane = n.lane, rank = n.rank, due_at = n.due_at,
    deadline_at = n.deadline_at, queued_at = n.queued_at, started_at = n.started_at, ended_at = n.ended_at, assignment_id = n.assignment_id,
    worker_id = n.worker_id, worker_session = n.worker_session, stop_reason = n.stop_reason, child_runs = n.child_runs, output = n.output,
    output_ref = n.output_ref, error = n.error, revision = n.revision
  FROM (
    SELECT k.*, found.place FROM unnest(
      tenant_ids, run_ids, task_nos, states, generations, attempts, losts, lanes, ranks, due_ats, deadline_ats, queued_ats, started_ats, ended_ats,
      assignment_ids, worker_ids, worker_sessions, stop_reasons, child_runss, outputs, output_refs, errors, revisions
    ) AS k (tenant_id, run_id, task_no, state, generation, attempt, lost, lane, rank, due_at, deadline_at, queued_at, started_at, ended_at,
      assignment_id, worker_id, worker_session, stop_reason, child_runs, output, output_ref, error, revision)
    CROSS JOIN LATERAL (
      SELECT f.ctid AS place FROM live f WHERE f.tenant_id = k.tenant_id AND f.run_id = k.run_id AND f.task_no = k.task_no OFFSET 0
    ) AS found
  ) AS n
  WHERE l.ctid = n.place;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END
$$;

-- Moves whole runs from live to history. What never changes, inputs above all, is copied from the live row and not sent again; what is new comes along
-- with the DELETE, since a second join of two sets without statistics would be quadratic.
CREATE FUNCTION finish_runs(
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

-- +goose Down
DROP FUNCTION update_live(bigint[], uuid[], smallint[], text[], int[], int[], int[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], uuid[],
  uuid[], bigint[], smallint[], int[], bytea[], uuid[], bytea[], bigint[]);
DROP FUNCTION finish_runs(bigint[], uuid[], smallint[], text[], int[], int[], bigint[], bigint[], bigint[], uuid[], uuid[], int[], bytea[], uuid[], bytea[], bigint[]);
DROP INDEX live_lane;
CREATE INDEX live_lane ON live (tenant_id, lane, rank);
