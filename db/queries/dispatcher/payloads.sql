-- name: InsertPayloads :exec
INSERT INTO payloads (tenant_id, class, id, body)
SELECT @tenant_id::bigint, unnest(@classes::smallint[]), unnest(@ids::uuid[]), unnest(@bodies::bytea[]);

-- name: PayloadSizes :many
-- Sizes stand beside the pointer to a body, so that none is read for them.
SELECT class, id, octet_length(body)::bigint AS size FROM payloads
WHERE tenant_id = @tenant_id AND class = ANY (@classes::smallint[]) AND id = ANY (@ids::uuid[]);

-- name: PayloadBodies :many
SELECT id, body FROM payloads
WHERE tenant_id = @tenant_id AND class = ANY (@classes::smallint[]) AND id = ANY (@ids::uuid[]);
