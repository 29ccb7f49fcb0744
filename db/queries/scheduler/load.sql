-- What the engine asks to see.

-- name: LiveRuns :many
-- Whole open runs. Each id is looked up on its own: the planner, which may believe the table to be empty, would read all of the tenant's rows.
SELECT l.* FROM unnest(@run_ids::uuid[]) AS k (run_id)
CROSS JOIN LATERAL (SELECT * FROM live WHERE live.tenant_id = @tenant_id AND live.run_id = k.run_id OFFSET 0) AS l
ORDER BY l.run_id, l.task_no;

-- name: RunningRuns :many
-- Open runs with a recorded assignment.
SELECT DISTINCT run_id FROM live WHERE tenant_id = @tenant_id AND state IN ('assigned', 'running', 'stopping', 'waiting') AND assignment_id <> '00000000-0000-0000-0000-000000000000' ORDER BY run_id;

-- name: TenantLanes :many
-- The tenant's lanes by skip scan: one index probe a lane, however long the lines are.
WITH RECURSIVE lanes AS (
  (SELECT l.lane FROM live l WHERE l.tenant_id = @tenant_id AND l.lane <> 0 ORDER BY l.lane LIMIT 1)
  UNION ALL
  SELECT (SELECT n.lane FROM live n WHERE n.tenant_id = @tenant_id AND n.lane > lanes.lane AND n.lane <> 0 ORDER BY n.lane LIMIT 1) FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT lane::bigint AS lane FROM lanes WHERE lane IS NOT NULL;

-- name: LanePage :many
-- The next rows of a lane: of single-task runs the whole run.
SELECT * FROM live
WHERE tenant_id = @tenant_id AND lane = @lane AND lane <> 0 AND rank >= @from_rank AND state = 'queued'
ORDER BY rank LIMIT @page_size;

-- name: TimerPage :many
SELECT run_id, due_at FROM live
WHERE tenant_id = @tenant_id AND due_at >= @from_due AND due_at > 0
ORDER BY due_at LIMIT @page_size;

-- name: FinishedRuns :many
-- The newest generation of finished runs, in whatever class each stands. Each class is a look-up of its own, in the order of the primary key: the planner,
-- which may believe a partition to be empty, would else read all of the tenant's rows by another index.
SELECT h.* FROM unnest(@run_ids::uuid[]) AS k (run_id)
CROSS JOIN LATERAL (
  SELECT * FROM (
    (SELECT * FROM history_runs WHERE history_runs.tenant_id = @tenant_id AND history_runs.class = 1 AND history_runs.run_id = k.run_id ORDER BY generation DESC LIMIT 1)
    UNION ALL
    (SELECT * FROM history_runs WHERE history_runs.tenant_id = @tenant_id AND history_runs.class = 2 AND history_runs.run_id = k.run_id ORDER BY generation DESC LIMIT 1)
    UNION ALL
    (SELECT * FROM history_runs WHERE history_runs.tenant_id = @tenant_id AND history_runs.class = 3 AND history_runs.run_id = k.run_id ORDER BY generation DESC LIMIT 1)
  ) AS classes
  LIMIT 1
) AS h
ORDER BY h.run_id;

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
