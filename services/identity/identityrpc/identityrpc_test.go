package identityrpc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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

// setup serves the service over HTTP, with a stand-in for internal/rpc's authentication, and returns a client and the server.
func setup(t *testing.T) (identityv1connect.IdentityServiceClient, *httptest.Server) {
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
		ctx := authn.WithOrigin(authn.With(r.Context(), p), authn.Origin{Address: "192.0.2.1", UserAgent: r.UserAgent()})
		mux.ServeHTTP(w, r.WithContext(ctx))
	}))
	t.Cleanup(server.Close)
	return identityv1connect.NewIdentityServiceClient(server.Client(), server.URL), server
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
	client, _ := setup(t)
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
	if list.GetTokens()[0].GetCreator() != up.GetUser().GetId() {
		t.Errorf("the token was made by %q", list.GetTokens()[0].GetCreator())
	}
	if _, err := client.SignOut(as(t, session, ""), &identityv1.SignOutRequest{}); err != nil {
		t.Error(err)
	}
}

func TestMembersOverTheWire(t *testing.T) {
	client, _ := setup(t)
	owner, err := client.SignUp(t.Context(), &identityv1.SignUpRequest{Email: "ann@example.com", Password: "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	bob, err := client.SignUp(t.Context(), &identityv1.SignUpRequest{Email: "bob@example.com", Password: "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateTenant(as(t, owner.GetSessionToken(), ""), &identityv1.CreateTenantRequest{Slug: "acme"}); err != nil {
		t.Fatal(err)
	}
	call := as(t, owner.GetSessionToken(), "acme")
	added, err := client.AddMember(call, &identityv1.AddMemberRequest{Email: "bob@example.com", Role: identityv1.Role_ROLE_VIEWER})
	if err != nil || added.GetMember().GetUser().GetId() != bob.GetUser().GetId() || added.GetMember().GetRole() != identityv1.Role_ROLE_VIEWER {
		t.Fatalf("%v %v", added, err)
	}
	changed, err := client.ChangeMemberRole(call, &identityv1.ChangeMemberRoleRequest{UserId: bob.GetUser().GetId(), Role: identityv1.Role_ROLE_ADMIN})
	if err != nil || changed.GetMember().GetRole() != identityv1.Role_ROLE_ADMIN || changed.GetMember().GetUser().GetEmail() != "bob@example.com" {
		t.Fatalf("%v %v", changed, err)
	}
	if _, err := client.RemoveMember(call, &identityv1.RemoveMemberRequest{UserId: bob.GetUser().GetId()}); err != nil {
		t.Fatal(err)
	}
	members, err := client.ListMembers(call, &identityv1.ListMembersRequest{})
	if err != nil || len(members.GetMembers()) != 1 {
		t.Errorf("%v %v", members, err)
	}
	for name, err := range map[string]error{
		"change": second(client.ChangeMemberRole(call, &identityv1.ChangeMemberRoleRequest{UserId: "usr_no", Role: identityv1.Role_ROLE_ADMIN})),
		"remove": second(client.RemoveMember(call, &identityv1.RemoveMemberRequest{UserId: "ses_no"})),
	} {
		if err == nil || !strings.Contains(err.Error(), "user_id") {
			t.Errorf("%s with an id that is none: %v", name, err)
		}
	}
}

func second[A any](_ A, err error) error { return err }

func TestSessionsOverTheWire(t *testing.T) {
	client, _ := setup(t)
	ann, err := client.SignUp(t.Context(), &identityv1.SignUpRequest{Email: "ann@example.com", Password: "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := client.SignIn(t.Context(), &identityv1.SignInRequest{Email: "ann@example.com", Password: "correct horse battery"}); err != nil {
			t.Fatal(err)
		}
	}
	call := as(t, ann.GetSessionToken(), "")
	list, err := client.ListSessions(call, &identityv1.ListSessionsRequest{})
	if err != nil || len(list.GetSessions()) != 4 {
		t.Fatalf("%v %v", list, err)
	}
	mine := list.GetSessions()[3]
	if !mine.GetCurrent() || mine.GetAddress() != "192.0.2.1" || !strings.HasPrefix(mine.GetUserAgent(), "connect-go/") || !mine.GetLastUseTime().IsValid() ||
		!mine.GetExpireTime().AsTime().Equal(ann.GetExpireTime().AsTime()) || !mine.GetCreateTime().IsValid() {
		t.Errorf("%v", mine)
	}
	if _, err := client.SignOutSession(call, &identityv1.SignOutSessionRequest{SessionId: list.GetSessions()[0].GetId()}); err != nil {
		t.Error(err)
	}
	if _, err := client.SignOutSession(call, &identityv1.SignOutSessionRequest{SessionId: "tok_no"}); err == nil || !strings.Contains(err.Error(), "session_id") {
		t.Errorf("an id that is none: %v", err)
	}
	if others, err := client.SignOutOtherSessions(call, &identityv1.SignOutOtherSessionsRequest{}); err != nil || others.GetEnded() != 2 {
		t.Errorf("%v %v", others, err)
	}
}

func TestKeySetIsPublicAndCached(t *testing.T) {
	client, server := setup(t)
	up, err := client.SignUp(t.Context(), &identityv1.SignUpRequest{Email: "ann@example.com", Password: "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, tag string) *http.Response {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+KeySetPath, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if tag != "" {
			request.Header.Set("If-None-Match", tag)
		}
		answer, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer
	}
	answer := get(http.MethodGet, "")
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Cache-Control") != "public, max-age=300" ||
		answer.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("%s %v %v", answer.Status, answer.Header, err)
	}
	header, err := base64.RawURLEncoding.DecodeString(up.GetSessionToken()[:strings.Index(up.GetSessionToken(), ".")])
	if err != nil {
		t.Fatal(err)
	}
	var named struct{ Kid string }
	if err := json.Unmarshal(header, &named); err != nil || named.Kid == "" || !strings.Contains(string(text), `"kid":"`+named.Kid+`"`) || strings.Contains(string(text), `"d"`) {
		t.Errorf("the token names %q, the set is %s, %v", named.Kid, text, err)
	}
	if again := get(http.MethodGet, answer.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("the same again: %s", again.Status)
	}
	if again := get(http.MethodPost, ""); again.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", again.Status)
	}
}
