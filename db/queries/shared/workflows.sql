-- What the scheduler and the dispatcher read of the registry. internal/definition is the reader.

-- name: NewestWorkflowVersion :one
SELECT id, newest_version FROM workflows WHERE tenant_id = @tenant_id AND name = @name;

-- name: WorkflowVersionSpec :one
SELECT spec FROM workflow_versions WHERE tenant_id = @tenant_id AND workflow_id = @workflow_id AND version = @version;
