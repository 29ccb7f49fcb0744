-- Shard ownership.

-- name: TenantBySlug :one
SELECT t.id, s.shard FROM tenants t JOIN tenant_shards s ON s.tenant_id = t.id WHERE t.slug = @slug;

-- name: ShardOfTenant :one
SELECT shard FROM tenant_shards WHERE tenant_id = @tenant_id;

-- name: ShardEpoch :one
SELECT epoch, address FROM shards WHERE id = @id;

-- name: BoundLockWait :one
-- In milliseconds, for the rest of the transaction.
SELECT set_config('lock_timeout', @milliseconds::text, true);

-- name: LockShardExclusive :exec
-- Waits for every commit of the old owner that is under way.
SELECT pg_advisory_xact_lock(7320, @shard::int);

-- name: TakeShard :many
-- In a statement after the exclusive lock. Nothing comes back when another owner lives, unless it is the one that is known to be gone. Clean: the
-- owner before gave the shard back in order, with every assignment recorded.
WITH before AS (
  SELECT s.id, s.owner IS NULL AS clean FROM shards s
  WHERE s.id = @shard AND (s.owner IS NULL OR s.owner = @new_owner::uuid OR s.owner = @gone::uuid OR s.expires_at < clock_timestamp())
)
UPDATE shards SET epoch = epoch + 1, owner = @new_owner::uuid, address = '', expires_at = clock_timestamp() + make_interval(secs => @lease_seconds::float8),
  engine_time = greatest(engine_time, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
FROM before
WHERE shards.id = before.id AND (shards.owner IS NULL OR shards.owner = @new_owner::uuid OR shards.owner = @gone::uuid OR shards.expires_at < clock_timestamp())
RETURNING shards.epoch, shards.engine_time, before.clean::boolean AS clean;

-- name: RenewShards :many
-- One statement a process: keeps its leases, measures the offset to the clock of Postgres, and shows who owns what.
WITH kept AS (
  UPDATE shards SET expires_at = clock_timestamp() + make_interval(secs => @lease_seconds::float8), engine_time = greatest(engine_time, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
  WHERE owner = @the_owner::uuid
  RETURNING id, engine_time
)
SELECT s.id, s.epoch, coalesce(s.owner, '00000000-0000-0000-0000-000000000000'::uuid)::uuid AS owner, (s.owner IS NULL OR s.expires_at < clock_timestamp())::boolean AS free,
  coalesce(kept.engine_time, 0)::bigint AS engine_time
FROM shards s LEFT JOIN kept ON kept.id = s.id
ORDER BY s.id;

-- name: ReleaseShards :exec
-- Gives shards back at once, unless they have been taken again since; with no list, all of the owner's. An owner that could not record everything stays named,
-- so that its successor waits for the workers.
UPDATE shards SET owner = CASE WHEN @clean::boolean THEN NULL ELSE owner END, address = '', expires_at = '-infinity'
WHERE owner = @the_owner::uuid
  AND (cardinality(@shards::int[]) = 0 OR EXISTS (SELECT FROM unnest(@shards::int[], @epochs::bigint[]) AS handed (id, epoch) WHERE handed.id = shards.id AND handed.epoch = shards.epoch));

-- name: MoveTenant :execrows
-- Under the exclusive locks of both shards.
UPDATE tenant_shards SET shard = @to_shard WHERE tenant_id = @tenant_id AND shard = @from_shard;

-- name: MoveEpochs :exec
-- Ends the epochs of both shards' owners, and lets the one that a tenant moves to go above the other, so that a tenant's epochs rise wherever it is. A shard
-- without an owner is no longer clean: the owner that the tenant comes from may have sent what is not recorded.
WITH above AS (SELECT max(epoch) AS epoch FROM shards WHERE id IN (@from_shard::int, @to_shard::int)),
  before AS (SELECT owner FROM shards WHERE id = @from_shard::int)
UPDATE shards SET epoch = above.epoch + CASE WHEN id = @to_shard::int THEN 2 ELSE 1 END, owner = coalesce(shards.owner, before.owner)
FROM above, before WHERE id IN (@from_shard::int, @to_shard::int);

-- name: Takeable :one
-- Whether a take would succeed, before anybody is disturbed for it.
SELECT (owner IS NULL OR owner = @new_owner::uuid OR owner = @gone::uuid OR expires_at < clock_timestamp())::boolean AS takeable FROM shards WHERE id = @shard;

-- name: TerminateHolders :one
-- Ends the backends that hold a shard's lock, and counts them.
SELECT terminate_shard_holders(@shard)::int;
