// Package definition turns a workflow's declaration (tenon.registry.v1.WorkflowSpec) into a checked flow.Workflow, its digest, its input schema and
// its plan, and keeps the plans that are in use (Plans). It is the wall between the registry's proto and internal/flow. The registry checks with
// it what is declared; the scheduler and the dispatcher read plans from it. It reads workflow_versions through db/sharedq and writes nothing.
package definition
