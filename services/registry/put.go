package registry

import (
	"bytes"
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/registryq"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

// Put declares a workflow. A declaration that means the same as the newest version (definition.Digest) changes nothing and answers with that
// version; any other becomes the next one, and created is true. A bad declaration gives Invalid with every fault; a tenant with 10,000 workflows and
// a workflow with 10,000 versions give ResourceExhausted.
func (s *Service) Put(ctx context.Context, spec *registryv1.WorkflowSpec) (w Workflow, created bool, err error) {
	tenantID, err := tenant(ctx)
	if err != nil {
		return Workflow{}, false, err
	}
	checked, faults := definition.Check(spec)
	if len(faults) > 0 {
		return Workflow{}, false, fault.Invalid(ReasonInvalid, "the workflow's declaration is not valid", definition.Fields(faults)...)
	}
	declared, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return Workflow{}, false, fault.Internal(err, "encode the declaration of workflow %s", checked.Name)
	}
	digest := definition.Digest(checked)
	p := put{service: s, tenantID: tenantID, name: checked.Name, digest: digest[:], spec: declared}
	err = pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		w, created, err = p.run(ctx, registryq.New(tx))
		return err
	})
	if err != nil {
		return Workflow{}, false, pg.Fault(err)
	}
	if created {
		s.tell(tenantID, w)
	}
	return w, created, nil
}

// tell makes caches forget which version is the newest: here at once, elsewhere by a hint that may get lost.
func (s *Service) tell(tenantID int64, w Workflow) {
	s.cfg.Changed(tenantID, w.Name)
	if err := s.cfg.Bus.Publish(definition.ChangedSubject(tenantID), []byte(w.Name)); err != nil {
		s.cfg.Log.Warn("registry: the hint of a new version was lost, other processes see it within seconds", "workflow", w.Name, "error", err)
	}
	s.cfg.Log.Info("registry: new version", "tenant_id", tenantID, "workflow", w.Name, "version", w.Version.Number)
}

// put is one declaration on its way into the database.
type put struct {
	service      *Service
	tenantID     int64
	name         string
	digest, spec []byte
}

func (p put) run(ctx context.Context, q *registryq.Queries) (Workflow, bool, error) {
	// Workers declare what they serve at every start: the usual put changes nothing and takes no lock.
	w, same, err := p.newest(ctx, q)
	if err != nil || same {
		return w, false, err
	}
	row, err := p.lock(ctx, q)
	if err != nil {
		return Workflow{}, false, err
	}
	if row.NewestVersion > 0 {
		if w, same, err = p.newest(ctx, q); err != nil || same {
			return w, false, err
		}
	}
	if int(row.NewestVersion) >= p.service.cfg.MaxVersions {
		return Workflow{}, false, fault.ResourceExhausted(ReasonTooManyVersions,
			"workflow %q has %d versions, which is the most: declare it under a new name, and look for what changes its declaration so often",
			p.name, row.NewestVersion).
			WithResource("workflow", p.name)
	}
	number := row.NewestVersion + 1
	at, err := q.InsertVersion(ctx, registryq.InsertVersionParams{TenantID: p.tenantID, WorkflowID: row.ID, Version: number, Digest: p.digest, Spec: p.spec})
	if err != nil {
		return Workflow{}, false, err
	}
	if err := q.SetNewestVersion(ctx, registryq.SetNewestVersionParams{TenantID: p.tenantID, ID: row.ID, Version: number}); err != nil {
		return Workflow{}, false, err
	}
	made, err := version(number, p.digest, p.spec, at)
	return Workflow{ID: row.PublicID, Name: p.name, Created: row.CreatedAt, Version: made}, true, err
}

// newest reads the newest version and tells whether it is the same declaration.
func (p put) newest(ctx context.Context, q *registryq.Queries) (Workflow, bool, error) {
	row, err := q.NewestWorkflow(ctx, registryq.NewestWorkflowParams{TenantID: p.tenantID, Name: p.name})
	if errors.Is(err, pgx.ErrNoRows) {
		return Workflow{}, false, nil
	}
	if err != nil || !bytes.Equal(row.Digest, p.digest) {
		return Workflow{}, false, err
	}
	v, err := version(row.Version, row.Digest, row.Spec, row.VersionCreatedAt)
	return Workflow{ID: row.PublicID, Name: row.Name, Created: row.CreatedAt, Version: v}, true, err
}

// lock holds the workflow's row until the transaction ends, and makes it first where there is none.
func (p put) lock(ctx context.Context, q *registryq.Queries) (registryq.LockWorkflowRow, error) {
	row, err := q.LockWorkflow(ctx, registryq.LockWorkflowParams{TenantID: p.tenantID, Name: p.name})
	if !errors.Is(err, pgx.ErrNoRows) {
		return row, err
	}
	// One maker at a time in a tenant; each statement after the lock sees what the one before has committed.
	if err := q.LockTenantWorkflows(ctx, int32(p.tenantID&0x7fffffff)); err != nil { //nolint:gosec // 31 bits fit
		return row, err
	}
	row, err = q.LockWorkflow(ctx, registryq.LockWorkflowParams{TenantID: p.tenantID, Name: p.name})
	if !errors.Is(err, pgx.ErrNoRows) {
		return row, err
	}
	count, err := q.CountWorkflows(ctx, p.tenantID)
	if err != nil {
		return row, err
	}
	if count >= int64(p.service.cfg.MaxWorkflows) {
		return row, fault.ResourceExhausted(ReasonTooManyWorkflows,
			"the tenant has %d workflows, which is the most: workflow %q is not declared; give runs different inputs instead of workflows of their own", count, p.name)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return row, fault.Internal(err, "make a workflow's id")
	}
	made, err := q.InsertWorkflow(ctx, registryq.InsertWorkflowParams{TenantID: p.tenantID, PublicID: flow.ID(id), Name: p.name})
	return registryq.LockWorkflowRow(made), err
}
