-- What callers read, under row-level security.

-- name: ListRuns :many
-- One page over open and finished runs, newest first; a run that is being replayed stands in both, and the reader keeps the newer generation. Each
-- class is read in the order of its own key.
SELECT * FROM (
  (SELECT l.run_id, l.generation, l.single, l.workflow_id, l.workflow_version, l.state, l.attempt, l.lost, l.priority, l.created_at, l.queued_at, l.started_at, l.ended_at,
          l.parent_run_id, l.parent_task_no, l.child_runs, l.worker_id, l.error, l.revision, true AS open
   FROM live l
   WHERE l.tenant_id = @tenant_id AND l.task_no = 0 AND l.run_id < @before_id AND l.run_id >= @from_id
     AND (@workflow_id::bigint = 0 OR l.workflow_id = @workflow_id)
     AND (NOT @by_state::boolean OR l.state = ANY (@open_states::text[]))
     AND (@parent_run_id::uuid = '00000000-0000-0000-0000-000000000000'::uuid OR l.parent_run_id = @parent_run_id)
   ORDER BY l.run_id DESC LIMIT @page_size)
  UNION ALL
  (SELECT h.run_id, h.generation, h.single, h.workflow_id, h.workflow_version, h.state, h.attempt, h.lost, h.priority, h.created_at, h.queued_at, h.started_at, h.ended_at,
          h.parent_run_id, h.parent_task_no, h.child_runs, h.worker_id, h.error, h.revision, false AS open
   FROM history_runs h
   WHERE h.tenant_id = @tenant_id AND h.class = 1 AND h.run_id < @before_id AND h.run_id >= @from_id
     AND (@workflow_id::bigint = 0 OR h.workflow_id = @workflow_id)
     AND (NOT @by_state::boolean OR h.state = ANY (@final_states::text[]))
     AND (@parent_run_id::uuid = '00000000-0000-0000-0000-000000000000'::uuid OR EXISTS (
       SELECT 1 FROM child_runs c WHERE c.tenant_id = h.tenant_id AND c.class = 1 AND c.parent_run_id = @parent_run_id AND c.run_id = h.run_id))
   ORDER BY h.run_id DESC LIMIT @page_size)
  UNION ALL
  (SELECT h.run_id, h.generation, h.single, h.workflow_id, h.workflow_version, h.state, h.attempt, h.lost, h.priority, h.created_at, h.queued_at, h.started_at, h.ended_at,
          h.parent_run_id, h.parent_task_no, h.child_runs, h.worker_id, h.error, h.revision, false AS open
   FROM history_runs h
   WHERE h.tenant_id = @tenant_id AND h.class = 2 AND h.run_id < @before_id AND h.run_id >= @from_id
     AND (@workflow_id::bigint = 0 OR h.workflow_id = @workflow_id)
     AND (NOT @by_state::boolean OR h.state = ANY (@final_states::text[]))
     AND (@parent_run_id::uuid = '00000000-0000-0000-0000-000000000000'::uuid OR EXISTS (
       SELECT 1 FROM child_runs c WHERE c.tenant_id = h.tenant_id AND c.class = 2 AND c.parent_run_id = @parent_run_id AND c.run_id = h.run_id))
   ORDER BY h.run_id DESC LIMIT @page_size)
  UNION ALL
  (SELECT h.run_id, h.generation, h.single, h.workflow_id, h.workflow_version, h.state, h.attempt, h.lost, h.priority, h.created_at, h.queued_at, h.started_at, h.ended_at,
          h.parent_run_id, h.parent_task_no, h.child_runs, h.worker_id, h.error, h.revision, false AS open
   FROM history_runs h
   WHERE h.tenant_id = @tenant_id AND h.class = 3 AND h.run_id < @before_id AND h.run_id >= @from_id
     AND (@workflow_id::bigint = 0 OR h.workflow_id = @workflow_id)
     AND (NOT @by_state::boolean OR h.state = ANY (@final_states::text[]))
     AND (@parent_run_id::uuid = '00000000-0000-0000-0000-000000000000'::uuid OR EXISTS (
       SELECT 1 FROM child_runs c WHERE c.tenant_id = h.tenant_id AND c.class = 3 AND c.parent_run_id = @parent_run_id AND c.run_id = h.run_id))
   ORDER BY h.run_id DESC LIMIT @page_size)
) AS all_tables
ORDER BY run_id DESC, generation DESC LIMIT @page_size;

-- name: ListAttempts :many
SELECT * FROM attempts
WHERE tenant_id = @tenant_id AND class = @class AND run_id = @run_id AND (ended_at, assignment_id) > (@after_ended, @after_assignment::uuid)
ORDER BY ended_at, assignment_id LIMIT @page_size;

-- name: ListLogs :many
SELECT logged_at, assignment_id, sequence, task_no, generation, attempt, level, message, fields FROM logs
WHERE tenant_id = @tenant_id AND class = @class AND run_id = @run_id
  AND (@task_no::smallint = 0 OR task_no = @task_no)
  AND (logged_at, assignment_id, sequence) > (@after_logged, @after_assignment::uuid, @after_sequence)
ORDER BY logged_at, assignment_id, sequence LIMIT @page_size;

-- name: GetPayload :one
SELECT body FROM payloads WHERE tenant_id = @tenant_id AND class = @class AND id = @id;

-- name: OpenChildren :many
SELECT run_id FROM live WHERE tenant_id = @tenant_id AND task_no = 0 AND parent_run_id = @parent_run_id ORDER BY run_id LIMIT @page_size;

-- name: RunVersions :many
-- Which workflow versions runs are of, open or finished.
SELECT v.run_id, v.workflow_id, v.workflow_version FROM unnest(@run_ids::uuid[]) AS k (run_id)
CROSS JOIN LATERAL (
  (SELECT live.run_id, live.workflow_id, live.workflow_version FROM live WHERE live.tenant_id = @tenant_id AND live.run_id = k.run_id AND live.task_no = 0)
  UNION ALL
  (SELECT h.run_id, h.workflow_id, h.workflow_version FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 1 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  UNION ALL
  (SELECT h.run_id, h.workflow_id, h.workflow_version FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 2 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  UNION ALL
  (SELECT h.run_id, h.workflow_id, h.workflow_version FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 3 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  LIMIT 1
) AS v;
