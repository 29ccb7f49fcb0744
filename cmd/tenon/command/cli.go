package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/show"
)

// Version is the release, set by the linker.
var Version = "dev" //nolint:gochecknoglobals // set by -ldflags

// cli is what all commands of one call share.
type cli struct {
	host Host
	// started says that a command's own code runs; an error before that is a wrong call.
	started bool
	format  show.Format

	profileFlag, addressFlag, tenantFlag, formatFlag string
	timeout                                          time.Duration
}

// Run runs one command and gives the exit code of the process.
func Run(ctx context.Context, host Host, args []string) int {
	c := &cli{host: host}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if ctx.Err() != nil && !errors.As(err, new(*outcome)) {
		err = problem{code: ExitInterrupted, message: interrupted(err)}
	} else if _, known := errors.AsType[problem](err); !known && !c.started {
		err = problem{code: ExitUsage, message: err.Error(), next: "tenon --help"}
	}
	return c.report(err)
}

// New gives the command tree, for its documentation.
func New() *cobra.Command { return (&cli{}).root() }

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use: "tenon", Short: "Trigger, watch and steer background work on Tenon",
		Long: `tenon speaks to a Tenon server: it triggers workflows, watches and steers their runs, and manages tokens, tenants and members.

Sign in with "tenon login", or set TENON_CLIENT_TOKEN (and TENON_CLIENT_ADDRESS, where the token does not name the server).
Answers are tables for people; "-o json" and "-o yaml" give the API's own form for programs, with times in RFC 3339.

A call is made with, in this order: the profile that --profile names, TENON_CLIENT_TOKEN, the profile that TENON_PROFILE
names, the profile chosen by "tenon profiles use".

` + exitCodes,
		Example: `  tenon login http://127.0.0.1:8080
  tenon runs trigger greet --input '"world"' --wait
  tenon runs watch run_01jd8x0c2hf6vts6q3n5m0k4rz
  tenon runs list --status failed --since 24h -o json`,
		SilenceUsage: true, SilenceErrors: true, DisableAutoGenTag: true,
		Args: c.noSuchCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(c.host.In)
	root.SetOut(c.host.Out)
	root.SetErr(c.host.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return problem{code: ExitUsage, message: plainFlag(err), next: cmd.CommandPath() + " --help"}
	})
	flags := root.PersistentFlags()
	flags.StringVar(&c.profileFlag, "profile", "", "profile to call with (environment: TENON_PROFILE)")
	flags.StringVar(&c.addressFlag, "address", "", "address of the server (environment: TENON_CLIENT_ADDRESS)")
	flags.StringVar(&c.tenantFlag, "tenant", "", "tenant to call for, by short name or id; for signed-in users (environment: TENON_CLIENT_TENANT)")
	flags.StringVarP(&c.formatFlag, "output", "o", string(show.Table), "form of the answer: "+strings.Join(show.Formats(), ", "))
	const patience = 30 * time.Second
	flags.DurationVar(&c.timeout, "timeout", patience, "longest wait for one answer of the server; watching and following go on without limit")
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(show.Formats(), cobra.ShellCompDirectiveNoFileComp)))
	must(root.RegisterFlagCompletionFunc("profile", c.completeProfiles))
	must(root.RegisterFlagCompletionFunc("tenant", c.completeTenants))
	root.AddCommand(
		c.loginCommand(), c.logoutCommand(), c.profilesCommand(), c.whoamiCommand(), c.sessionsCommand(), c.tenantsCommand(), c.membersCommand(),
		c.tokensCommand(), c.workflowsCommand(), c.runsCommand(), c.queuesCommand(), c.workersCommand(), c.versionCommand(),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// text is what a command's help says.
type text struct {
	// use is the name with its arguments: NAME must be given, [NAME] may be, NAME... may be given several times.
	use, short, long, example string
}

// command makes a command that does something.
func (c *cli) command(t text, run func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: t.use, Short: t.short, Long: t.long, Example: t.example, Args: wanted(t.use), DisableAutoGenTag: true,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := show.ParseFormat(c.formatFlag)
			if err != nil {
				return usage(cmd, "--output: %s", err)
			}
			c.format, c.started = format, true
			if c.timeout <= 0 {
				return usage(cmd, "--timeout must be above zero")
			}
			return run(cmd.Context(), args)
		},
	}
}

// group makes a command that only holds others.
func (c *cli) group(t text, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: t.use, Short: t.short, Long: t.long, Example: t.example, Args: c.noSuchCommand, DisableAutoGenTag: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// noSuchCommand is the rule for arguments of what only holds commands.
func (c *cli) noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), show.OneLine(args[0]))
	cmd.SuggestionsMinimumDistance = 2 // letters that may be wrong
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		message += "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return problem{code: ExitUsage, message: message, next: cmd.CommandPath() + " --help"}
}

// wanted is the rule for the arguments that a use line shows.
func wanted(use string) cobra.PositionalArgs {
	names := strings.Fields(use)[1:]
	least, most := 0, len(names)
	for _, name := range names {
		if !strings.HasPrefix(name, "[") {
			least++
		}
		if strings.HasSuffix(strings.TrimSuffix(name, "]"), "...") {
			const any = 1 << 30
			most = any
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage(cmd, "%s is missing", strings.TrimSuffix(names[len(args)], "..."))
		case len(args) > most && most == 0:
			return usage(cmd, "%s takes no arguments", cmd.CommandPath())
		case len(args) > most:
			return usage(cmd, "%q is one argument too many", show.OneLine(args[most]))
		}
		for i, arg := range args {
			if arg == "" {
				return usage(cmd, "%s is empty", strings.Trim(names[min(i, len(names)-1)], "[].")) //nolint:gosec // most is at least 1 here
			}
		}
		return nil
	}
}

// plainFlag is what is wrong with a flag, without the name of the function that found out.
func plainFlag(err error) string {
	message, cause, found := strings.Cut(err.Error(), ": strconv.")
	if found {
		message += cause[strings.LastIndex(cause, ": "):]
	}
	return message
}

// usage is the error of a command that was called wrongly.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return problem{code: ExitUsage, message: fmt.Sprintf(format, args...), next: cmd.CommandPath() + " --help"}
}

// badCall is usage for code that does not see its cobra command.
func badCall(format string, args ...any) error {
	return problem{code: ExitUsage, message: fmt.Sprintf(format, args...)}
}

// must is for registrations, which fail only for a flag that does not exist.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
