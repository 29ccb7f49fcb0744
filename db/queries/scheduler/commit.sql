-- Statements of the engine's commit: parallel arrays, in the order of the keys, so that two commits can never wait for each other crosswise.

-- name: LockShards :exec
-- The first statement of a commit. A takeover takes the exclusive lock, and so waits for the commits of the old owner.
SELECT pg_advisory_xact_lock_shared(7320, shard) FROM unnest(@shards::int[]) AS s (shard) ORDER BY shard;

-- name: CheckEpochs :exec
SELECT check_epochs(@shards::int[], @epochs::bigint[]);

-- name: InsertLive :execrows
INSERT INTO live (tenant_id, run_id, task_no, single, class, workflow_id, workflow_version, state, generation, attempt, lost, priority, lane, rank, due_at, deadline_at, created_at, queued_at, started_at, ended_at, assignment_id, worker_id, worker_session, stop_reason, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent, input, input_ref, output, output_ref, error, revision)
SELECT r.tenant_id, r.run_id, r.task_no, r.single, r.class, r.workflow_id, r.workflow_version, r.state, r.generation, r.attempt, r.lost, r.priority, r.lane, r.rank, r.due_at, r.deadline_at, r.created_at, r.queued_at, r.started_at, r.ended_at, r.assignment_id, r.worker_id, r.worker_session, r.stop_reason, r.request_hash, r.parent_run_id, r.parent_task_no, r.parent_generation, r.child_key, r.child_runs, r.traceparent, r.input, r.input_ref, r.output, r.output_ref, r.error, r.revision FROM unnest(
  @tenant_ids::bigint[],
  @run_ids::uuid[],
  @task_nos::smallint[],
  @singles::boolean[],
  @classs::smallint[],
  @workflow_ids::bigint[],
  @workflow_versions::int[],
  @states::text[],
  @generations::int[],
  @attempts::int[],
  @losts::int[],
  @prioritys::smallint[],
  @lanes::bigint[],
  @ranks::bigint[],
  @due_ats::bigint[],
  @deadline_ats::bigint[],
  @created_ats::bigint[],
  @queued_ats::bigint[],
  @started_ats::bigint[],
  @ended_ats::bigint[],
  @assignment_ids::uuid[],
  @worker_ids::uuid[],
  @worker_sessions::bigint[],
  @stop_reasons::smallint[],
  @request_hashs::bytea[],
  @parent_run_ids::uuid[],
  @parent_task_nos::smallint[],
  @parent_generations::int[],
  @child_keys::text[],
  @child_runss::int[],
  @traceparents::text[],
  @inputs::bytea[],
  @input_refs::uuid[],
  @outputs::bytea[],
  @output_refs::uuid[],
  @errors::bytea[],
  @revisions::bigint[]
) AS r (tenant_id, run_id, task_no, single, class, workflow_id, workflow_version, state, generation, attempt, lost, priority, lane, rank, due_at, deadline_at, created_at, queued_at, started_at, ended_at, assignment_id, worker_id, worker_session, stop_reason, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent, input, input_ref, output, output_ref, error, revision);

-- name: UpdateLive :execrows
UPDATE live SET
  state = n.state,
  generation = n.generation,
  attempt = n.attempt,
  lost = n.lost,
  lane = n.lane,
  rank = n.rank,
  due_at = n.due_at,
  deadline_at = n.deadline_at,
  queued_at = n.queued_at,
  started_at = n.started_at,
  ended_at = n.ended_at,
  assignment_id = n.assignment_id,
  worker_id = n.worker_id,
  worker_session = n.worker_session,
  stop_reason = n.stop_reason,
  child_runs = n.child_runs,
  output = n.output,
  output_ref = n.output_ref,
  error = n.error,
  revision = n.revision
FROM unnest(
  @tenant_ids::bigint[],
  @run_ids::uuid[],
  @task_nos::smallint[],
  @states::text[],
  @generations::int[],
  @attempts::int[],
  @losts::int[],
  @lanes::bigint[],
  @ranks::bigint[],
  @due_ats::bigint[],
  @deadline_ats::bigint[],
  @queued_ats::bigint[],
  @started_ats::bigint[],
  @ended_ats::bigint[],
  @assignment_ids::uuid[],
  @worker_ids::uuid[],
  @worker_sessions::bigint[],
  @stop_reasons::smallint[],
  @child_runss::int[],
  @outputs::bytea[],
  @output_refs::uuid[],
  @errors::bytea[],
  @revisions::bigint[]
) AS n (tenant_id, run_id, task_no, state, generation, attempt, lost, lane, rank, due_at, deadline_at, queued_at, started_at, ended_at, assignment_id, worker_id, worker_session, stop_reason, child_runs, output, output_ref, error, revision)
WHERE live.tenant_id = n.tenant_id AND live.run_id = n.run_id AND live.task_no = n.task_no;

-- name: FinishRuns :one
-- Moves whole runs to history. What never changes, inputs above all, is copied from the live row and not sent again.
WITH n AS (
  SELECT r.tenant_id, r.run_id, r.task_no, r.state, r.attempt, r.lost, r.queued_at, r.started_at, r.ended_at, r.assignment_id, r.worker_id, r.child_runs, r.output, r.output_ref, r.error, r.revision FROM unnest(
    @tenant_ids::bigint[],
    @run_ids::uuid[],
    @task_nos::smallint[],
    @states::text[],
    @attempts::int[],
    @losts::int[],
    @queued_ats::bigint[],
    @started_ats::bigint[],
    @ended_ats::bigint[],
    @assignment_ids::uuid[],
    @worker_ids::uuid[],
    @child_runss::int[],
    @outputs::bytea[],
    @output_refs::uuid[],
    @errors::bytea[],
    @revisions::bigint[]
  ) AS r (tenant_id, run_id, task_no, state, attempt, lost, queued_at, started_at, ended_at, assignment_id, worker_id, child_runs, output, output_ref, error, revision)
), g AS (
  DELETE FROM live USING n
  WHERE live.tenant_id = n.tenant_id AND live.run_id = n.run_id AND live.task_no = n.task_no
  RETURNING live.*
), runs AS (
  INSERT INTO history_runs (tenant_id, class, run_id, generation, single, workflow_id, workflow_version, state, attempt, lost, priority, created_at, queued_at, started_at, ended_at, assignment_id, worker_id, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent, input, input_ref, output, output_ref, error, revision)
  SELECT g.tenant_id, g.class, g.run_id, g.generation, g.single, g.workflow_id, g.workflow_version, n.state, n.attempt, n.lost, g.priority, g.created_at, n.queued_at, n.started_at, n.ended_at, n.assignment_id, n.worker_id, g.request_hash, g.parent_run_id, g.parent_task_no, g.parent_generation, g.child_key, n.child_runs, g.traceparent, g.input, g.input_ref, n.output, n.output_ref, n.error, n.revision
  FROM g JOIN n ON n.tenant_id = g.tenant_id AND n.run_id = g.run_id AND n.task_no = g.task_no
  WHERE g.task_no = 0
), tasks AS (
  INSERT INTO history_tasks (tenant_id, class, run_id, generation, task_no, state, attempt, lost, queued_at, started_at, ended_at, assignment_id, worker_id, output, output_ref, error, revision)
  SELECT g.tenant_id, g.class, g.run_id, g.generation, g.task_no, n.state, n.attempt, n.lost, n.queued_at, n.started_at, n.ended_at, n.assignment_id, n.worker_id, n.output, n.output_ref, n.error, n.revision
  FROM g JOIN n ON n.tenant_id = g.tenant_id AND n.run_id = g.run_id AND n.task_no = g.task_no
  WHERE g.task_no > 0
)
SELECT count(*) FROM g;

-- name: InsertAttempts :exec
INSERT INTO attempts (tenant_id, class, run_id, generation, task_no, ended_at, attempt, outcome, assignment_id, worker_id, started_at, error)
SELECT r.tenant_id, r.class, r.run_id, r.generation, r.task_no, r.ended_at, r.attempt, r.outcome, r.assignment_id, r.worker_id, r.started_at, r.error FROM unnest(
  @tenant_ids::bigint[],
  @classs::smallint[],
  @run_ids::uuid[],
  @generations::int[],
  @task_nos::smallint[],
  @ended_ats::bigint[],
  @attempts::int[],
  @outcomes::text[],
  @assignment_ids::uuid[],
  @worker_ids::uuid[],
  @started_ats::bigint[],
  @errors::bytea[]
) AS r (tenant_id, class, run_id, generation, task_no, ended_at, attempt, outcome, assignment_id, worker_id, started_at, error) ON CONFLICT DO NOTHING;

-- name: InsertChildRuns :exec
INSERT INTO child_runs (tenant_id, class, parent_run_id, run_id)
SELECT r.tenant_id, r.class, r.parent_run_id, r.run_id FROM unnest(@tenant_ids::bigint[], @classes::smallint[], @parent_run_ids::uuid[], @run_ids::uuid[]) AS r (tenant_id, class, parent_run_id, run_id)
ON CONFLICT DO NOTHING;

-- name: PutSessions :exec
INSERT INTO worker_sessions (tenant_id, worker_id, session, dispatcher, opened_at, closed_at)
SELECT tenant_id, worker_id, session, dispatcher, opened_at, 0
FROM unnest(@tenant_ids::bigint[], @worker_ids::uuid[], @sessions::bigint[], @dispatchers::text[], @opened_ats::bigint[]) AS r (tenant_id, worker_id, session, dispatcher, opened_at)
ON CONFLICT (tenant_id, worker_id, session) DO UPDATE SET dispatcher = excluded.dispatcher, opened_at = excluded.opened_at, closed_at = 0;

-- name: EndSessions :exec
UPDATE worker_sessions SET closed_at = n.closed_at
FROM unnest(@tenant_ids::bigint[], @worker_ids::uuid[], @sessions::bigint[], @closed_ats::bigint[]) AS n (tenant_id, worker_id, session, closed_at)
WHERE worker_sessions.tenant_id = n.tenant_id AND worker_sessions.worker_id = n.worker_id AND worker_sessions.session = n.session;

-- name: CountRuns :exec
-- Runs by the minute they ended in. Written with the commit that ends them, so that the counts are exact: a batch touches few buckets.
INSERT INTO run_counts (tenant_id, workflow_id, state, minute, runs)
SELECT r.tenant_id, r.workflow_id, r.state, r.minute, r.runs
FROM unnest(@tenant_ids::bigint[], @workflow_ids::bigint[], @states::text[], @minutes::bigint[], @runs::bigint[]) AS r (tenant_id, workflow_id, state, minute, runs)
ON CONFLICT (tenant_id, workflow_id, state, minute) DO UPDATE SET runs = run_counts.runs + excluded.runs;
