package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

// The reasons of the registry's own faults.
const (
	ReasonInvalid          = "WORKFLOW_INVALID"
	ReasonTooManyWorkflows = "TOO_MANY_WORKFLOWS"
	ReasonTooManyVersions  = "TOO_MANY_VERSIONS"
	ReasonNoTenant         = "TENANT_MISSING"
)

// Service keeps workflow declarations. Its methods act for the tenant of the context's principal.
type Service struct{ cfg Config }

// New returns a registry.
func New(cfg Config) (*Service, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg}, nil
}

// Workflow is a workflow with one of its versions.
type Workflow struct {
	ID      flow.ID
	Name    string
	Created time.Time
	Version Version
}

// Version is one version of a workflow, with the declaration as it was first put.
type Version struct {
	Number  int
	Digest  string // SHA-256 in hex
	Spec    *registryv1.WorkflowSpec
	Created time.Time
}

// tenant tells whom a call is for. The interceptors let nobody through without one; a mistake there must not end in tenant 0.
func tenant(ctx context.Context) (int64, error) {
	id := authn.From(ctx).TenantID
	if id == 0 {
		return 0, fault.Unauthenticated(ReasonNoTenant, "the call is for no tenant: use a tenant's token, or name the tenant in the Tenon-Tenant header")
	}
	return id, nil
}

// version reads a stored row.
func version(number int32, digest, spec []byte, created time.Time) (Version, error) {
	v := Version{Number: int(number), Digest: hex.EncodeToString(digest), Spec: &registryv1.WorkflowSpec{}, Created: created}
	if err := proto.Unmarshal(spec, v.Spec); err != nil {
		return Version{}, fault.Internal(err, "decode a stored workflow declaration")
	}
	return v, nil
}

// orUnknown names the workflow where its row is not there.
func orUnknown(err error, name string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return definition.UnknownWorkflow(name)
	}
	return pg.Fault(err)
}
