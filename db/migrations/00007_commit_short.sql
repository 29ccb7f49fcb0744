-- +goose Up
-- finish_runs for what most runs are: one task, completed at the first attempt, without children. Each array is a pass of its own for Postgres, and so is
-- each reading of what the DELETE returned: with seven arrays and two readings less it takes a quarter less time.
-- +goose StatementBegin
CREATE FUNCTION finish_completed(
  tenant_ids bigint[], run_ids uuid[], started_ats bigint[], ended_ats bigint[], assignment_ids uuid[], worker_ids uuid[], outputs bytea[], output_refs uuid[],
  revisions bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  moved bigint;
BEGIN
  WITH gone AS (
    DELETE FROM live l USING (
      SELECT k.*, found.place FROM unnest(tenant_ids, run_ids, started_ats, ended_ats, assignment_ids, worker_ids, outputs, output_refs, revisions)
        AS k (tenant_id, run_id, started_at, ended_at, assignment_id, worker_id, output, output_ref, revision)
      CROSS JOIN LATERAL (
        SELECT f.ctid AS place FROM live f WHERE f.tenant_id = k.tenant_id AND f.run_id = k.run_id AND f.task_no = 0 OFFSET 0
      ) AS found
    ) AS n
    WHERE l.ctid = n.place
    RETURNING l.tenant_id, l.class, l.run_id, l.generation, l.single, l.workflow_id, l.workflow_version, l.priority, l.created_at, l.queued_at, n.started_at,
      n.ended_at, n.assignment_id, n.worker_id, l.request_hash, l.parent_run_id, l.parent_task_no, l.parent_generation, l.child_key, l.traceparent, l.input,
      l.input_ref, n.output, n.output_ref, n.revision
  )
  INSERT INTO history_runs (tenant_id, class, run_id, generation, single, workflow_id, workflow_version, state, attempt, lost, priority, created_at, queued_at,
    started_at, ended_at, assignment_id, worker_id, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent,
    input, input_ref, output, output_ref, error, revision)
  SELECT g.tenant_id, g.class, g.run_id, g.generation, g.single, g.workflow_id, g.workflow_version, 'completed', 1, 0, g.priority, g.created_at, g.queued_at,
    g.started_at, g.ended_at, g.assignment_id, g.worker_id, g.request_hash, g.parent_run_id, g.parent_task_no, g.parent_generation, g.child_key, 0, g.traceparent,
    g.input, g.input_ref, g.output, g.output_ref, NULL, g.revision
  FROM gone g;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION finish_completed(bigint[], uuid[], bigint[], bigint[], uuid[], uuid[], bytea[], uuid[], bigint[]);
