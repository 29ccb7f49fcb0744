-- What callers read, under row-level security.

-- name: ListOpenRuns :many
-- Open runs, newest first; with waiting set only those that have not begun, as far as their rows and begun_ids know.
SELECT l.run_id, l.generation, l.single, l.workflow_id, l.workflow_version, l.state, l.attempt, l.lost, l.priority, l.created_at, l.queued_at,
  l.started_at, l.ended_at, l.parent_run_id, l.parent_task_no, l.child_runs, l.worker_id, l.error, l.revision, l.labels, true AS open
FROM live l
WHERE l.tenant_id = @tenant_id AND l.task_no = 0 AND l.run_id < @before_id AND l.run_id >= @from_id
  AND (@workflow_id::bigint = 0 OR l.workflow_id = @workflow_id)
  AND (NOT @waiting::boolean OR NOT (l.started_at > 0 OR l.attempt > 1 OR l.lost > 0 OR l.run_id = ANY (@begun_ids::uuid[])))
ORDER BY l.run_id DESC LIMIT @page_size;

-- name: ListBegunRuns :many
-- Open runs that have begun, newest first: by their rows, and those that the owner alone knows of.
SELECT r.run_id, r.generation, r.single, r.workflow_id, r.workflow_version, r.state, r.attempt, r.lost, r.priority, r.created_at, r.queued_at,
  r.started_at, r.ended_at, r.parent_run_id, r.parent_task_no, r.child_runs, r.worker_id, r.error, r.revision, r.labels, true AS open
FROM (
  (SELECT b.* FROM live b
   WHERE b.tenant_id = @tenant_id AND b.task_no = 0 AND (b.started_at > 0 OR b.attempt > 1 OR b.lost > 0) AND b.run_id < @before_id AND b.run_id >= @from_id
     AND (@workflow_id::bigint = 0 OR b.workflow_id = @workflow_id)
   ORDER BY b.run_id DESC LIMIT @page_size)
  UNION ALL
  (SELECT y.* FROM unnest(@begun_ids::uuid[]) AS k (run_id)
   CROSS JOIN LATERAL (SELECT * FROM live WHERE live.tenant_id = @tenant_id AND live.run_id = k.run_id AND live.task_no = 0 OFFSET 0) AS y
   WHERE NOT (y.started_at > 0 OR y.attempt > 1 OR y.lost > 0) AND y.run_id < @before_id AND y.run_id >= @from_id
     AND (@workflow_id::bigint = 0 OR y.workflow_id = @workflow_id)
   ORDER BY y.run_id DESC LIMIT @page_size)
) AS r
ORDER BY r.run_id DESC LIMIT @page_size;

-- name: ListFinishedRuns :many
-- Finished runs in their newest generation, newest first, class by class in the order of the key. With by_state a run that is open again is left out.
SELECT r.run_id, r.generation, r.single, r.workflow_id, r.workflow_version, r.state, r.attempt, r.lost, r.priority, r.created_at, r.queued_at,
  r.started_at, r.ended_at, r.parent_run_id, r.parent_task_no, r.child_runs, r.worker_id, r.error, r.revision, r.labels, false AS open
FROM unnest('{1,2,3}'::smallint[]) AS c (class)
CROSS JOIN LATERAL (
  SELECT h.* FROM history_runs h
  WHERE h.tenant_id = @tenant_id AND h.class = c.class AND h.run_id < @before_id AND h.run_id >= @from_id
    AND (@workflow_id::bigint = 0 OR h.workflow_id = @workflow_id)
    AND (NOT @by_state::boolean OR h.state = ANY (@states::text[]) AND NOT EXISTS (SELECT 1 FROM live o WHERE o.tenant_id = h.tenant_id AND o.run_id = h.run_id AND o.task_no = 0))
    AND h.generation = (
    SELECT n.generation FROM history_runs n WHERE n.tenant_id = h.tenant_id AND n.class = h.class AND n.run_id = h.run_id ORDER BY n.generation DESC LIMIT 1)
  ORDER BY h.run_id DESC LIMIT @page_size
) AS r
ORDER BY r.run_id DESC LIMIT @page_size;

-- name: ListBadRuns :many
-- Finished runs that did not complete: each state is read in the order of its index.
SELECT r.run_id, r.generation, r.single, r.workflow_id, r.workflow_version, r.state, r.attempt, r.lost, r.priority, r.created_at, r.queued_at,
  r.started_at, r.ended_at, r.parent_run_id, r.parent_task_no, r.child_runs, r.worker_id, r.error, r.revision, r.labels, false AS open
FROM unnest('{1,2,3}'::smallint[]) AS c (class)
CROSS JOIN unnest(@states::text[]) AS s (state)
CROSS JOIN LATERAL (
  SELECT h.* FROM history_runs h
  WHERE h.tenant_id = @tenant_id AND h.class = c.class AND h.state = s.state AND h.state IN ('failed', 'cancelled', 'timed_out')
    AND h.run_id < @before_id AND h.run_id >= @from_id
    AND (@workflow_id::bigint = 0 OR h.workflow_id = @workflow_id)
    AND NOT EXISTS (SELECT 1 FROM live o WHERE o.tenant_id = h.tenant_id AND o.run_id = h.run_id AND o.task_no = 0)
    AND h.generation = (
    SELECT n.generation FROM history_runs n WHERE n.tenant_id = h.tenant_id AND n.class = h.class AND n.run_id = h.run_id ORDER BY n.generation DESC LIMIT 1)
  ORDER BY h.run_id DESC LIMIT @page_size
) AS r
ORDER BY r.run_id DESC LIMIT @page_size;

-- name: ChildIDs :many
-- The children of a run, newest first.
SELECT r.run_id FROM unnest('{1,2,3}'::smallint[]) AS c (class)
CROSS JOIN LATERAL (
  SELECT h.run_id FROM child_runs h
  WHERE h.tenant_id = @tenant_id AND h.class = c.class AND h.parent_run_id = @parent_run_id AND h.run_id < @before_id AND h.run_id >= @from_id
  ORDER BY h.run_id DESC LIMIT @page_size
) AS r
ORDER BY r.run_id DESC LIMIT @page_size;

-- name: LabelledIDs :many
-- The runs that carry a label, newest first.
SELECT r.run_id FROM unnest('{1,2,3}'::smallint[]) AS c (class)
CROSS JOIN LATERAL (
  SELECT h.run_id FROM run_labels h
  WHERE h.tenant_id = @tenant_id AND h.class = c.class AND h.key = @key AND h.value = @value AND h.run_id < @before_id AND h.run_id >= @from_id
  ORDER BY h.run_id DESC LIMIT @page_size
) AS r
ORDER BY r.run_id DESC LIMIT @page_size;

-- name: ListedRuns :many
-- Runs as a list shows them, open or finished.
SELECT r.run_id, r.generation, r.single, r.workflow_id, r.workflow_version, r.state, r.attempt, r.lost, r.priority, r.created_at, r.queued_at,
  r.started_at, r.ended_at, r.parent_run_id, r.parent_task_no, r.child_runs, r.worker_id, r.error, r.revision, r.labels, r.open::boolean AS open FROM unnest(@run_ids::uuid[]) AS k (run_id)
CROSS JOIN LATERAL (
  (SELECT live.run_id, live.generation, live.single, live.workflow_id, live.workflow_version, live.state, live.attempt, live.lost, live.priority, live.created_at, live.queued_at,
  live.started_at, live.ended_at, live.parent_run_id, live.parent_task_no, live.child_runs, live.worker_id, live.error, live.revision, live.labels, true AS open
   FROM live WHERE live.tenant_id = @tenant_id AND live.run_id = k.run_id AND live.task_no = 0)
  UNION ALL
  (SELECT h.run_id, h.generation, h.single, h.workflow_id, h.workflow_version, h.state, h.attempt, h.lost, h.priority, h.created_at, h.queued_at,
  h.started_at, h.ended_at, h.parent_run_id, h.parent_task_no, h.child_runs, h.worker_id, h.error, h.revision, h.labels, false
   FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 1 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  UNION ALL
  (SELECT h.run_id, h.generation, h.single, h.workflow_id, h.workflow_version, h.state, h.attempt, h.lost, h.priority, h.created_at, h.queued_at,
  h.started_at, h.ended_at, h.parent_run_id, h.parent_task_no, h.child_runs, h.worker_id, h.error, h.revision, h.labels, false
   FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 2 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  UNION ALL
  (SELECT h.run_id, h.generation, h.single, h.workflow_id, h.workflow_version, h.state, h.attempt, h.lost, h.priority, h.created_at, h.queued_at,
  h.started_at, h.ended_at, h.parent_run_id, h.parent_task_no, h.child_runs, h.worker_id, h.error, h.revision, h.labels, false
   FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 3 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  LIMIT 1
) AS r
ORDER BY r.run_id DESC;

-- name: ListAttempts :many
SELECT * FROM attempts
WHERE tenant_id = @tenant_id AND class = @class AND run_id = @run_id AND (ended_at, assignment_id) > (@after_ended, @after_assignment::uuid)
ORDER BY ended_at, assignment_id LIMIT @page_size;

-- name: ListLogs :many
-- A page of a run's log. A search looks through scan_size lines at most.
SELECT w.logged_at, w.assignment_id, w.sequence, w.task_no, w.generation, w.attempt, w.level, w.message, w.fields
FROM (
  SELECT l.* FROM logs l
  WHERE l.tenant_id = @tenant_id AND l.class = @class AND l.run_id = @run_id
    AND (l.logged_at, l.assignment_id, l.sequence) > (@after_logged, @after_assignment::uuid, @after_sequence)
  ORDER BY l.logged_at, l.assignment_id, l.sequence LIMIT @scan_size
) AS w
WHERE (@task_no::smallint = 0 OR w.task_no = @task_no::smallint) AND w.level >= @min_level::smallint AND (@search::text = '' OR strpos(lower(w.message), lower(@search::text)) > 0)
ORDER BY w.logged_at, w.assignment_id, w.sequence LIMIT @page_size;

-- name: LogScanEnd :many
-- The last line that a search over skip + 1 lines has looked at; none when the log ends before it.
SELECT l.logged_at, l.assignment_id, l.sequence FROM logs l
WHERE l.tenant_id = @tenant_id AND l.class = @class AND l.run_id = @run_id
  AND (l.logged_at, l.assignment_id, l.sequence) > (@after_logged, @after_assignment::uuid, @after_sequence)
ORDER BY l.logged_at, l.assignment_id, l.sequence OFFSET @skip LIMIT 1;

-- name: CountOpenRuns :one
-- How many runs are open and how many of them have begun, from at most scan_size rows of the tenant.
SELECT count(*) FILTER (WHERE o.task_no = 0 AND (@workflow_id::bigint = 0 OR o.workflow_id = @workflow_id::bigint)) AS open,
  count(*) FILTER (WHERE o.task_no = 0 AND (@workflow_id::bigint = 0 OR o.workflow_id = @workflow_id::bigint) AND (o.started_at > 0 OR o.attempt > 1 OR o.lost > 0)) AS begun,
  count(*) AS rows
FROM (SELECT l.task_no, l.workflow_id, l.started_at, l.attempt, l.lost FROM live l WHERE l.tenant_id = @tenant_id LIMIT @scan_size) AS o;

-- name: CountEndedRuns :many
-- Runs by the step of minutes that they ended in. The key begins with the workflow, so each of the tenant's workflows is a range of its own.
SELECT s.state::text AS state, ((c.minute - @from_minute::bigint) / @step_minutes::bigint)::bigint AS step, sum(c.runs)::bigint AS runs
FROM workflows w
CROSS JOIN unnest('{completed,failed,cancelled,timed_out}'::text[]) AS s (state)
JOIN run_counts c ON c.tenant_id = w.tenant_id AND c.workflow_id = w.id AND c.state = s.state AND c.minute >= @from_minute AND c.minute < @to_minute
WHERE w.tenant_id = @tenant_id AND (@workflow_id::bigint = 0 OR w.id = @workflow_id)
GROUP BY 1, 2;

-- name: SampleRuns :many
-- How the newest finished runs of a workflow went.
SELECT r.state, r.created_at, r.started_at, r.ended_at
FROM unnest('{1,2,3}'::smallint[]) AS c (class)
CROSS JOIN LATERAL (
  SELECT h.run_id, h.state, h.created_at, h.started_at, h.ended_at FROM history_runs h
  WHERE h.tenant_id = @tenant_id AND h.class = c.class AND h.workflow_id = @workflow_id AND h.run_id >= @from_id
  ORDER BY h.run_id DESC LIMIT @sample_size
) AS r
ORDER BY r.run_id DESC LIMIT @sample_size;

-- name: WorkflowHealth :many
-- How the newest finished runs of several workflows went. Quantiles by nearest rank; -1: no run counts for it.
SELECT w.name,
  count(*) AS runs,
  count(*) FILTER (WHERE s.state = 'completed') AS completed,
  count(*) FILTER (WHERE s.state = 'failed') AS failed,
  count(*) FILTER (WHERE s.state = 'cancelled') AS cancelled,
  count(*) FILTER (WHERE s.state = 'timed_out') AS timed_out,
  coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY greatest(0, s.ended_at - s.started_at)) FILTER (WHERE s.state = 'completed' AND s.started_at > 0), -1)::bigint AS run_p50,
  coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY greatest(0, s.ended_at - s.started_at)) FILTER (WHERE s.state = 'completed' AND s.started_at > 0), -1)::bigint AS run_p95,
  coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY greatest(0, s.started_at - s.created_at)) FILTER (WHERE s.started_at > 0), -1)::bigint AS queue_p50,
  coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY greatest(0, s.started_at - s.created_at)) FILTER (WHERE s.started_at > 0), -1)::bigint AS queue_p95
FROM workflows w
CROSS JOIN LATERAL (
  SELECT r.state, r.created_at, r.started_at, r.ended_at
  FROM unnest('{1,2,3}'::smallint[]) AS c (class)
  CROSS JOIN LATERAL (
    SELECT h.run_id, h.state, h.created_at, h.started_at, h.ended_at FROM history_runs h
    WHERE h.tenant_id = w.tenant_id AND h.class = c.class AND h.workflow_id = w.id AND h.run_id >= @from_id
    ORDER BY h.run_id DESC LIMIT @sample_size
  ) AS r
  ORDER BY r.run_id DESC LIMIT @sample_size
) AS s
WHERE w.tenant_id = @tenant_id AND w.name = ANY(@names::text[])
GROUP BY w.name ORDER BY w.name;

-- name: GetPayload :one
SELECT body FROM payloads WHERE tenant_id = @tenant_id AND class = @class AND id = @id;

-- name: OpenChildren :many
-- The open children of a run, found among all of its children.
SELECT c.run_id FROM child_runs c
CROSS JOIN LATERAL (SELECT 1 FROM live WHERE live.tenant_id = @tenant_id AND live.run_id = c.run_id AND live.task_no = 0 OFFSET 0) AS o
WHERE c.tenant_id = @tenant_id AND c.class IN (1, 2, 3) AND c.parent_run_id = @parent_run_id
ORDER BY c.run_id LIMIT @page_size;

-- name: RunVersions :many
-- Which workflow versions runs are of, open or finished.
SELECT v.run_id, v.workflow_id, v.workflow_version FROM unnest(@run_ids::uuid[]) AS k (run_id)
CROSS JOIN LATERAL (
  (SELECT live.run_id, live.workflow_id, live.workflow_version FROM live WHERE live.tenant_id = @tenant_id AND live.run_id = k.run_id AND live.task_no = 0)
  UNION ALL
  (SELECT h.run_id, h.workflow_id, h.workflow_version FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 1 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  UNION ALL
  (SELECT h.run_id, h.workflow_id, h.workflow_version FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 2 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  UNION ALL
  (SELECT h.run_id, h.workflow_id, h.workflow_version FROM history_runs h WHERE h.tenant_id = @tenant_id AND h.class = 3 AND h.run_id = k.run_id ORDER BY h.generation DESC LIMIT 1)
  LIMIT 1
) AS v;
