package command

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) whoamiCommand() *cobra.Command {
	return c.command(text{
		use: "whoami", short: "Show who you are to the server: user or token, tenant, role and scopes",
		example: `  tenon whoami
  tenon whoami -o json`,
	}, func(ctx context.Context, _ []string) error {
		t, err := c.target()
		if err != nil {
			return err
		}
		return c.with(func(client *tenon.Client) error {
			who, err := ask(ctx, c, client.Identity().WhoAmI, &identityv1.WhoAmIRequest{})
			if err != nil {
				return err
			}
			return c.answer(who, func() error { return c.showWho(client.Address(), t.profile, who) })
		})
	})
}

func (c *cli) showWho(address, profile string, who *identityv1.WhoAmIResponse) error {
	f := newFacts()
	f.add("Address", address)
	f.add("Profile", first(profile, "none: TENON_CLIENT_TOKEN"))
	if user := who.GetUser(); user != nil {
		f.add("User", strings.TrimSpace(user.GetEmail()+"  "+user.GetId()))
	}
	if token := who.GetToken(); token != nil {
		f.add("Token", fmt.Sprintf("%s  %s", token.GetName(), token.GetId()))
		f.add("Kind", word(token.GetKind()))
		f.add("Scopes", strings.Join(token.GetScopes(), ", "))
		f.add("Expires", show.Instant(token.GetExpireTime(), c.host.Zone))
	}
	if tenant := who.GetTenant(); tenant != nil {
		f.add("Tenant", fmt.Sprintf("%s  %s", tenant.GetSlug(), tenant.GetId()))
	} else {
		f.add("Tenant", "none chosen: tenon tenants list")
	}
	if who.GetRole() != identityv1.Role_ROLE_UNSPECIFIED {
		f.add("Role", word(who.GetRole()))
	}
	return c.rows(f.rows)
}

func (c *cli) versionCommand() *cobra.Command {
	return c.command(text{
		use: "version", short: "Show the version of this tool",
		example: `  tenon version`,
	}, func(context.Context, []string) error {
		made := map[string]string{"version": Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					made["revision"] = s.Value
				}
			}
		}
		if c.format != show.Table {
			return show.Value(c.host.Out, c.format, made)
		}
		text := "tenon " + made["version"]
		if made["revision"] != "" {
			text += " (" + made["revision"] + ")"
		}
		return c.say("%s %s %s", text, made["go"], made["platform"])
	})
}
