-- name: InsertWorker :exec
INSERT INTO workers (tenant_id, id, name, actions, queues, slots, language, language_version, sdk_version, os, host, pid, token_id)
VALUES (@tenant_id, @id, @name, @actions::text[], @queues::text[], @slots, @language, @language_version, @sdk_version, @os, @host, @pid, @token_id);

-- name: GetWorker :one
SELECT actions, queues, slots, token_id FROM workers WHERE tenant_id = @tenant_id AND id = @id;

-- name: NewestWorkflows :many
-- The newest version of each named workflow.
SELECT w.name, v.spec
FROM workflows w
JOIN workflow_versions v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.newest_version
WHERE w.tenant_id = @tenant_id AND w.name = ANY (@names::text[]);

-- name: OlderWorkflows :many
-- The versions before the newest, where a task that has been taken out may still stand. Runs of a version beyond the last hundred find no new workers.
SELECT w.name, v.spec
FROM workflows w
JOIN workflow_versions v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version < w.newest_version AND v.version >= w.newest_version - 100
WHERE w.tenant_id = @tenant_id AND w.name = ANY (@names::text[]);

-- name: AttachedWorkers :many
-- The workers of these ids, newest first, each with its newest session.
SELECT w.id, w.name, w.actions, w.queues, w.slots, w.language, w.language_version, w.sdk_version, w.os, w.host, w.pid, w.created_at, w.wanted,
  coalesce(s.opened_at, 0)::bigint AS opened_at, coalesce(s.closed_at, 0)::bigint AS closed_at
FROM workers w
LEFT JOIN LATERAL (
  SELECT n.opened_at, n.closed_at FROM worker_sessions n WHERE n.tenant_id = w.tenant_id AND n.worker_id = w.id ORDER BY n.session DESC LIMIT 1
) AS s ON true
WHERE w.tenant_id = @tenant_id AND w.id = ANY (@ids::uuid[])
ORDER BY w.id DESC;

-- name: OtherWorkers :many
-- A page of the workers beside these ids, newest first.
SELECT w.id, w.name, w.actions, w.queues, w.slots, w.language, w.language_version, w.sdk_version, w.os, w.host, w.pid, w.created_at, w.wanted,
  coalesce(s.opened_at, 0)::bigint AS opened_at, coalesce(s.closed_at, 0)::bigint AS closed_at
FROM workers w
LEFT JOIN LATERAL (
  SELECT n.opened_at, n.closed_at FROM worker_sessions n WHERE n.tenant_id = w.tenant_id AND n.worker_id = w.id ORDER BY n.session DESC LIMIT 1
) AS s ON true
WHERE w.tenant_id = @tenant_id AND w.id < @before_id AND w.id <> ALL (@ids::uuid[])
ORDER BY w.id DESC LIMIT @page_size;

-- name: WorkerWanted :one
SELECT wanted FROM workers WHERE tenant_id = @tenant_id AND id = @id;

-- name: WantWorker :execrows
-- What people want of a worker. One that drains goes on draining.
UPDATE workers SET wanted = @wanted WHERE tenant_id = @tenant_id AND id = @id AND (wanted <> 2 OR @wanted = 2);
