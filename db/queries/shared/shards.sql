-- Shard ownership.

-- name: ShardOfTenant :one
SELECT shard FROM tenant_shards WHERE tenant_id = @tenant_id;

-- name: ShardEpoch :one
SELECT epoch, address FROM shards WHERE id = @id;

-- name: LockShardExclusive :exec
-- Waits for every commit of the old owner that is under way.
SELECT pg_advisory_xact_lock(7320, @shard::int);

-- name: TakeShard :many
-- In a statement after the exclusive lock. Nothing comes back when another owner lives.
UPDATE shards SET epoch = epoch + 1, owner = @new_owner::uuid, address = @address, expires_at = clock_timestamp() + make_interval(secs => @lease_seconds::float8),
  engine_time = greatest(engine_time, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
WHERE id = @shard AND (owner IS NULL OR owner = @new_owner::uuid OR expires_at < clock_timestamp())
RETURNING epoch, engine_time;

-- name: RenewShards :many
-- One statement a process: keeps the leases and measures the offset to the clock of Postgres.
UPDATE shards SET expires_at = clock_timestamp() + make_interval(secs => @lease_seconds::float8), engine_time = greatest(engine_time, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
WHERE owner = @the_owner::uuid
RETURNING id, epoch, engine_time;

-- name: ReleaseShards :exec
UPDATE shards SET owner = NULL, address = '', expires_at = '-infinity' WHERE owner = @the_owner::uuid;

-- name: FreeShards :many
-- Shards that nobody owns any more.
SELECT id FROM shards WHERE owner IS NULL OR expires_at < clock_timestamp() ORDER BY id;
