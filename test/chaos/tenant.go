package chaos

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
)

// tokens are the tenant's way in.
type tokens struct{ api, worker string }

// openTenant signs a user up and makes a tenant with its tokens, as any program would.
func openTenant(ctx context.Context, address string) (tokens, error) {
	const lifetime = 24 * time.Hour
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	header := make(http.Header)
	api := identityv1connect.NewIdentityServiceClient(&http.Client{Transport: transport}, address,
		connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
				maps.Copy(req.Header(), header)
				return next(ctx, req)
			}
		})))
	signed, err := api.SignUp(ctx, &identityv1.SignUpRequest{Email: "chaos@example.com", Password: rand.Text()})
	if err != nil {
		return tokens{}, fmt.Errorf("sign up: %w", err)
	}
	header.Set("Authorization", "Bearer "+signed.GetSessionToken())
	tenant, err := api.CreateTenant(ctx, &identityv1.CreateTenantRequest{Slug: "chaos"})
	if err != nil {
		return tokens{}, fmt.Errorf("make a tenant: %w", err)
	}
	header.Set("Tenon-Tenant", tenant.GetTenant().GetSlug())
	var out tokens
	for _, want := range []struct {
		kind identityv1.TokenKind
		role identityv1.Role
		into *string
	}{
		{identityv1.TokenKind_TOKEN_KIND_API, identityv1.Role_ROLE_DEVELOPER, &out.api},
		{identityv1.TokenKind_TOKEN_KIND_WORKER, identityv1.Role_ROLE_UNSPECIFIED, &out.worker},
	} {
		made, err := api.CreateToken(ctx, &identityv1.CreateTokenRequest{Name: "chaos", Kind: want.kind, Role: want.role, Lifetime: durationpb.New(lifetime)})
		if err != nil {
			return tokens{}, fmt.Errorf("make a token: %w", err)
		}
		*want.into = made.GetSecret()
	}
	return out, nil
}
