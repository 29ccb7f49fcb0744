-- +goose Up
-- What people look for among many runs, each found in the order of the page.

-- Failed, cancelled and timed-out runs of one workflow.
CREATE INDEX history_runs_workflow_bad ON history_runs (tenant_id, workflow_id, state, run_id) WHERE state IN ('failed', 'cancelled', 'timed_out');

-- Open runs that have begun, before a long line of those that have not. Short tasks never enter it: their rows are not written between their coming and their going.
CREATE INDEX live_begun ON live (tenant_id, run_id) WHERE task_no = 0 AND (started_at > 0 OR attempt > 1 OR lost > 0);

-- What people want of a worker: 0 that it serves, 1 that it gets nothing new, 2 that it finishes its work and ends.
ALTER TABLE workers ADD COLUMN wanted smallint NOT NULL DEFAULT 0 CHECK (wanted IN (0, 1, 2));
CREATE INDEX workers_newest ON workers (tenant_id, id DESC);

-- +goose Down
DROP INDEX workers_newest;
ALTER TABLE workers DROP COLUMN wanted;
DROP INDEX live_begun;
DROP INDEX history_runs_workflow_bad;
