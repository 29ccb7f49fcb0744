-- Workflows and their versions. A version is never changed; workflows.newest_version names the last one.

-- name: LockTenantWorkflows :exec
-- Held by whoever makes a workflow, so that the count of them holds. Tenants that share a key wait for each other, no more.
SELECT pg_advisory_xact_lock(7322, @tenant_key::int);

-- name: CountWorkflows :one
SELECT count(*) FROM workflows WHERE tenant_id = @tenant_id;

-- name: LockWorkflow :one
SELECT id, public_id, newest_version, created_at FROM workflows WHERE tenant_id = @tenant_id AND name = @name FOR UPDATE;

-- name: InsertWorkflow :one
INSERT INTO workflows (tenant_id, public_id, name, newest_version) VALUES (@tenant_id, @public_id, @name, 0)
RETURNING id, public_id, newest_version, created_at;

-- name: InsertVersion :one
INSERT INTO workflow_versions (tenant_id, workflow_id, version, digest, spec) VALUES (@tenant_id, @workflow_id, @version, @digest, @spec)
RETURNING created_at;

-- name: SetNewestVersion :exec
UPDATE workflows SET newest_version = @version WHERE tenant_id = @tenant_id AND id = @id;

-- name: NewestWorkflow :one
SELECT w.id, w.public_id, w.name, w.created_at, v.version, v.digest, v.spec, v.created_at AS version_created_at
FROM workflows w JOIN workflow_versions v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.newest_version
WHERE w.tenant_id = @tenant_id AND w.name = @name;

-- name: Version :one
SELECT version, digest, spec, created_at FROM workflow_versions WHERE tenant_id = @tenant_id AND workflow_id = @workflow_id AND version = @version;

-- name: FindWorkflow :one
SELECT id, public_id, name, newest_version, created_at FROM workflows WHERE tenant_id = @tenant_id AND name = @name;

-- name: ListWorkflows :many
-- A page ends early when its declarations reach the given bytes; the first one always comes. Lengths are known without reading the declarations.
-- found counts what there was before that, up to page_size.
SELECT p.public_id, p.name, p.created_at, v.version, v.digest, v.spec, v.created_at AS version_created_at, p.found
FROM (
  SELECT w.id, w.public_id, w.name, w.created_at, w.newest_version,
    sum(octet_length(s.spec)) OVER (ORDER BY w.name) AS bytes, row_number() OVER (ORDER BY w.name) AS place,
    count(*) OVER () AS found
  FROM (
    SELECT i.tenant_id, i.id, i.public_id, i.name, i.created_at, i.newest_version FROM workflows i
    WHERE i.tenant_id = @tenant_id AND i.name > @after_name ORDER BY i.name LIMIT @page_size
  ) w
  JOIN workflow_versions s ON s.tenant_id = w.tenant_id AND s.workflow_id = w.id AND s.version = w.newest_version
) p
JOIN workflow_versions v ON v.tenant_id = @tenant_id AND v.workflow_id = p.id AND v.version = p.newest_version
WHERE p.place = 1 OR p.bytes <= @page_bytes::bigint
ORDER BY p.name;

-- name: ListVersions :many
-- Newest first, with the same limit of bytes.
SELECT v.version, v.digest, v.spec, v.created_at, p.found
FROM (
  SELECT s.version, sum(octet_length(s.spec)) OVER (ORDER BY s.version DESC) AS bytes, row_number() OVER (ORDER BY s.version DESC) AS place,
    count(*) OVER () AS found
  FROM (
    SELECT i.version, i.spec FROM workflow_versions i
    WHERE i.tenant_id = @tenant_id AND i.workflow_id = @workflow_id AND i.version < @before_version ORDER BY i.version DESC LIMIT @page_size
  ) s
) p
JOIN workflow_versions v ON v.tenant_id = @tenant_id AND v.workflow_id = @workflow_id AND v.version = p.version
WHERE p.place = 1 OR p.bytes <= @page_bytes::bigint
ORDER BY v.version DESC;
