package command

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) tenantsCommand() *cobra.Command {
	var pages paging
	list := c.command(text{
		use: "list", short: "List the tenants that you are a member of; the one in use is marked",
		example: `  tenon tenants list`,
	}, func(ctx context.Context, _ []string) error { return c.listTenants(ctx, &pages) })
	const many = 100
	pages.flags(list, many, "tenants")
	var display string
	create := c.command(text{
		use: "create SLUG", short: "Make a tenant with you as its owner",
		long:    "Make a tenant. SLUG is its short name, unique in the install: 3 to 63 of a-z, 0-9 and hyphen, a letter first. A profile without a tenant uses it from now on.",
		example: `  tenon tenants create acme --name "Acme Ltd"`,
	}, func(ctx context.Context, args []string) error { return c.createTenant(ctx, args[0], display) })
	create.Flags().StringVar(&display, "name", "", "name to show; default: the slug")
	use := c.command(text{
		use: "use SLUG", short: "Choose the tenant that the profile's calls are for",
		example: `  tenon tenants use acme`,
	}, func(ctx context.Context, args []string) error { return c.useTenant(ctx, args[0]) })
	use.ValidArgsFunction = c.completeTenants
	rename := c.command(text{
		use: "rename NAME", short: "Give the tenant another name to show; its slug stays",
		example: `  tenon tenants rename "Acme & Daughters"`,
	}, func(ctx context.Context, args []string) error { return c.renameTenant(ctx, args[0]) })
	return c.group(text{
		use: "tenants", short: "List, make, join, rename and choose tenants",
		example: `  tenon tenants list
  tenon tenants create acme
  tenon tenants use acme`,
	}, list, create, use, c.joinCommand(), rename)
}

func (c *cli) listTenants(ctx context.Context, pages *paging) error {
	t, err := c.target()
	if err != nil {
		return err
	}
	return c.with(func(client *tenon.Client) error {
		all := &identityv1.ListTenantsResponse{}
		next, err := pages.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Identity().ListTenants, &identityv1.ListTenantsRequest{PageSize: size, PageToken: token})
			all.Memberships = append(all.Memberships, page.GetMemberships()...)
			return len(page.GetMemberships()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			if len(all.GetMemberships()) == 0 {
				c.notef("you are in no tenant yet: tenon tenants create SLUG makes one")
				return nil
			}
			table := show.NewRows("", "TENANT", "NAME", "ROLE", "CREATED", "ID")
			for _, m := range all.GetMemberships() {
				tenant, mark := m.GetTenant(), " "
				if t.tenant == tenant.GetSlug() || t.tenant == tenant.GetId() {
					mark = "*"
				}
				table.Add(show.Text(mark, tenant.GetSlug(), tenant.GetDisplayName(), word(m.GetRole()), show.Instant(tenant.GetCreateTime(), c.host.Zone), tenant.GetId())...)
			}
			defer c.more(pages, next, "tenants")
			return c.rows(table)
		})
	})
}

func (c *cli) createTenant(ctx context.Context, slug, display string) error {
	t, err := c.target()
	if err != nil {
		return err
	}
	// The new tenant is about none of the others, which the user may have left.
	t.tenant = ""
	client, err := t.client(tenon.WithToken(t.token))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // it only ends idle connections
	made, err := ask(ctx, c, client.Identity().CreateTenant, &identityv1.CreateTenantRequest{Slug: slug, DisplayName: display})
	if err != nil {
		return err
	}
	chosen, err := c.adopt(t.profile, made.GetTenant().GetSlug())
	if err != nil {
		return err
	}
	return c.answer(made, func() error {
		if err := c.say("tenant %s is made (%s)", made.GetTenant().GetSlug(), made.GetTenant().GetId()); err != nil {
			return err
		}
		return c.sayAdopted(t.profile, made.GetTenant().GetSlug(), chosen)
	})
}

// adopt makes a tenant the one of a profile that has none, and says whether it did.
func (c *cli) adopt(name, slug string) (bool, error) {
	if name == "" {
		return false, nil
	}
	store, err := c.store()
	if err != nil {
		return false, err
	}
	p := store.Profiles[name]
	if p.Tenant != "" {
		return false, nil
	}
	p.Tenant = slug
	store.Profiles[name] = p
	return true, store.Save()
}

func (c *cli) sayAdopted(name, slug string, chosen bool) error {
	if chosen {
		return c.say("profile %s uses it from now on", name)
	}
	c.hintf("tenon tenants use %s", slug)
	return nil
}

func (c *cli) renameTenant(ctx context.Context, display string) error {
	const longest = 100
	if utf8.RuneCountInString(display) > longest {
		return badCall("NAME is longer than %d characters", longest)
	}
	return c.with(func(client *tenon.Client) error {
		made, err := ask(ctx, c, client.Identity().RenameTenant, &identityv1.RenameTenantRequest{DisplayName: display})
		if err != nil {
			return err
		}
		return c.answer(made, func() error {
			return c.say("tenant %s is called %s now", made.GetTenant().GetSlug(), show.OneLine(made.GetTenant().GetDisplayName()))
		})
	})
}

func (c *cli) useTenant(ctx context.Context, wanted string) error {
	t, err := c.target()
	if err != nil {
		return err
	}
	if t.profile == "" {
		return problem{code: ExitUsage, message: "there is no profile to keep the tenant in: the token comes from TENON_CLIENT_TOKEN", next: "set TENON_CLIENT_TENANT, or tenon login"}
	}
	if t.signed == "" {
		return problem{code: ExitUsage, message: fmt.Sprintf("profile %q holds an API token, which belongs to one tenant", t.profile), next: "tenon login --profile NAME with a token of the other tenant"}
	}
	t.tenant = "" // the one in use may be one that the user has left
	client, err := t.client(tenon.WithToken(t.token))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // it only ends idle connections
	var found *identityv1.Membership
	all := paging{}
	_, err = all.gather(func(size int32, token string) (int, string, error) {
		page, err := ask(ctx, c, client.Identity().ListTenants, &identityv1.ListTenantsRequest{PageSize: size, PageToken: token})
		for _, m := range page.GetMemberships() {
			if wanted == m.GetTenant().GetSlug() || wanted == m.GetTenant().GetId() {
				found = m
			}
		}
		return len(page.GetMemberships()), page.GetNextPageToken(), err
	})
	if err != nil {
		return err
	}
	if found == nil {
		return problem{code: ExitNotFound, message: fmt.Sprintf("tenant %q does not exist, or you are not a member of it", show.OneLine(wanted)), next: "tenon tenants list"}
	}
	store, err := c.store()
	if err != nil {
		return err
	}
	p := store.Profiles[t.profile]
	p.Tenant = found.GetTenant().GetSlug()
	store.Profiles[t.profile] = p
	if err := store.Save(); err != nil {
		return err
	}
	return c.answer(found, func() error {
		return c.say("profile %s uses tenant %s from now on, as %s", t.profile, p.Tenant, word(found.GetRole()))
	})
}

// count writes a number of things: "1 run", "2 runs".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
