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
