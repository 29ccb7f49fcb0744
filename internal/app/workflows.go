package app

import (
	"context"

	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
)

// workflows lets the scheduler see the registry's declarations.
type workflows struct{ plans *definition.Plans }

func (w workflows) Plan(ctx context.Context, tenantID, workflowID int64, version int) (*flow.Plan, error) {
	v, err := w.plans.Get(ctx, tenantID, workflowID, version)
	if err != nil {
		return nil, err
	}
	return v.Plan, nil
}

func (w workflows) Resolve(ctx context.Context, tenantID int64, name string, version int) (*flow.Plan, error) {
	id, newest, err := w.plans.Newest(ctx, tenantID, name)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		version = newest
	}
	return w.Plan(ctx, tenantID, id, version)
}

func (w workflows) CheckInput(ctx context.Context, tenantID int64, plan *flow.Plan, input []byte) error {
	v, err := w.plans.Get(ctx, tenantID, plan.WorkflowID, plan.Version)
	if err != nil || v.Schema == nil {
		return err
	}
	if faults := v.Schema.Validate(input); len(faults) > 0 {
		return fault.Invalid("INPUT_SCHEMA", "the input does not satisfy the input schema of workflow "+plan.Workflow.Name, definition.Fields(faults)...)
	}
	return nil
}
