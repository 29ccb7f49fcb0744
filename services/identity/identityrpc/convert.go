package identityrpc

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/identity"
)

func userToProto(user identity.User) *identityv1.User {
	return &identityv1.User{
		Id: typeid.Format(typeid.User, user.ID), Email: user.Email, DisplayName: user.DisplayName, CreateTime: timestamppb.New(user.Created),
	}
}

func tenantToProto(tenant identity.Tenant) *identityv1.Tenant {
	return &identityv1.Tenant{
		Id: typeid.Format(typeid.Tenant, tenant.ID), Slug: tenant.Slug, DisplayName: tenant.DisplayName, CreateTime: timestamppb.New(tenant.Created),
	}
}

func tokenToProto(token identity.Token) *identityv1.Token {
	form := &identityv1.Token{
		Id: typeid.Format(typeid.Token, token.ID), Name: token.Name, Kind: kindToProto(token.Kind), Role: roleToProto(token.Role), Scopes: token.Scopes, Creator: token.Creator,
		CreateTime: timestamppb.New(token.Created), ExpireTime: timestamppb.New(token.Expires),
	}
	if token.Revoked != nil {
		form.RevokeTime = timestamppb.New(*token.Revoked)
	}
	if token.Used != nil {
		form.LastUseTime = timestamppb.New(*token.Used)
	}
	return form
}

func memberToProto(member identity.Member) *identityv1.Member {
	return &identityv1.Member{User: userToProto(member.User), Role: roleToProto(member.Role), CreateTime: timestamppb.New(member.Joined)}
}

func sessionToProto(session identity.OpenSession) *identityv1.Session {
	return &identityv1.Session{
		Id: typeid.Format(typeid.Session, session.ID), CreateTime: timestamppb.New(session.Created), LastUseTime: timestamppb.New(session.LastUsed),
		ExpireTime: timestamppb.New(session.Expires), UserAgent: session.UserAgent, Address: session.Address, Current: session.Current,
	}
}

func kindToProto(kind string) identityv1.TokenKind {
	if kind == authn.KindWorker.String() {
		return identityv1.TokenKind_TOKEN_KIND_WORKER
	}
	return identityv1.TokenKind_TOKEN_KIND_API
}

// kindFromProto gives KindAnonymous for what is no token's kind; the service refuses that.
func kindFromProto(kind identityv1.TokenKind) authn.Kind {
	switch kind {
	case identityv1.TokenKind_TOKEN_KIND_API:
		return authn.KindAPI
	case identityv1.TokenKind_TOKEN_KIND_WORKER:
		return authn.KindWorker
	default:
		return authn.KindAnonymous
	}
}

// roleToProto gives ROLE_UNSPECIFIED for the roles that are no member's: worker, user and anonymous.
func roleToProto(role string) identityv1.Role {
	switch role {
	case authz.RoleOwner:
		return identityv1.Role_ROLE_OWNER
	case authz.RoleAdmin:
		return identityv1.Role_ROLE_ADMIN
	case authz.RoleDeveloper:
		return identityv1.Role_ROLE_DEVELOPER
	case authz.RoleViewer:
		return identityv1.Role_ROLE_VIEWER
	default:
		return identityv1.Role_ROLE_UNSPECIFIED
	}
}

func roleFromProto(role identityv1.Role) string {
	switch role {
	case identityv1.Role_ROLE_OWNER:
		return authz.RoleOwner
	case identityv1.Role_ROLE_ADMIN:
		return authz.RoleAdmin
	case identityv1.Role_ROLE_DEVELOPER:
		return authz.RoleDeveloper
	case identityv1.Role_ROLE_VIEWER:
		return authz.RoleViewer
	default:
		return ""
	}
}
