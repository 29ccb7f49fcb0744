package identityrpc

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/internal/authn"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/identity"
)

func (h *handler) CreateInvitation(ctx context.Context, req *identityv1.CreateInvitationRequest) (*identityv1.CreateInvitationResponse, error) {
	made, token, err := h.svc.Invite(ctx, authn.From(ctx), roleFromProto(req.GetRole()), req.GetLifetime().AsDuration())
	if err != nil {
		return nil, err
	}
	return &identityv1.CreateInvitationResponse{Invitation: invitationToProto(made), Token: token}, nil
}

func (h *handler) ListInvitations(ctx context.Context, req *identityv1.ListInvitationsRequest) (*identityv1.ListInvitationsResponse, error) {
	list, next, err := h.svc.ListInvitations(ctx, authn.From(ctx), identity.Page{Size: req.GetPageSize(), Token: req.GetPageToken()})
	if err != nil {
		return nil, err
	}
	answer := &identityv1.ListInvitationsResponse{NextPageToken: next}
	for _, item := range list {
		answer.Invitations = append(answer.Invitations, invitationToProto(item))
	}
	return answer, nil
}

func (h *handler) RevokeInvitation(ctx context.Context, req *identityv1.RevokeInvitationRequest) (*identityv1.RevokeInvitationResponse, error) {
	id, err := parseID(typeid.Invite, "invitation_id", req.GetInvitationId())
	if err != nil {
		return nil, err
	}
	revoked, err := h.svc.RevokeInvitation(ctx, authn.From(ctx), id)
	if err != nil {
		return nil, err
	}
	return &identityv1.RevokeInvitationResponse{Invitation: invitationToProto(revoked)}, nil
}

func (h *handler) ReadInvitation(ctx context.Context, req *identityv1.ReadInvitationRequest) (*identityv1.ReadInvitationResponse, error) {
	tenant, invitation, err := h.svc.ReadInvitation(ctx, req.GetToken())
	if err != nil {
		return nil, err
	}
	return &identityv1.ReadInvitationResponse{Tenant: tenantToProto(tenant), Invitation: invitationToProto(invitation)}, nil
}

func (h *handler) AcceptInvitation(ctx context.Context, req *identityv1.AcceptInvitationRequest) (*identityv1.AcceptInvitationResponse, error) {
	tenant, role, err := h.svc.AcceptInvitation(ctx, authn.From(ctx), req.GetToken())
	if err != nil {
		return nil, err
	}
	return &identityv1.AcceptInvitationResponse{Tenant: tenantToProto(tenant), Role: roleToProto(role)}, nil
}

func (h *handler) RenameTenant(ctx context.Context, req *identityv1.RenameTenantRequest) (*identityv1.RenameTenantResponse, error) {
	tenant, err := h.svc.RenameTenant(ctx, authn.From(ctx), req.GetDisplayName())
	if err != nil {
		return nil, err
	}
	return &identityv1.RenameTenantResponse{Tenant: tenantToProto(tenant)}, nil
}

func invitationToProto(i identity.Invitation) *identityv1.Invitation {
	form := &identityv1.Invitation{
		Id: typeid.Format(typeid.Invite, i.ID), Role: roleToProto(i.Role), CreateTime: timestamppb.New(i.Created), ExpireTime: timestamppb.New(i.Expires), Creator: i.Creator,
	}
	if i.Accepted != nil {
		form.AcceptTime, form.AcceptedBy = timestamppb.New(*i.Accepted), typeid.Format(typeid.User, i.AcceptedBy)
	}
	if i.Revoked != nil {
		form.RevokeTime = timestamppb.New(*i.Revoked)
	}
	return form
}
