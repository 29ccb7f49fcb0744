package authz

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"pgregory.net/rapid"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// grid says who may do what in a tenant: o(wner), a(dmin), d(eveloper), v(iewer), w(orker). "future" stands for what later methods will ask for.
var grid = map[string]string{
	"tenant:read": "oadv", "tenant:rename": "o", "tenant:future": "o",
	"member:read": "oa", "member:add": "oa", "member:change_role": "oa", "member:remove": "oa", "member:future": "oa",
	"token:create": "oa", "token:read": "oa", "token:revoke": "oa",
	"workflow:put": "oadw", "workflow:read": "oadvw", "workflow:future": "oad",
	"run:trigger": "oadw", "run:await": "oadw", "run:read": "oadv", "run:cancel": "oadw", "run:replay": "oad",
	"worker:serve": "oadw", "worker:read": "oadv", "worker:pause": "oad", "worker:drain": "oad", "worker:future": "oad",
}

// account says who may do what about the own account: u(ser), t(oken of the API), w(orker token).
var account = map[string]string{
	"account:sign_out": "u", "account:list_sessions": "u", "account:sign_out_session": "u", "account:read": "utw", "account:create_tenant": "u", "account:list_tenants": "u", "account:accept_invitation": "u",
}

var anonymous = []string{"account:sign_up", "account:sign_in", "account:read_invitation"}

var tenantRoles = map[string]string{"o": RoleOwner, "a": RoleAdmin, "d": RoleDeveloper, "v": RoleViewer, "w": RoleWorker}

func access(pair string, scope optionsv1.Access_Scope) *optionsv1.Access {
	object, action, _ := strings.Cut(pair, ":")
	return &optionsv1.Access{Object: object, Action: action, Scope: scope}
}

func inTenant(role string, scopes ...string) authn.Principal {
	kind := authn.KindAPI
	if role == RoleWorker {
		kind = authn.KindWorker
	}
	return authn.Principal{Kind: kind, TenantID: 7, Tenant: flow.ID{7}, TokenID: flow.ID{1}, Role: role, Scopes: scopes}
}

func accountCallers() map[string]authn.Principal {
	return map[string]authn.Principal{
		"u": {Kind: authn.KindUser, UserID: flow.ID{2}, TokenID: flow.ID{1}, Role: RoleUser},
		"t": inTenant(RoleViewer, "run:read"), "w": inTenant(RoleWorker),
	}
}

// answers returns what every caller may do, as one comparable map.
func answers(t *testing.T, a *Authorizer) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	ask := func(who string, p authn.Principal, want *optionsv1.Access) {
		err := a.Check(t.Context(), p, want)
		if err != nil && !fault.Is(err, fault.CodePermissionDenied) && !fault.Is(err, fault.CodeUnauthenticated) {
			t.Fatalf("%s: %v", who, fault.Detail(err))
		}
		all[who+" "+want.GetScope().String()+" "+want.GetObject()+":"+want.GetAction()] = err == nil
	}
	for pair := range grid {
		for letter, role := range tenantRoles {
			ask(letter, inTenant(role), access(pair, optionsv1.Access_SCOPE_UNSPECIFIED))
		}
	}
	for pair := range account {
		for letter, p := range accountCallers() {
			ask(letter, p, access(pair, optionsv1.Access_SCOPE_ACCOUNT))
		}
	}
	for _, pair := range anonymous {
		ask("nobody", authn.Anonymous(), access(pair, optionsv1.Access_SCOPE_ANONYMOUS))
	}
	return all
}

func authorizer(t testing.TB) *Authorizer {
	t.Helper()
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEveryRoleMayDoWhatTheGridSays(t *testing.T) {
	all := answers(t, authorizer(t))
	for pair, letters := range grid {
		for letter, role := range tenantRoles {
			got := all[letter+" SCOPE_UNSPECIFIED "+pair]
			if want := strings.Contains(letters, letter); got != want {
				t.Errorf("%s %s: allowed %v, want %v", role, pair, got, want)
			}
		}
	}
	for pair, letters := range account {
		for letter := range accountCallers() {
			got := all[letter+" SCOPE_ACCOUNT "+pair]
			if want := strings.Contains(letters, letter); got != want {
				t.Errorf("account caller %s %s: allowed %v, want %v", letter, pair, got, want)
			}
		}
	}
	for _, pair := range anonymous {
		if !all["nobody SCOPE_ANONYMOUS "+pair] {
			t.Errorf("anonymous %s: refused", pair)
		}
	}
}

func TestChangingAnyPolicyLineChangesAnAnswer(t *testing.T) {
	before := answers(t, authorizer(t))
	lines := strings.Split(policyText, "\n")
	for i, line := range lines {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		changed, err := newFrom(strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "\n"))
		if err != nil {
			t.Fatal(err)
		}
		different := false
		for question, answer := range answers(t, changed) {
			different = different || before[question] != answer
		}
		if !different {
			t.Errorf("the line %q can be removed and no answer changes", line)
		}
	}
}

func TestDenials(t *testing.T) {
	a := authorizer(t)
	tenant := optionsv1.Access_SCOPE_UNSPECIFIED
	for name, c := range map[string]struct {
		caller authn.Principal
		want   *optionsv1.Access
		code   fault.Code
		reason string
		says   []string
	}{
		"no token":                   {authn.Anonymous(), access("run:read", tenant), fault.CodeUnauthenticated, ReasonTokenMissing, []string{"run:read", "anonymous", "Authorization"}},
		"no token, account":          {authn.Principal{}, access("account:read", optionsv1.Access_SCOPE_ACCOUNT), fault.CodeUnauthenticated, ReasonTokenMissing, []string{"account:read"}},
		"user without tenant":        {accountCallers()["u"], access("run:read", tenant), fault.CodePermissionDenied, ReasonTenantRequired, []string{"run:read", "user", "Tenon-Tenant"}},
		"role too low":               {inTenant(RoleViewer), access("run:trigger", tenant), fault.CodePermissionDenied, ReasonPermissionDenied, []string{"run:trigger", "viewer", "ask an owner"}},
		"scope missing":              {inTenant(RoleOwner, "run:read", "workflow:*"), access("run:trigger", tenant), fault.CodePermissionDenied, ReasonScopeMissing, []string{"run:trigger", "owner", "run:read, workflow:*"}},
		"worker beyond its duty":     {inTenant(RoleWorker), access("run:read", tenant), fault.CodePermissionDenied, ReasonPermissionDenied, []string{"run:read", "worker", "API token"}},
		"token makes a tenant":       {inTenant(RoleOwner), access("account:create_tenant", optionsv1.Access_SCOPE_ACCOUNT), fault.CodePermissionDenied, ReasonPermissionDenied, []string{"account:create_tenant", "session"}},
		"unknown role":               {inTenant("emperor"), access("run:read", tenant), fault.CodePermissionDenied, ReasonPermissionDenied, []string{"emperor"}},
		"user's role is no member's": {inTenant(RoleUser), access("tenant:read", tenant), fault.CodePermissionDenied, ReasonPermissionDenied, []string{"tenant:read"}},
		"unknown scope of a method":  {inTenant(RoleOwner), access("run:read", 99), fault.CodePermissionDenied, ReasonPermissionDenied, []string{"run:read"}},
		"unknown anonymous action":   {authn.Anonymous(), access("account:delete", optionsv1.Access_SCOPE_ANONYMOUS), fault.CodePermissionDenied, ReasonPermissionDenied, []string{"account:delete"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := a.Check(t.Context(), c.caller, c.want)
			if !fault.Is(err, c.code) || !fault.HasReason(err, c.reason) {
				t.Fatalf("got %v, want %s %s", err, c.code, c.reason)
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestScopesNarrow(t *testing.T) {
	a := authorizer(t)
	for scopes, allowed := range map[string]bool{"run:trigger": true, "run:*": true, "*": true, "": true, "run:read": false, "workflow:*": false} {
		var list []string
		if scopes != "" {
			list = []string{scopes}
		}
		err := a.Check(t.Context(), inTenant(RoleDeveloper, list...), access("run:trigger", optionsv1.Access_SCOPE_UNSPECIFIED))
		if (err == nil) != allowed {
			t.Errorf("scopes %q: %v", scopes, err)
		}
	}
	// A scope gives nothing that the role does not.
	if err := a.Check(t.Context(), inTenant(RoleViewer, "*"), access("run:trigger", optionsv1.Access_SCOPE_UNSPECIFIED)); err == nil {
		t.Error("a viewer's token with the scope * may trigger")
	}
}

func TestEveryMethodHasAccessThatSomebodyHas(t *testing.T) {
	var services []protoreflect.ServiceDescriptor
	for _, file := range []protoreflect.FileDescriptor{
		identityv1.File_tenon_identity_v1_identity_proto, registryv1.File_tenon_registry_v1_registry_proto,
		runsv1.File_tenon_runs_v1_runs_proto, workersv1.File_tenon_workers_v1_workers_proto,
	} {
		for i := range file.Services().Len() {
			services = append(services, file.Services().Get(i))
		}
	}
	if len(services) != 5 {
		t.Fatalf("%d services", len(services))
	}
	if err := CheckAll(services...); err != nil {
		t.Fatal(err)
	}
	for _, service := range services {
		for i := range service.Methods().Len() {
			want, _ := MethodAccess(service.Methods().Get(i))
			pair := want.GetObject() + ":" + want.GetAction()
			_, tenant := grid[pair]
			_, own := account[pair]
			if !tenant && !own && !slices.Contains(anonymous, pair) {
				t.Errorf("%s asks for %s, which this test's grid does not know", service.Methods().Get(i).FullName(), pair)
			}
		}
	}
}

func TestCheckAllNamesBareMethods(t *testing.T) {
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("bare.proto"), Package: new("grpc.health.v1"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("M")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("Health"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: new("Check"), InputType: new(".grpc.health.v1.M"), OutputType: new(".grpc.health.v1.M")},
			{Name: new("Drop"), InputType: new(".grpc.health.v1.M"), OutputType: new(".grpc.health.v1.M")},
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = CheckAll(file.Services().Get(0))
	if err == nil || !strings.Contains(err.Error(), "/grpc.health.v1.Health/Drop") || strings.Contains(err.Error(), "Health/Check") {
		t.Errorf("CheckAll: %v", err)
	}
}

func TestNoTokenGrantsMoreThanItsMaker(t *testing.T) {
	a := authorizer(t)
	roles := []string{RoleOwner, RoleAdmin, RoleDeveloper, RoleViewer, RoleWorker}
	scopes := []string{"*", "tenant:*", "run:*", "worker:*"}
	for pair := range grid {
		scopes = append(scopes, pair)
	}
	slices.Sort(scopes)
	rapid.Check(t, func(rt *rapid.T) {
		maker := inTenant(rapid.SampledFrom(roles).Draw(rt, "maker"), rapid.SliceOfN(rapid.SampledFrom(scopes), 0, 3).Draw(rt, "scopes")...)
		made := inTenant(rapid.SampledFrom(roles).Draw(rt, "made"), rapid.SliceOfN(rapid.SampledFrom(scopes), 0, 3).Draw(rt, "its scopes")...)
		if a.Covers(maker, made.Role, made.Scopes) != nil {
			return
		}
		for pair := range grid {
			want := access(pair, optionsv1.Access_SCOPE_UNSPECIFIED)
			if a.Check(t.Context(), made, want) == nil && a.Check(t.Context(), maker, want) != nil {
				rt.Fatalf("%s with %v made a %s with %v, which may %s", maker.Role, maker.Scopes, made.Role, made.Scopes, pair)
			}
		}
	})
}

func TestCovers(t *testing.T) {
	a := authorizer(t)
	for name, c := range map[string]struct {
		maker  authn.Principal
		role   string
		scopes []string
		ok     bool
	}{
		"owner makes owner":         {inTenant(RoleOwner), RoleOwner, nil, true},
		"admin makes owner":         {inTenant(RoleAdmin), RoleOwner, nil, false},
		"admin makes narrow owner":  {inTenant(RoleAdmin), RoleOwner, []string{"run:read"}, true},
		"admin makes admin":         {inTenant(RoleAdmin), RoleAdmin, nil, true},
		"admin makes worker":        {inTenant(RoleAdmin), RoleWorker, nil, true},
		"scoped admin makes wider":  {inTenant(RoleAdmin, "token:create"), RoleViewer, nil, false},
		"scoped admin makes same":   {inTenant(RoleAdmin, "token:create", "run:*"), RoleDeveloper, []string{"run:trigger"}, true},
		"scoped admin makes worker": {inTenant(RoleAdmin, "token:create"), RoleWorker, nil, false},
		"viewer makes developer":    {inTenant(RoleViewer), RoleDeveloper, nil, false},
		"worker makes viewer":       {inTenant(RoleWorker), RoleViewer, nil, false},
	} {
		if err := a.Covers(c.maker, c.role, c.scopes); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		} else if err != nil && !fault.Is(err, fault.CodePermissionDenied) {
			t.Errorf("%s: %v is no denial", name, err)
		}
	}
}

func TestDecisionsAreBounded(t *testing.T) {
	d := newDecisions()
	for i := range maxDecisions + 10 {
		if err := d.Set(string(rune(i))+"/"+strings.Repeat("x", i%3), true); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.known) > maxDecisions {
		t.Errorf("%d decisions are kept", len(d.known))
	}
}
