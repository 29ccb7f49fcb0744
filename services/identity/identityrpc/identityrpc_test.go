package identityrpc

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
	"github.com/tenon-run/tenon/services/identity"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// plainMux is a mux without internal/rpc's interceptors.
type plainMux struct{ *http.ServeMux }

func (m plainMux) Handle(path string, handler http.Handler, _ protoreflect.ServiceDescriptor) {
	m.ServeMux.Handle(path, handler)
}

func (m plainMux) HandleHTTP(pattern string, handler http.Handler) {
	m.ServeMux.Handle(pattern, handler)
}

// setup serves the service over HTTP, with a stand-in for internal/rpc's authentication, and returns a client.
func setup(t *testing.T) identityv1connect.IdentityServiceClient {
	t.Helper()
	pool, messages := testkit.Database(t), testkit.Bus(t)
	authorizer, err := authz.New()
	if err != nil {
		t.Fatal(err)
	}
	svc, err := identity.New(identity.Config{
		Pool: pool, Bus: messages, Authorizer: authorizer, MasterKey: bytes.Repeat([]byte{1}, 32), HashMemory: 8 << 10, HashTime: 1, Log: testkit.Logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	revocations, err := authn.NewRevocations(authn.RevocationsConfig{Pool: pool, Bus: messages, Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := authn.NewVerifier(authn.Config{Pool: pool, Revocations: revocations})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- revocations.RunReady(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ready
	mux := http.NewServeMux()
	Register(plainMux{mux}, svc)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := verifier.Verify(r.Context(), r.Header.Get("Authorization"), r.Header.Get(authn.TenantHeader))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r.WithContext(authn.With(r.Context(), p)))
	}))
	t.Cleanup(server.Close)
	return identityv1connect.NewIdentityServiceClient(server.Client(), server.URL)
}

// as makes a context whose calls carry a token and a tenant.
func as(t *testing.T, token, tenant string) context.Context {
	t.Helper()
	ctx, info := connect.NewClientContext(t.Context())
	info.RequestHeader().Set("Authorization", "Bearer "+token)
	if tenant != "" {
		info.RequestHeader().Set(authn.TenantHeader, tenant)
	}
	return ctx
}

func TestEveryMethodOverTheWire(t *testing.T) {
	client := setup(t)
	up, err := client.SignUp(t.Context(), &identityv1.SignUpRequest{Email: "ann@example.com", Password: "correct horse battery", DisplayName: "Ann"})
	if err != nil || up.GetUser().GetDisplayName() != "Ann" {
		t.Fatalf("%v %v", up, err)
	}
	in, err := client.SignIn(t.Context(), &identityv1.SignInRequest{Email: "ann@example.com", Password: "correct horse battery"})
	if err != nil || in.GetUser().GetId() != up.GetUser().GetId() || !in.GetExpireTime().IsValid() {
		t.Fatalf("%v %v", in, err)
	}
	session := in.GetSessionToken()
	made, err := client.CreateTenant(as(t, session, ""), &identityv1.CreateTenantRequest{Slug: "acme", DisplayName: "Acme"})
	if err != nil || made.GetTenant().GetDisplayName() != "Acme" {
		t.Fatalf("%v %v", made, err)
	}
	tenants, err := client.ListTenants(as(t, session, ""), &identityv1.ListTenantsRequest{})
	if err != nil || len(tenants.GetMemberships()) != 1 || tenants.GetMemberships()[0].GetRole() != identityv1.Role_ROLE_OWNER {
		t.Errorf("%v %v", tenants, err)
	}
	tenant, err := client.GetTenant(as(t, session, "acme"), &identityv1.GetTenantRequest{})
	if err != nil || tenant.GetTenant().GetId() != made.GetTenant().GetId() {
		t.Errorf("%v %v", tenant, err)
	}
	members, err := client.ListMembers(as(t, session, "acme"), &identityv1.ListMembersRequest{})
	if err != nil || len(members.GetMembers()) != 1 || members.GetMembers()[0].GetUser().GetEmail() != "ann@example.com" {
		t.Errorf("%v %v", members, err)
	}
	token, err := client.CreateToken(as(t, session, "acme"), &identityv1.CreateTokenRequest{
		Name: "ci", Kind: identityv1.TokenKind_TOKEN_KIND_API, Role: identityv1.Role_ROLE_VIEWER, Lifetime: durationpb.New(time.Hour),
	})
	if err != nil || token.GetSecret() == "" || token.GetToken().GetRole() != identityv1.Role_ROLE_VIEWER {
		t.Fatalf("%v", err)
	}
	who, err := client.WhoAmI(as(t, token.GetSecret(), ""), &identityv1.WhoAmIRequest{})
	if err != nil || who.GetToken().GetId() != token.GetToken().GetId() || who.GetTenant().GetSlug() != "acme" || who.GetRole() != identityv1.Role_ROLE_VIEWER {
		t.Errorf("%v %v", who, err)
	}
	list, err := client.ListTokens(as(t, session, "acme"), &identityv1.ListTokensRequest{})
	if err != nil || len(list.GetTokens()) != 1 || list.GetTokens()[0].GetKind() != identityv1.TokenKind_TOKEN_KIND_API {
		t.Errorf("%v %v", list, err)
	}
	revoked, err := client.RevokeToken(as(t, session, "acme"), &identityv1.RevokeTokenRequest{TokenId: token.GetToken().GetId()})
	if err != nil || revoked.GetToken().GetRevokeTime() == nil {
		t.Errorf("%v %v", revoked, err)
	}
	if _, err := client.RevokeToken(as(t, session, "acme"), &identityv1.RevokeTokenRequest{TokenId: "tok_no"}); err == nil {
		t.Error("an id that is none was accepted")
	}
	if _, err := client.SignOut(as(t, session, ""), &identityv1.SignOutRequest{}); err != nil {
		t.Error(err)
	}
}
