-- +goose Up
-- Ends the backends that hold a shard's lock: of an owner that was stopped in the middle of a commit, which no timeout of Postgres ends. It works as
-- its caller, who may end backends of the same role.
-- +goose StatementBegin
CREATE FUNCTION terminate_shard_holders(the_shard int) RETURNS int LANGUAGE sql AS $$
  SELECT count(pg_terminate_backend(l.pid))::int FROM pg_locks l
  WHERE l.locktype = 'advisory' AND l.classid = 7320 AND l.objid = the_shard::oid AND l.objsubid = 2 AND l.granted AND l.pid <> pg_backend_pid()
    AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION terminate_shard_holders(int);
