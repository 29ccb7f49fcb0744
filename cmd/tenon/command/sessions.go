package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) sessionsCommand() *cobra.Command {
	var pages paging
	list := c.command(text{
		use: "list", short: "List your sign-ins that are good, newest first",
		example: `  tenon sessions list`,
	}, func(ctx context.Context, _ []string) error { return c.listSessions(ctx, &pages) })
	const many = 100
	pages.flags(list, many, "sessions")
	var others bool
	end := c.command(text{
		use: "end [SESSION]", short: "End one of your sign-ins, or all but this one",
		long: "End one of your sign-ins: every process of the server refuses its token within a second. With --others all sign-ins end but the one you call with.",
		example: `  tenon sessions end ses_01jd8x0c2hf6vts6q3n5m0k4rz
  tenon sessions end --others`,
	}, func(ctx context.Context, args []string) error {
		if others == (len(args) == 1) {
			return badCall("give one SESSION, or --others")
		}
		return c.endSessions(ctx, args)
	})
	end.Flags().BoolVar(&others, "others", false, "end all sign-ins but this one")
	return c.group(text{
		use: "sessions", short: "List and end your sign-ins",
		example: `  tenon sessions list
  tenon sessions end --others`,
	}, list, end)
}

func (c *cli) listSessions(ctx context.Context, pages *paging) error {
	return c.with(func(client *tenon.Client) error {
		all := &identityv1.ListSessionsResponse{}
		next, err := pages.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Identity().ListSessions, &identityv1.ListSessionsRequest{PageSize: size, PageToken: token})
			all.Sessions = append(all.Sessions, page.GetSessions()...)
			return len(page.GetSessions()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			table := show.NewRows("SESSION", "SIGNED IN", "LAST USE", "EXPIRES", "FROM", "WITH")
			for _, s := range all.GetSessions() {
				with := s.GetUserAgent()
				if s.GetCurrent() {
					with += "  (this one)"
				}
				table.Add(show.Text(s.GetId(), show.Instant(s.GetCreateTime(), c.host.Zone), show.Instant(s.GetLastUseTime(), c.host.Zone),
					show.Instant(s.GetExpireTime(), c.host.Zone), s.GetAddress(), with)...)
			}
			defer c.more(pages, next, "sessions")
			return c.rows(table)
		})
	})
}

func (c *cli) endSessions(ctx context.Context, args []string) error {
	return c.with(func(client *tenon.Client) error {
		if len(args) == 1 {
			done, err := ask(ctx, c, client.Identity().SignOutSession, &identityv1.SignOutSessionRequest{SessionId: args[0]})
			if err != nil {
				return err
			}
			return c.answer(done, func() error { return c.say("session %s has ended", args[0]) })
		}
		done, err := ask(ctx, c, client.Identity().SignOutOtherSessions, &identityv1.SignOutOtherSessionsRequest{})
		if err != nil {
			return err
		}
		return c.answer(done, func() error { return c.say("%s ended", count(int(done.GetEnded()), "other session")) })
	})
}
