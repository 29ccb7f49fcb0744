package ground

import (
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/authn"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
)

// Tokens are a tenant's way in.
type Tokens struct {
	Slug, API, Worker string
}

// OpenTenants signs a user up through the API, and makes tenants and their tokens, as any program would.
func OpenTenants(ctx context.Context, address string, n int) ([]Tokens, error) {
	transport := PlainHTTP2()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var session headers
	api := identityv1connect.NewIdentityServiceClient(client, address, connect.WithInterceptors(&session))
	signed, err := api.SignUp(ctx, &identityv1.SignUpRequest{Email: "bench@example.com", Password: rand.Text()})
	if err != nil {
		return nil, err
	}
	session.bearer = signed.GetSessionToken()
	out := make([]Tokens, n)
	for i := range out {
		session.tenant = ""
		tenant, err := api.CreateTenant(ctx, &identityv1.CreateTenantRequest{Slug: "bench-" + strconv.Itoa(i+1)})
		if err != nil {
			return nil, err
		}
		session.tenant = tenant.GetTenant().GetSlug()
		if out[i], err = makeTokens(ctx, api); err != nil {
			return nil, err
		}
		out[i].Slug = session.tenant
	}
	return out, nil
}

func makeTokens(ctx context.Context, api identityv1connect.IdentityServiceClient) (tokens Tokens, err error) {
	const lifetime = 24 * time.Hour
	for _, want := range []struct {
		kind identityv1.TokenKind
		role identityv1.Role
		into *string
	}{
		{identityv1.TokenKind_TOKEN_KIND_API, identityv1.Role_ROLE_DEVELOPER, &tokens.API},
		{identityv1.TokenKind_TOKEN_KIND_WORKER, identityv1.Role_ROLE_UNSPECIFIED, &tokens.Worker},
	} {
		made, err := api.CreateToken(ctx, &identityv1.CreateTokenRequest{Name: "bench", Kind: want.kind, Role: want.role, Lifetime: durationpb.New(lifetime)})
		if err != nil {
			return Tokens{}, err
		}
		*want.into = made.GetSecret()
	}
	return tokens, nil
}

// PlainHTTP2 is a transport of HTTP/2 in the clear, as the SDK's.
func PlainHTTP2() *http.Transport {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return transport
}

// Bearer is an interceptor that adds a token to every request.
func Bearer(token string) connect.Interceptor { return &headers{bearer: token} }

type headers struct{ bearer, tenant string }

func (h *headers) set(header http.Header) {
	if h.bearer != "" {
		header.Set("Authorization", "Bearer "+h.bearer)
	}
	if h.tenant != "" {
		header.Set(authn.TenantHeader, h.tenant)
	}
}

// WrapUnary implements connect.Interceptor.
func (h *headers) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		h.set(req.Header())
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (h *headers) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		h.set(conn.RequestHeader())
		return conn
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (h *headers) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
