package command

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

type tokenOptions struct {
	kind, role, lifetime string
	scopes               []string
}

func (c *cli) tokensCommand() *cobra.Command {
	var pages paging
	list := c.command(text{
		use: "list", short: "List the tenant's tokens, newest first, revoked ones included",
		example: `  tenon tokens list`,
	}, func(ctx context.Context, _ []string) error { return c.listTokens(ctx, &pages) })
	const many = 100
	pages.flags(list, many, "tokens")
	var o tokenOptions
	create := c.command(text{
		use: "create NAME", short: "Make an API token or a worker token; it is shown this once",
		long: `Make a token for programs (--kind api, with a role and scopes) or for workers (--kind worker).
Standard output holds the token and nothing else, so that it can be sent on; it cannot be read again.`,
		example: `  tenon tokens create ci --role developer --lifetime 30d > ci.token
  tenon tokens create reader --role viewer --scope run:read
  TENON_CLIENT_TOKEN=$(tenon tokens create greeter --kind worker) ./greeter`,
	}, func(ctx context.Context, args []string) error { return c.createToken(ctx, args[0], o) })
	create.Flags().StringVar(&o.kind, "kind", "api", "what it is for: "+strings.Join(words(tokenKinds), ", "))
	create.Flags().StringVar(&o.role, "role", "", "role of an API token: "+strings.Join(words(roles), ", ")+" (required)")
	create.Flags().StringSliceVar(&o.scopes, "scope", nil, `what of the role it may do: "object:action" or "object:*"; default: all`)
	create.Flags().StringVar(&o.lifetime, "lifetime", "90d", "how long it is good: 90d, 12h")
	must(create.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(words(tokenKinds), cobra.ShellCompDirectiveNoFileComp)))
	must(create.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(words(roles), cobra.ShellCompDirectiveNoFileComp)))
	revoke := c.command(text{
		use: "revoke TOKEN", short: "End a token, named by its id",
		long:    "End a token: every process of the server refuses it within a second and closes the streams opened with it.",
		example: `  tenon tokens revoke tok_01jd8x0c2hf6vts6q3n5m0k4rz`,
	}, func(ctx context.Context, args []string) error { return c.revokeToken(ctx, args[0]) })
	revoke.ValidArgsFunction = c.completeTokens
	return c.group(text{
		use: "tokens", short: "List, make and revoke the tenant's tokens",
		example: `  tenon tokens list
  tenon tokens create ci --role developer`,
	}, list, create, revoke)
}

func (c *cli) listTokens(ctx context.Context, pages *paging) error {
	return c.with(func(client *tenon.Client) error {
		all := &identityv1.ListTokensResponse{}
		next, err := pages.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Identity().ListTokens, &identityv1.ListTokensRequest{PageSize: size, PageToken: token})
			all.Tokens = append(all.Tokens, page.GetTokens()...)
			return len(page.GetTokens()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			if len(all.GetTokens()) == 0 {
				c.notef("no tokens yet: tenon tokens create makes one")
				return nil
			}
			table := show.NewRows("TOKEN", "NAME", "KIND", "ROLE", "SCOPES", "CREATED", "EXPIRES", "LAST USE", "STATE", "CREATOR")
			for _, t := range all.GetTokens() {
				role := ""
				if t.GetRole() != identityv1.Role_ROLE_UNSPECIFIED {
					role = word(t.GetRole())
				}
				row := show.Text(t.GetId(), t.GetName(), word(t.GetKind()), role, strings.Join(t.GetScopes(), ","), show.Instant(t.GetCreateTime(), c.host.Zone),
					show.Instant(t.GetExpireTime(), c.host.Zone), show.Instant(t.GetLastUseTime(), c.host.Zone))
				table.Add(append(row, c.tokenState(t), show.Cell{Text: t.GetCreator(), Colour: show.Dim})...)
			}
			defer c.more(pages, next, "tokens")
			return c.rows(table)
		})
	})
}

func (c *cli) tokenState(t *identityv1.Token) show.Cell {
	switch {
	case t.GetRevokeTime() != nil:
		return show.Cell{Text: "revoked", Colour: show.Dim}
	case !c.host.Now().Before(t.GetExpireTime().AsTime()):
		return show.Cell{Text: "expired", Colour: show.Dim}
	default:
		return show.Cell{Text: "good", Colour: show.Green}
	}
}

func (c *cli) createToken(ctx context.Context, name string, o tokenOptions) error {
	kind, err := enum(tokenKinds, "--kind", o.kind)
	if err != nil {
		return err
	}
	req := &identityv1.CreateTokenRequest{Name: name, Kind: identityv1.TokenKind(kind), Scopes: o.scopes}
	switch worker := req.GetKind() == identityv1.TokenKind_TOKEN_KIND_WORKER; {
	case worker && (o.role != "" || len(o.scopes) > 0):
		return badCall("a worker token has neither role nor scopes: leave --role and --scope out")
	case !worker && o.role == "":
		return badCall("--role is missing: an API token has one of %s", strings.Join(words(roles), ", "))
	case !worker:
		if req.Role, err = parseRole("--role", o.role); err != nil {
			return err
		}
	}
	lifetime, err := span(o.lifetime)
	if err != nil {
		return badCall("--lifetime: %s", err)
	}
	req.Lifetime = durationpb.New(lifetime)
	return c.with(func(client *tenon.Client) error {
		made, err := ask(ctx, c, client.Identity().CreateToken, req)
		if err != nil {
			return err
		}
		return c.answer(made, func() error {
			c.notef("token %s (%s), good until %s; it is shown this once:", made.GetToken().GetName(), made.GetToken().GetId(), show.Instant(made.GetToken().GetExpireTime(), c.host.Zone))
			return c.say("%s", made.GetSecret())
		})
	})
}

func (c *cli) revokeToken(ctx context.Context, id string) error {
	return c.with(func(client *tenon.Client) error {
		done, err := ask(ctx, c, client.Identity().RevokeToken, &identityv1.RevokeTokenRequest{TokenId: id})
		if err != nil {
			return err
		}
		return c.answer(done, func() error { return c.say("token %s (%s) is revoked", done.GetToken().GetName(), id) })
	})
}
