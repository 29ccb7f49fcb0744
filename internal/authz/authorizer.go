package authz

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"
	"github.com/casbin/casbin/v2/util"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

//go:embed model.conf
var modelText string

//go:embed policy.csv
var policyText string

// The built-in roles. The first four are what members and API tokens can have.
const (
	RoleOwner     = "owner"
	RoleAdmin     = "admin"
	RoleDeveloper = "developer"
	RoleViewer    = "viewer"
	RoleWorker    = "worker"
	RoleUser      = "user"
	RoleAPI       = "api" // an API token about itself
	RoleAnonymous = "anonymous"
)

// The reasons of the faults that Check and Covers give.
const (
	ReasonTokenMissing     = "TOKEN_MISSING"
	ReasonTenantRequired   = "TENANT_REQUIRED"
	ReasonPermissionDenied = "PERMISSION_DENIED"
	ReasonScopeMissing     = "SCOPE_MISSING"
)

const (
	domainAccount   = "account"
	domainAnonymous = "anonymous"
	domainTenants   = "tenant:*"
)

// Authorizer decides. Its methods may be called from any goroutine.
type Authorizer struct {
	enforcer *casbin.SyncedCachedEnforcer
	rights   map[string][]pattern // what each role may do in its tenant
}

// New returns an authorizer with the built-in roles.
func New() (*Authorizer, error) { return newFrom(policyText) }

func newFrom(policy string) (*Authorizer, error) {
	parsed, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, fmt.Errorf("authz: read model: %w", err)
	}
	enforcer, err := casbin.NewSyncedCachedEnforcer(parsed, stringadapter.NewAdapter(policy))
	if err != nil {
		return nil, fmt.Errorf("authz: read policy: %w", err)
	}
	enforcer.SetCache(newDecisions())
	enforcer.AddNamedDomainMatchingFunc("g", "keyMatch", util.KeyMatch)
	if err := enforcer.BuildRoleLinks(); err != nil {
		return nil, fmt.Errorf("authz: link roles: %w", err)
	}
	rights, err := rightsOf(enforcer)
	if err != nil {
		return nil, fmt.Errorf("authz: read policy: %w", err)
	}
	return &Authorizer{enforcer: enforcer, rights: rights}, nil
}

// Check returns nil when p may do what access asks for. Errors: Unauthenticated without a token, PermissionDenied otherwise, naming the action, the
// role and what to do.
func (a *Authorizer) Check(_ context.Context, p authn.Principal, access *optionsv1.Access) error {
	object, action := access.GetObject(), access.GetAction()
	switch access.GetScope() {
	case optionsv1.Access_SCOPE_ANONYMOUS:
		return a.decide(RoleAnonymous, domainAnonymous, object, action)
	case optionsv1.Access_SCOPE_ACCOUNT:
		if p.Kind == authn.KindAnonymous {
			return tokenMissing(object, action)
		}
		return a.decide(accountRole(p), domainAccount, object, action)
	case optionsv1.Access_SCOPE_UNSPECIFIED:
		return a.checkTenant(p, object, action)
	default:
		return fault.PermissionDenied(ReasonPermissionDenied, "%s:%s is of a scope that this server does not know", object, action)
	}
}

// checkTenant checks a call about a tenant: the role there first, then the token's scopes.
func (a *Authorizer) checkTenant(p authn.Principal, object, action string) error {
	if p.Kind == authn.KindAnonymous {
		return tokenMissing(object, action)
	}
	if p.TenantID == 0 {
		return fault.PermissionDenied(ReasonTenantRequired, "%s:%s is about a tenant and the role %q is about none: name the tenant in the %s header",
			object, action, p.Role, authn.TenantHeader)
	}
	if err := a.decide(p.Role, "tenant:"+typeid.Format(typeid.Tenant, p.Tenant), object, action); err != nil {
		return err
	}
	if len(p.Scopes) == 0 || covered(readScopes(p.Scopes), pattern{object, action}) {
		return nil
	}
	return fault.PermissionDenied(ReasonScopeMissing, "the token's role %q allows %s:%s, but its scopes (%s) do not: use a token with the scope %s:%s",
		p.Role, object, action, strings.Join(p.Scopes, ", "), object, action)
}

func (a *Authorizer) decide(role, domain, object, action string) error {
	allowed, err := a.enforcer.Enforce(role, domain, object, action)
	if err != nil {
		return fault.Internal(err, "decide on %s:%s for the role %s", object, action, role)
	}
	if allowed {
		return nil
	}
	return fault.PermissionDenied(ReasonPermissionDenied, "the role %q may not do %s:%s: %s", role, object, action, remedy(role, domain))
}

func remedy(role, domain string) string {
	switch {
	case domain == domainAccount:
		return "sign in as a user and call with the session token"
	case role == RoleWorker:
		return "worker tokens are for serving queues; use an API token"
	default:
		return "ask an owner or admin of the tenant for a role that may, or use another token"
	}
}

func accountRole(p authn.Principal) string {
	switch p.Kind {
	case authn.KindUser:
		return RoleUser
	case authn.KindWorker:
		return RoleWorker
	default:
		return RoleAPI
	}
}

func tokenMissing(object, action string) error {
	return fault.Unauthenticated(ReasonTokenMissing, "%s:%s needs a token and the call has none (role %q): send \"Authorization: Bearer <token>\"",
		object, action, RoleAnonymous)
}
