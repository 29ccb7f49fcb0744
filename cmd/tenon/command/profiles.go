package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/profile"
	"github.com/tenon-run/tenon/cmd/tenon/show"
)

func (c *cli) profilesCommand() *cobra.Command {
	list := c.command(text{
		use: "list", short: "List the profiles that tenon login has made; the current one is marked",
		example: `  tenon profiles list`,
	}, func(context.Context, []string) error { return c.listProfiles() })
	use := c.command(text{
		use: "use PROFILE", short: "Choose the profile of calls that name none",
		example: `  tenon profiles use production`,
	}, func(_ context.Context, args []string) error { return c.useProfile(args[0]) })
	use.ValidArgsFunction = c.completeProfiles
	return c.group(text{
		use: "profiles", short: "List and choose profiles: servers with a token each",
		example: `  tenon profiles list
  tenon profiles use production`,
	}, list, use)
}

// listed is a profile as programs see it: without its token.
type listed struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	Address string `json:"address"`
	As      string `json:"as,omitempty"`
	Tenant  string `json:"tenant,omitempty"`
	State   string `json:"state"`
	Expires string `json:"expireTime,omitempty"`
}

func (c *cli) listProfiles() error {
	store, err := c.store()
	if err != nil {
		return err
	}
	current, _ := c.profileName(store)
	all := []listed{}
	for _, name := range store.Names() {
		all = append(all, c.listed(name, store.Profiles[name], name == current))
	}
	if c.format != show.Table {
		return show.Value(c.host.Out, c.format, map[string]any{"profiles": all})
	}
	if len(all) == 0 {
		c.notef("no profiles yet: tenon login makes one")
		return nil
	}
	table := show.NewRows("", "PROFILE", "ADDRESS", "AS", "TENANT", "STATE")
	for _, p := range all {
		mark := " "
		if p.Current {
			mark = "*"
		}
		colour := show.Plain
		if p.State != "signed in" {
			colour = show.Yellow
		}
		table.Add(append(show.Text(mark, p.Name, p.Address, p.As, p.Tenant), show.Cell{Text: p.State, Colour: colour})...)
	}
	return c.rows(table)
}

func (c *cli) listed(name string, p profile.Profile, current bool) listed {
	out := listed{Name: name, Current: current, Address: p.Address, As: p.Email, Tenant: p.Tenant, State: "signed in"}
	if !p.Expires.IsZero() {
		out.Expires = p.Expires.UTC().Format("2006-01-02T15:04:05Z")
	}
	switch {
	case p.Token == "":
		out.State = "signed out"
	case !p.Expires.IsZero() && !c.host.Now().Before(p.Expires):
		out.State = "expired"
	case p.Email == "":
		out.As = "token"
	}
	return out
}

func (c *cli) useProfile(name string) error {
	store, err := c.store()
	if err != nil {
		return err
	}
	p, known := store.Profiles[name]
	if !known {
		return problem{code: ExitNotFound, message: fmt.Sprintf("profile %q does not exist", show.OneLine(name)), next: "tenon profiles list, or tenon login --profile " + show.OneLine(name)}
	}
	store.Current = name
	if err := store.Save(); err != nil {
		return err
	}
	return c.say("profile %s is used from now on (%s)", name, p.Address)
}
