package command

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) inviteCommand() *cobra.Command {
	var role, expires string
	cmd := c.command(text{
		use: "invite", short: "Make an invitation, which makes whoever joins with it a member; its token is shown this once",
		long: `Make an invitation that is good for one person, who joins with tenon tenants join.
Standard output holds the invitation's token and nothing else, so that it can be sent on; it cannot be read again.`,
		example: `  tenon members invite --role developer
  tenon members invite --role viewer --expires 12h > invitation.txt`,
	}, func(ctx context.Context, _ []string) error { return c.invite(ctx, role, expires) })
	cmd.Flags().StringVar(&role, "role", "developer", "role: "+strings.Join(words(roles), ", "))
	cmd.Flags().StringVar(&expires, "expires", "7d", "how long it is good, at most 30d: 7d, 12h")
	must(cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(words(roles), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (c *cli) invitationsCommand() *cobra.Command {
	var pages paging
	cmd := c.command(text{
		use: "invitations", short: "List the tenant's invitations, newest first, those that are over included",
		example: `  tenon members invitations`,
	}, func(ctx context.Context, _ []string) error { return c.listInvitations(ctx, &pages) })
	const many = 100
	pages.flags(cmd, many, "invitations")
	return cmd
}

func (c *cli) uninviteCommand() *cobra.Command {
	cmd := c.command(text{
		use: "uninvite INVITATION", short: "Make an invitation useless, named by its id",
		long:    "Make an invitation useless. One that was accepted stays: take the member out with tenon members remove.",
		example: `  tenon members uninvite inv_01jd8x0c2hf6vts6q3n5m0k4rz`,
	}, func(ctx context.Context, args []string) error { return c.uninvite(ctx, args[0]) })
	cmd.ValidArgsFunction = c.completeInvitations
	return cmd
}

func (c *cli) invite(ctx context.Context, role, expires string) error {
	wanted, err := parseRole("--role", role)
	if err != nil {
		return err
	}
	lifetime, err := span(expires)
	if err != nil {
		return badCall("--expires: %s", err)
	}
	const longest = 30 * 24 * time.Hour
	if lifetime < time.Second || lifetime > longest {
		return badCall("--expires must be between 1s and 30d")
	}
	return c.with(func(client *tenon.Client) error {
		made, err := ask(ctx, c, client.Identity().CreateInvitation, &identityv1.CreateInvitationRequest{Role: wanted, Lifetime: durationpb.New(lifetime)})
		if err != nil {
			return err
		}
		return c.answer(made, func() error {
			i := made.GetInvitation()
			c.notef("invitation %s as %s, good until %s; its token is shown this once, for tenon tenants join:", i.GetId(), word(i.GetRole()), show.Instant(i.GetExpireTime(), c.host.Zone))
			return c.say("%s", made.GetToken())
		})
	})
}

func (c *cli) listInvitations(ctx context.Context, pages *paging) error {
	return c.with(func(client *tenon.Client) error {
		all := &identityv1.ListInvitationsResponse{}
		next, err := pages.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Identity().ListInvitations, &identityv1.ListInvitationsRequest{PageSize: size, PageToken: token})
			all.Invitations = append(all.Invitations, page.GetInvitations()...)
			return len(page.GetInvitations()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			if len(all.GetInvitations()) == 0 {
				c.notef("no invitations yet: tenon members invite makes one")
				return nil
			}
			table := show.NewRows("INVITATION", "ROLE", "CREATED", "EXPIRES", "STATE", "ACCEPTED BY", "CREATOR")
			for _, i := range all.GetInvitations() {
				row := show.Text(i.GetId(), word(i.GetRole()), show.Instant(i.GetCreateTime(), c.host.Zone), show.Instant(i.GetExpireTime(), c.host.Zone))
				table.Add(append(row, c.invitationState(i), show.Cell{Text: i.GetAcceptedBy()}, show.Cell{Text: i.GetCreator(), Colour: show.Dim})...)
			}
			defer c.more(pages, next, "invitations")
			return c.rows(table)
		})
	})
}

func (c *cli) invitationState(i *identityv1.Invitation) show.Cell {
	switch {
	case i.GetAcceptTime() != nil:
		return show.Cell{Text: "accepted", Colour: show.Dim}
	case i.GetRevokeTime() != nil:
		return show.Cell{Text: "revoked", Colour: show.Dim}
	case !c.host.Now().Before(i.GetExpireTime().AsTime()):
		return show.Cell{Text: "expired", Colour: show.Dim}
	default:
		return show.Cell{Text: "open", Colour: show.Green}
	}
}

func (c *cli) uninvite(ctx context.Context, id string) error {
	return c.with(func(client *tenon.Client) error {
		done, err := ask(ctx, c, client.Identity().RevokeInvitation, &identityv1.RevokeInvitationRequest{InvitationId: id})
		if err != nil {
			return err
		}
		return c.answer(done, func() error { return c.say("invitation %s is revoked", id) })
	})
}

func (c *cli) joinCommand() *cobra.Command {
	cmd := c.command(text{
		use: "join", short: "Become a member of a tenant with an invitation's token",
		long: `Become a member of the tenant that an invitation is to. A profile without a tenant uses it from now on.

The token is asked for without echo; without a terminal it is the first line of standard input. It is never an argument, so it does not get into the
shell's history.`,
		example: `  tenon tenants join
  tenon tenants join < invitation.txt`,
	}, func(ctx context.Context, _ []string) error { return c.joinTenant(ctx) })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage(cmd, "an invitation's token is no argument, since arguments stay in the shell's history: write it to standard input")
		}
		return nil
	}
	return cmd
}

func (c *cli) joinTenant(ctx context.Context) error {
	t, err := c.target()
	if err != nil {
		return err
	}
	t.tenant = "" // the one in use may be one that the user has left
	token, err := c.secret(ctx, "Token")
	if err != nil {
		return err
	}
	client, err := t.client(tenon.WithToken(t.token))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // it only ends idle connections
	joined, err := ask(ctx, c, client.Identity().AcceptInvitation, &identityv1.AcceptInvitationRequest{Token: token})
	if err != nil {
		return err
	}
	slug := joined.GetTenant().GetSlug()
	chosen, err := c.adopt(t.profile, slug)
	if err != nil {
		return err
	}
	return c.answer(joined, func() error {
		if err := c.say("you are a member of tenant %s now, as %s", slug, word(joined.GetRole())); err != nil {
			return err
		}
		return c.sayAdopted(t.profile, slug, chosen)
	})
}
