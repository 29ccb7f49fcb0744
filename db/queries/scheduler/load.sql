-- What the engine asks to see.

-- name: LiveRuns :many
-- Whole open runs.
SELECT * FROM live WHERE tenant_id = @tenant_id AND run_id = ANY (@run_ids::uuid[]) ORDER BY run_id, task_no;

-- name: RunningRuns :many
-- Open runs with a recorded assignment.
SELECT DISTINCT run_id FROM live WHERE tenant_id = @tenant_id AND state IN ('assigned', 'running', 'stopping', 'waiting') AND assignment_id <> '00000000-0000-0000-0000-000000000000' ORDER BY run_id;

-- name: TenantLanes :many
-- The tenant's lanes by skip scan: one index probe a lane, however long the lines are.
WITH RECURSIVE lanes AS (
  (SELECT l.lane FROM live l WHERE l.tenant_id = @tenant_id ORDER BY l.lane LIMIT 1)
  UNION ALL
  SELECT (SELECT n.lane FROM live n WHERE n.tenant_id = @tenant_id AND n.lane > lanes.lane ORDER BY n.lane LIMIT 1) FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT lane::bigint AS lane FROM lanes WHERE lane IS NOT NULL AND lane <> 0;

-- name: LanePage :many
SELECT run_id, task_no, rank FROM live
WHERE tenant_id = @tenant_id AND lane = @lane AND rank >= @from_rank AND state = 'queued'
ORDER BY rank LIMIT @page_size;

-- name: TimerPage :many
SELECT run_id, due_at FROM live
WHERE tenant_id = @tenant_id AND due_at >= @from_due AND due_at > 0
ORDER BY due_at LIMIT @page_size;

-- name: FinishedRuns :many
-- The newest generation of a finished run, in whatever class it stands.
SELECT DISTINCT ON (run_id) * FROM history_runs WHERE tenant_id = @tenant_id AND run_id = ANY (@run_ids::uuid[]) ORDER BY run_id, generation DESC;

-- name: FinishedTasks :many
SELECT * FROM history_tasks WHERE tenant_id = @tenant_id AND class = @class AND run_id = @run_id AND generation = @generation ORDER BY task_no;

-- name: TenantsWithOpenRuns :many
SELECT s.tenant_id, s.shard FROM tenant_shards s
WHERE s.shard = ANY (@shards::int[]) AND EXISTS (SELECT 1 FROM live l WHERE l.tenant_id = s.tenant_id)
ORDER BY s.tenant_id;

-- name: InsertPayload :exec
INSERT INTO payloads (tenant_id, class, id, body) VALUES (@tenant_id, @class, @id, @body) ON CONFLICT DO NOTHING;

-- name: EnsurePartitions :exec
SELECT ensure_partitions(@class, @from_ms, @to_ms, @width_ms);

-- name: DropPartitions :one
SELECT drop_partitions(@class, @before_ms, @width_ms)::int;
