package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) membersCommand() *cobra.Command {
	var pages paging
	list := c.command(text{
		use: "list", short: "List the tenant's members, oldest first",
		example: `  tenon members list`,
	}, func(ctx context.Context, _ []string) error { return c.listMembers(ctx, &pages) })
	const many = 100
	pages.flags(list, many, "members")
	var role string
	add := c.command(text{
		use: "add EMAIL", short: "Make a user who has signed up a member of the tenant",
		example: `  tenon members add bob@example.com --role developer`,
	}, func(ctx context.Context, args []string) error { return c.addMember(ctx, args[0], role) })
	add.Flags().StringVar(&role, "role", "developer", "role: "+strings.Join(words(roles), ", "))
	must(add.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(words(roles), cobra.ShellCompDirectiveNoFileComp)))
	change := c.command(text{
		use: "role MEMBER ROLE", short: "Give a member another role",
		long:    "Give a member, named by email or id, another role: " + strings.Join(words(roles), ", ") + ". It works within a second everywhere.",
		example: `  tenon members role bob@example.com admin`,
	}, func(ctx context.Context, args []string) error { return c.changeRole(ctx, args[0], args[1]) })
	change.ValidArgsFunction = c.completeMemberRole
	remove := c.command(text{
		use: "remove MEMBER", short: "Take a member out of the tenant",
		long:    "Take a member, named by email or id, out of the tenant. Tokens that the member made are the tenant's and stay good: tenon tokens list names each one's creator.",
		example: `  tenon members remove bob@example.com`,
	}, func(ctx context.Context, args []string) error { return c.removeMember(ctx, args[0]) })
	remove.ValidArgsFunction = c.completeMembers
	return c.group(text{
		use: "members", short: "List the tenant's members, add and invite them, change their roles",
		example: `  tenon members list
  tenon members add bob@example.com --role viewer
  tenon members role bob@example.com developer
  tenon members invite --role developer`,
	}, list, add, change, remove, c.inviteCommand(), c.invitationsCommand(), c.uninviteCommand())
}

// members reads all members, or as many as are wanted.
func (c *cli) members(ctx context.Context, client *tenon.Client, pages *paging) (*identityv1.ListMembersResponse, error) {
	all := &identityv1.ListMembersResponse{}
	next, err := pages.gather(func(size int32, token string) (int, string, error) {
		page, err := ask(ctx, c, client.Identity().ListMembers, &identityv1.ListMembersRequest{PageSize: size, PageToken: token})
		all.Members = append(all.Members, page.GetMembers()...)
		return len(page.GetMembers()), page.GetNextPageToken(), err
	})
	all.NextPageToken = next
	return all, err
}

func (c *cli) listMembers(ctx context.Context, pages *paging) error {
	return c.with(func(client *tenon.Client) error {
		all, err := c.members(ctx, client, pages)
		if err != nil {
			return err
		}
		return c.answer(all, func() error {
			table := show.NewRows("EMAIL", "NAME", "ROLE", "SINCE", "ID")
			for _, m := range all.GetMembers() {
				table.Add(show.Text(m.GetUser().GetEmail(), m.GetUser().GetDisplayName(), word(m.GetRole()), show.Instant(m.GetCreateTime(), c.host.Zone), m.GetUser().GetId())...)
			}
			defer c.more(pages, all.GetNextPageToken(), "members")
			return c.rows(table)
		})
	})
}

func (c *cli) addMember(ctx context.Context, email, role string) error {
	wanted, err := parseRole("--role", role)
	if err != nil {
		return err
	}
	return c.with(func(client *tenon.Client) error {
		made, err := ask(ctx, c, client.Identity().AddMember, &identityv1.AddMemberRequest{Email: email, Role: wanted})
		if err != nil {
			return err
		}
		return c.answer(made, func() error {
			return c.say("%s is a member now, as %s", made.GetMember().GetUser().GetEmail(), word(made.GetMember().GetRole()))
		})
	})
}

func (c *cli) changeRole(ctx context.Context, member, role string) error {
	wanted, err := parseRole("ROLE", role)
	if err != nil {
		return err
	}
	return c.with(func(client *tenon.Client) error {
		user, err := c.member(ctx, client, member)
		if err != nil {
			return err
		}
		made, err := ask(ctx, c, client.Identity().ChangeMemberRole, &identityv1.ChangeMemberRoleRequest{UserId: user, Role: wanted})
		if err != nil {
			return err
		}
		return c.answer(made, func() error {
			return c.say("%s is %s now", made.GetMember().GetUser().GetEmail(), word(made.GetMember().GetRole()))
		})
	})
}

func (c *cli) removeMember(ctx context.Context, member string) error {
	return c.with(func(client *tenon.Client) error {
		user, err := c.member(ctx, client, member)
		if err != nil {
			return err
		}
		done, err := ask(ctx, c, client.Identity().RemoveMember, &identityv1.RemoveMemberRequest{UserId: user})
		if err != nil {
			return err
		}
		return c.answer(done, func() error { return c.say("%s is no member any more", member) })
	})
}

// member gives the id of a member named by email or id.
func (c *cli) member(ctx context.Context, client *tenon.Client, named string) (string, error) {
	if !strings.Contains(named, "@") {
		return named, nil
	}
	all, err := c.members(ctx, client, &paging{})
	if err != nil {
		return "", err
	}
	for _, m := range all.GetMembers() {
		if strings.EqualFold(m.GetUser().GetEmail(), named) {
			return m.GetUser().GetId(), nil
		}
	}
	return "", problem{code: ExitNotFound, message: fmt.Sprintf("%s is no member of the tenant", show.OneLine(named)), next: "tenon members list"}
}
