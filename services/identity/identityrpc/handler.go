package identityrpc

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/rpc"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/identity"
)

// Register puts the service's methods and the key set (KeySetPath) on mux. opts are those that the mux's server gives.
func Register(mux rpc.Mux, svc *identity.Service, opts ...connect.HandlerOption) {
	mux.HandleHTTP("GET "+KeySetPath, keySet(svc))
	path, served := identityv1connect.NewIdentityServiceHandler(&handler{svc: svc}, opts...)
	mux.Handle(path, served, identityv1.File_tenon_identity_v1_identity_proto.Services().ByName("IdentityService"))
}

type handler struct{ svc *identity.Service }

var _ identityv1connect.IdentityServiceHandler = (*handler)(nil)

func (h *handler) SignUp(ctx context.Context, req *identityv1.SignUpRequest) (*identityv1.SignUpResponse, error) {
	session, err := h.svc.SignUp(ctx, req.GetEmail(), req.GetPassword(), req.GetDisplayName())
	if err != nil {
		return nil, err
	}
	return &identityv1.SignUpResponse{User: userToProto(session.User), SessionToken: session.Secret, ExpireTime: timestamppb.New(session.Expires)}, nil
}

func (h *handler) SignIn(ctx context.Context, req *identityv1.SignInRequest) (*identityv1.SignInResponse, error) {
	session, err := h.svc.SignIn(ctx, req.GetEmail(), req.GetPassword())
	if err != nil {
		return nil, err
	}
	return &identityv1.SignInResponse{User: userToProto(session.User), SessionToken: session.Secret, ExpireTime: timestamppb.New(session.Expires)}, nil
}

func (h *handler) SignOut(ctx context.Context, _ *identityv1.SignOutRequest) (*identityv1.SignOutResponse, error) {
	if err := h.svc.SignOut(ctx, authn.From(ctx)); err != nil {
		return nil, err
	}
	return &identityv1.SignOutResponse{}, nil
}

func (h *handler) ListSessions(ctx context.Context, req *identityv1.ListSessionsRequest) (*identityv1.ListSessionsResponse, error) {
	list, next, err := h.svc.ListSessions(ctx, authn.From(ctx), identity.Page{Size: req.GetPageSize(), Token: req.GetPageToken()})
	if err != nil {
		return nil, err
	}
	answer := &identityv1.ListSessionsResponse{NextPageToken: next}
	for _, item := range list {
		answer.Sessions = append(answer.Sessions, sessionToProto(item))
	}
	return answer, nil
}

func (h *handler) SignOutSession(ctx context.Context, req *identityv1.SignOutSessionRequest) (*identityv1.SignOutSessionResponse, error) {
	id, err := parseID(typeid.Session, "session_id", req.GetSessionId())
	if err != nil {
		return nil, err
	}
	if err := h.svc.SignOutSession(ctx, authn.From(ctx), id); err != nil {
		return nil, err
	}
	return &identityv1.SignOutSessionResponse{}, nil
}

func (h *handler) SignOutOtherSessions(ctx context.Context, _ *identityv1.SignOutOtherSessionsRequest) (*identityv1.SignOutOtherSessionsResponse, error) {
	ended, err := h.svc.SignOutOtherSessions(ctx, authn.From(ctx))
	if err != nil {
		return nil, err
	}
	return &identityv1.SignOutOtherSessionsResponse{Ended: int32(ended)}, nil //nolint:gosec // a user has fewer sessions
}

func (h *handler) WhoAmI(ctx context.Context, _ *identityv1.WhoAmIRequest) (*identityv1.WhoAmIResponse, error) {
	caller, err := h.svc.WhoAmI(ctx, authn.From(ctx))
	if err != nil {
		return nil, err
	}
	answer := &identityv1.WhoAmIResponse{Role: roleToProto(caller.Role)}
	if caller.User != nil {
		answer.User = userToProto(*caller.User)
	}
	if caller.Token != nil {
		answer.Token = tokenToProto(*caller.Token)
	}
	if caller.Tenant != nil {
		answer.Tenant = tenantToProto(*caller.Tenant)
	}
	return answer, nil
}

func (h *handler) CreateTenant(ctx context.Context, req *identityv1.CreateTenantRequest) (*identityv1.CreateTenantResponse, error) {
	tenant, err := h.svc.CreateTenant(ctx, authn.From(ctx), req.GetSlug(), req.GetDisplayName())
	if err != nil {
		return nil, err
	}
	return &identityv1.CreateTenantResponse{Tenant: tenantToProto(tenant)}, nil
}

func (h *handler) ListTenants(ctx context.Context, req *identityv1.ListTenantsRequest) (*identityv1.ListTenantsResponse, error) {
	list, next, err := h.svc.ListTenants(ctx, authn.From(ctx), identity.Page{Size: req.GetPageSize(), Token: req.GetPageToken()})
	if err != nil {
		return nil, err
	}
	answer := &identityv1.ListTenantsResponse{NextPageToken: next}
	for _, item := range list {
		answer.Memberships = append(answer.Memberships, &identityv1.Membership{Tenant: tenantToProto(item.Tenant), Role: roleToProto(item.Role)})
	}
	return answer, nil
}

func (h *handler) GetTenant(ctx context.Context, _ *identityv1.GetTenantRequest) (*identityv1.GetTenantResponse, error) {
	tenant, err := h.svc.GetTenant(ctx, authn.From(ctx))
	if err != nil {
		return nil, err
	}
	return &identityv1.GetTenantResponse{Tenant: tenantToProto(tenant)}, nil
}

func (h *handler) ListMembers(ctx context.Context, req *identityv1.ListMembersRequest) (*identityv1.ListMembersResponse, error) {
	list, next, err := h.svc.ListMembers(ctx, authn.From(ctx), identity.Page{Size: req.GetPageSize(), Token: req.GetPageToken()})
	if err != nil {
		return nil, err
	}
	answer := &identityv1.ListMembersResponse{NextPageToken: next}
	for _, item := range list {
		answer.Members = append(answer.Members, memberToProto(item))
	}
	return answer, nil
}

func (h *handler) AddMember(ctx context.Context, req *identityv1.AddMemberRequest) (*identityv1.AddMemberResponse, error) {
	member, err := h.svc.AddMember(ctx, authn.From(ctx), req.GetEmail(), roleFromProto(req.GetRole()))
	if err != nil {
		return nil, err
	}
	return &identityv1.AddMemberResponse{Member: memberToProto(member)}, nil
}

func (h *handler) ChangeMemberRole(ctx context.Context, req *identityv1.ChangeMemberRoleRequest) (*identityv1.ChangeMemberRoleResponse, error) {
	user, err := parseID(typeid.User, "user_id", req.GetUserId())
	if err != nil {
		return nil, err
	}
	member, err := h.svc.ChangeMemberRole(ctx, authn.From(ctx), user, roleFromProto(req.GetRole()))
	if err != nil {
		return nil, err
	}
	return &identityv1.ChangeMemberRoleResponse{Member: memberToProto(member)}, nil
}

func (h *handler) RemoveMember(ctx context.Context, req *identityv1.RemoveMemberRequest) (*identityv1.RemoveMemberResponse, error) {
	user, err := parseID(typeid.User, "user_id", req.GetUserId())
	if err != nil {
		return nil, err
	}
	if err := h.svc.RemoveMember(ctx, authn.From(ctx), user); err != nil {
		return nil, err
	}
	return &identityv1.RemoveMemberResponse{}, nil
}

func (h *handler) CreateToken(ctx context.Context, req *identityv1.CreateTokenRequest) (*identityv1.CreateTokenResponse, error) {
	in := identity.NewToken{Name: req.GetName(), Kind: kindFromProto(req.GetKind()), Role: roleFromProto(req.GetRole()), Scopes: req.GetScopes()}
	if req.GetLifetime() != nil {
		in.Lifetime = req.GetLifetime().AsDuration()
	}
	token, secret, err := h.svc.CreateToken(ctx, authn.From(ctx), in)
	if err != nil {
		return nil, err
	}
	return &identityv1.CreateTokenResponse{Token: tokenToProto(token), Secret: secret}, nil
}

func (h *handler) ListTokens(ctx context.Context, req *identityv1.ListTokensRequest) (*identityv1.ListTokensResponse, error) {
	list, next, err := h.svc.ListTokens(ctx, authn.From(ctx), identity.Page{Size: req.GetPageSize(), Token: req.GetPageToken()})
	if err != nil {
		return nil, err
	}
	answer := &identityv1.ListTokensResponse{NextPageToken: next}
	for _, item := range list {
		answer.Tokens = append(answer.Tokens, tokenToProto(item))
	}
	return answer, nil
}

func (h *handler) RevokeToken(ctx context.Context, req *identityv1.RevokeTokenRequest) (*identityv1.RevokeTokenResponse, error) {
	id, err := parseID(typeid.Token, "token_id", req.GetTokenId())
	if err != nil {
		return nil, err
	}
	token, err := h.svc.RevokeToken(ctx, authn.From(ctx), id)
	if err != nil {
		return nil, err
	}
	return &identityv1.RevokeTokenResponse{Token: tokenToProto(token)}, nil
}

// parseID reads the TypeID in a field of a request.
func parseID(prefix, field, text string) (flow.ID, error) {
	id, err := typeid.Parse(prefix, text)
	if err != nil {
		return flow.ID{}, fault.InvalidField(field, "%s", err)
	}
	return flow.ID(id), nil
}
