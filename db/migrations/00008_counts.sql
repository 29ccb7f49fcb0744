-- +goose Up
-- Two commits of a process may be under way at a time: each adds to rows of its own, so that none waits for the other's end. Readers add them up.
ALTER TABLE run_counts ADD COLUMN slot smallint NOT NULL DEFAULT 0;
ALTER TABLE run_counts DROP CONSTRAINT run_counts_pkey, ADD PRIMARY KEY (tenant_id, workflow_id, state, minute, slot);

-- +goose Down
CREATE TEMPORARY TABLE merged ON COMMIT DROP AS SELECT tenant_id, workflow_id, state, minute, sum(runs) AS runs FROM run_counts GROUP BY 1, 2, 3, 4;
DELETE FROM run_counts;
ALTER TABLE run_counts DROP CONSTRAINT run_counts_pkey, ADD PRIMARY KEY (tenant_id, workflow_id, state, minute), DROP COLUMN slot;
INSERT INTO run_counts (tenant_id, workflow_id, state, minute, runs) SELECT tenant_id, workflow_id, state, minute, runs FROM merged;
