-- name: InsertLogs :exec
-- A line that is there already is left as it is. The arrays are of one length and sorted by the key.
INSERT INTO logs (tenant_id, class, run_id, logged_at, assignment_id, sequence, task_no, generation, attempt, level, message, fields)
SELECT @tenant_id::bigint, unnest(@classes::smallint[]), unnest(@run_ids::uuid[]), unnest(@logged_at::bigint[]), unnest(@assignment_ids::uuid[]),
  unnest(@sequences::bigint[]), unnest(@task_nos::smallint[]), unnest(@generations::int[]), unnest(@attempts::int[]), unnest(@levels::smallint[]),
  unnest(@messages::text[]), unnest(@fields::bytea[])
ON CONFLICT DO NOTHING;
