package registry

import (
	"context"
	"errors"
	"math"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/registryq"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
)

// Get reads a workflow with the version of that number, or with its newest for 0. A name or a number that the tenant does not have gives NotFound.
func (s *Service) Get(ctx context.Context, name string, number int) (Workflow, error) {
	tenantID, err := tenant(ctx)
	if err != nil {
		return Workflow{}, err
	}
	switch {
	case !definition.IsName(name):
		return Workflow{}, definition.UnknownWorkflow(name) // it may not even be text that Postgres takes
	case number < 0 || number > math.MaxInt32:
		return Workflow{}, fault.InvalidField("version", "is %d, it must be a version's number, or 0 for the newest", number)
	}
	var w Workflow
	err = pg.InTenant(ctx, s.cfg.Pool, tenantID, func(tx pgx.Tx) error {
		q := registryq.New(tx)
		if number == 0 {
			w, err = newest(ctx, q, tenantID, name)
		} else {
			w, err = numbered(ctx, q, registryq.FindWorkflowParams{TenantID: tenantID, Name: name}, int32(number)) //nolint:gosec // checked above
		}
		return err
	})
	if err != nil {
		return Workflow{}, orUnknown(err, name)
	}
	return w, nil
}

func newest(ctx context.Context, q *registryq.Queries, tenantID int64, name string) (Workflow, error) {
	row, err := q.NewestWorkflow(ctx, registryq.NewestWorkflowParams{TenantID: tenantID, Name: name})
	if err != nil {
		return Workflow{}, err
	}
	v, err := version(row.Version, row.Digest, row.Spec, row.VersionCreatedAt)
	return Workflow{ID: row.PublicID, Name: row.Name, Created: row.CreatedAt, Version: v}, err
}

func numbered(ctx context.Context, q *registryq.Queries, find registryq.FindWorkflowParams, number int32) (Workflow, error) {
	w, err := q.FindWorkflow(ctx, find)
	if err != nil {
		return Workflow{}, err
	}
	row, err := q.Version(ctx, registryq.VersionParams{TenantID: find.TenantID, WorkflowID: w.ID, Version: number})
	if errors.Is(err, pgx.ErrNoRows) {
		return Workflow{}, unknownVersion(find.Name, number, w.NewestVersion)
	}
	if err != nil {
		return Workflow{}, err
	}
	v, err := version(row.Version, row.Digest, row.Spec, row.CreatedAt)
	return Workflow{ID: w.PublicID, Name: w.Name, Created: w.CreatedAt, Version: v}, err
}

func unknownVersion(name string, number, newest int32) error {
	return fault.New(fault.CodeNotFound, fault.ReasonNotFound, "workflow %q has no version %d: its newest is %d", name, number, newest).
		WithResource("workflow version", name+"@"+strconv.Itoa(int(number)))
}
