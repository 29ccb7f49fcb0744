-- Statements of the engine's commit: parallel arrays, in the order of the keys, so that two commits can never wait for each other crosswise.

-- name: LockShards :exec
-- The first statement of a commit. A takeover takes the exclusive lock, and so waits for the commits of the old owner.
SELECT pg_advisory_xact_lock_shared(7320, shard) FROM unnest(@shards::int[]) AS s (shard) ORDER BY shard;

-- name: CheckEpochs :exec
SELECT check_epochs(@shards::int[], @epochs::bigint[]);

-- name: InsertQueued :execrows
-- The common case of InsertLive: runs of one task that have just been triggered by a client, and wait. Each array costs Postgres a pass of its own.
INSERT INTO live (tenant_id, run_id, task_no, single, class, workflow_id, workflow_version, state, generation, attempt, lost, priority, lane, rank, due_at, deadline_at, created_at, queued_at, started_at, ended_at, assignment_id, worker_id, worker_session, stop_reason, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent, input, input_ref, output, output_ref, error, revision)
SELECT r.tenant_id, r.run_id, 0, true, r.class, r.workflow_id, r.workflow_version, 'queued', 1, 1, 0, r.priority, r.lane, r.rank, r.due_at, r.deadline_at, r.created_at, r.created_at, 0, 0, '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', 0, 0, r.request_hash, '00000000-0000-0000-0000-000000000000', 0, 0, '', 0, r.traceparent, r.input, r.input_ref, NULL, '00000000-0000-0000-0000-000000000000', NULL, 1 FROM unnest(
  @tenant_ids::bigint[],
  @run_ids::uuid[],
  @classs::smallint[],
  @workflow_ids::bigint[],
  @workflow_versions::int[],
  @prioritys::smallint[],
  @lanes::bigint[],
  @ranks::bigint[],
  @due_ats::bigint[],
  @deadline_ats::bigint[],
  @created_ats::bigint[],
  @request_hashs::bytea[],
  @traceparents::text[],
  @inputs::bytea[],
  @input_refs::uuid[]
) AS r (tenant_id, run_id, class, workflow_id, workflow_version, priority, lane, rank, due_at, deadline_at, created_at, request_hash, traceparent, input, input_ref);

-- name: InsertLive :execrows
-- labels is NULL as a whole where no row has any.
INSERT INTO live (tenant_id, run_id, task_no, single, class, workflow_id, workflow_version, state, generation, attempt, lost, priority, lane, rank, due_at, deadline_at, created_at, queued_at, started_at, ended_at, assignment_id, worker_id, worker_session, stop_reason, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent, input, input_ref, output, output_ref, error, revision, labels)
SELECT r.tenant_id, r.run_id, r.task_no, r.single, r.class, r.workflow_id, r.workflow_version, r.state, r.generation, r.attempt, r.lost, r.priority, r.lane, r.rank, r.due_at, r.deadline_at, r.created_at, r.queued_at, r.started_at, r.ended_at, r.assignment_id, r.worker_id, r.worker_session, r.stop_reason, r.request_hash, r.parent_run_id, r.parent_task_no, r.parent_generation, r.child_key, r.child_runs, r.traceparent, r.input, r.input_ref, r.output, r.output_ref, r.error, r.revision, r.labels FROM unnest(
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
  @revisions::bigint[],
  @labels::bytea[]
) AS r (tenant_id, run_id, task_no, single, class, workflow_id, workflow_version, state, generation, attempt, lost, priority, lane, rank, due_at, deadline_at, created_at, queued_at, started_at, ended_at, assignment_id, worker_id, worker_session, stop_reason, request_hash, parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent, input, input_ref, output, output_ref, error, revision, labels);

-- name: UpdateLive :one
-- Changes rows in place, and counts them.
SELECT update_live(
  @tenant_ids::bigint[], @run_ids::uuid[], @task_nos::smallint[], @states::text[], @generations::int[], @attempts::int[], @losts::int[], @lanes::bigint[],
  @ranks::bigint[], @due_ats::bigint[], @deadline_ats::bigint[], @queued_ats::bigint[], @started_ats::bigint[], @ended_ats::bigint[], @assignment_ids::uuid[],
  @worker_ids::uuid[], @worker_sessions::bigint[], @stop_reasons::smallint[], @child_runss::int[], @outputs::bytea[], @output_refs::uuid[], @errors::bytea[],
  @revisions::bigint[])::bigint;

-- name: FinishRuns :one
-- Moves whole runs to history, and counts the rows moved.
SELECT finish_runs(
  @tenant_ids::bigint[], @run_ids::uuid[], @task_nos::smallint[], @states::text[], @attempts::int[], @losts::int[], @queued_ats::bigint[], @started_ats::bigint[],
  @ended_ats::bigint[], @assignment_ids::uuid[], @worker_ids::uuid[], @child_runss::int[], @outputs::bytea[], @output_refs::uuid[], @errors::bytea[],
  @revisions::bigint[])::bigint;

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

-- name: InsertRunLabels :exec
INSERT INTO run_labels (tenant_id, class, key, value, run_id)
SELECT r.tenant_id, r.class, r.key, r.value, r.run_id FROM unnest(@tenant_ids::bigint[], @classes::smallint[], @keys::text[], @values::text[], @run_ids::uuid[]) AS r (tenant_id, class, key, value, run_id)
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
