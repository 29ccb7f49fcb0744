-- name: RunClasses :many
-- The retention class of open runs.
SELECT run_id, class FROM live WHERE tenant_id = @tenant_id AND run_id = ANY (@run_ids::uuid[]) AND task_no = 0;

-- name: RecordedAssignments :many
-- What the rows know of assignments of one worker: those that lasted, and those that won.
SELECT l.run_id, l.assignment_id, l.class FROM live l
WHERE l.tenant_id = @tenant_id AND l.run_id = ANY (@run_ids::uuid[]) AND l.worker_id = @worker_id AND l.assignment_id = ANY (@assignment_ids::uuid[])
UNION
SELECT r.run_id, r.assignment_id, r.class FROM history_runs r
WHERE r.tenant_id = @tenant_id AND r.class = ANY ('{1,2,3}'::smallint[]) AND r.run_id = ANY (@run_ids::uuid[])
  AND r.worker_id = @worker_id AND r.assignment_id = ANY (@assignment_ids::uuid[])
UNION
SELECT t.run_id, t.assignment_id, t.class FROM history_tasks t
WHERE t.tenant_id = @tenant_id AND t.class = ANY ('{1,2,3}'::smallint[]) AND t.run_id = ANY (@run_ids::uuid[])
  AND t.worker_id = @worker_id AND t.assignment_id = ANY (@assignment_ids::uuid[]);

-- name: RecordedRefs :many
-- References that stand in the open runs of a worker's recorded assignments.
SELECT DISTINCT r.class, r.input_ref, r.output_ref
FROM live a
JOIN live r ON r.tenant_id = a.tenant_id AND r.run_id = a.run_id
WHERE a.tenant_id = @tenant_id AND a.run_id = ANY (@run_ids::uuid[]) AND a.worker_id = @worker_id AND a.assignment_id = ANY (@assignment_ids::uuid[])
  AND (r.input_ref = ANY (@refs::uuid[]) OR r.output_ref = ANY (@refs::uuid[]));
