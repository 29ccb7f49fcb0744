package registry

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/registryq"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/pg"
)

const (
	// defaultPage and maxPage are items of a page.
	defaultPage = 100
	maxPage     = 1000
	// maxPageBytes ends a page early, so that an answer stays below the 4 MiB that gRPC clients take by default. The first item always comes.
	maxPageBytes = 2 << 20
)

// Page asks for a part of a list.
type Page struct {
	// Size is the most items to return. Default 100, at most 1,000.
	Size int
	// Token is what the page before ended with; empty for the first.
	Token string
}

func (p Page) size() int32 {
	if p.Size <= 0 {
		return defaultPage
	}
	return int32(min(p.Size, maxPage)) //nolint:gosec // at most 1,000
}

// List lists the tenant's workflows by name, each with its newest version. The token is empty after the last page. A page may have fewer items than
// asked for and still have a successor.
func (s *Service) List(ctx context.Context, page Page) ([]Workflow, string, error) {
	tenantID, err := tenant(ctx)
	if err != nil {
		return nil, "", err
	}
	after, err := readWorkflowsToken(page.Token)
	if err != nil {
		return nil, "", err
	}
	var rows []registryq.ListWorkflowsRow
	err = pg.InTenant(ctx, s.cfg.Pool, tenantID, func(tx pgx.Tx) error {
		// One more than asked for tells whether there is a next page.
		rows, err = registryq.New(tx).ListWorkflows(ctx, registryq.ListWorkflowsParams{
			TenantID: tenantID, AfterName: after, PageSize: page.size() + 1, PageBytes: maxPageBytes,
		})
		return err
	})
	if err != nil {
		return nil, "", pg.Fault(err)
	}
	if len(rows) == 0 {
		return nil, "", nil
	}
	found := int(rows[0].Found)
	rows = rows[:min(len(rows), int(page.size()))]
	list := make([]Workflow, len(rows))
	for i, row := range rows {
		v, err := version(row.Version, row.Digest, row.Spec, row.VersionCreatedAt)
		if err != nil {
			return nil, "", err
		}
		list[i] = Workflow{ID: row.PublicID, Name: row.Name, Created: row.CreatedAt, Version: v}
	}
	if found == len(list) {
		return list, "", nil
	}
	return list, writeWorkflowsToken(list[len(list)-1].Name), nil
}

// ListVersions lists a workflow's versions, newest first. A name that the tenant does not have gives NotFound.
func (s *Service) ListVersions(ctx context.Context, name string, page Page) ([]Version, string, error) {
	tenantID, err := tenant(ctx)
	if err != nil {
		return nil, "", err
	}
	if !definition.IsName(name) {
		return nil, "", definition.UnknownWorkflow(name)
	}
	before := int32(math.MaxInt32)
	if page.Token != "" {
		if before, err = readVersionsToken(page.Token, name); err != nil {
			return nil, "", err
		}
	}
	var rows []registryq.ListVersionsRow
	err = pg.InTenant(ctx, s.cfg.Pool, tenantID, func(tx pgx.Tx) error {
		// One more than asked for, as above.
		q := registryq.New(tx)
		w, err := q.FindWorkflow(ctx, registryq.FindWorkflowParams{TenantID: tenantID, Name: name})
		if err != nil {
			return err
		}
		rows, err = q.ListVersions(ctx, registryq.ListVersionsParams{
			TenantID: tenantID, WorkflowID: w.ID, BeforeVersion: before, PageSize: page.size() + 1, PageBytes: maxPageBytes,
		})
		return err
	})
	if err != nil {
		return nil, "", orUnknown(err, name)
	}
	if len(rows) == 0 {
		return nil, "", nil
	}
	found := int(rows[0].Found)
	rows = rows[:min(len(rows), int(page.size()))]
	list := make([]Version, len(rows))
	for i, row := range rows {
		if list[i], err = version(row.Version, row.Digest, row.Spec, row.CreatedAt); err != nil {
			return nil, "", err
		}
	}
	if found == len(list) {
		return list, "", nil
	}
	return list, writeVersionsToken(name, list[len(list)-1].Number), nil
}
