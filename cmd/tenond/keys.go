package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/services/identity"
)

func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "Look at, rotate and rewrap the keys that tokens are signed with",
		Long: "Works on the database at DATABASE_URL, with the master key in TENON_MASTER_KEY or TENON_MASTER_KEY_FILE. Servers may run meanwhile.",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the signing keys, newest first", Args: cobra.NoArgs,
			RunE: onKeys(listKeys),
		},
		&cobra.Command{
			Use: "rotate", Short: "Announce a new signing key, which signs in 15 minutes; tokens stay good", Args: cobra.NoArgs,
			RunE: onKeys(rotateKeys),
		},
		&cobra.Command{
			Use: "rewrap", Short: "Seal the signing keys under another master key", Args: cobra.NoArgs,
			Long: "Seals all signing keys under the key in TENON_NEW_MASTER_KEY or TENON_NEW_MASTER_KEY_FILE, all or none. Servers go on with the keys in their " +
				"memory: restart each with the new master key before the next rotation.",
			RunE: onKeys(rewrapKeys),
		},
	)
	return cmd
}

// onKeys opens the keys that the environment names for one command.
func onKeys(run func(context.Context, *identity.Keys, io.Writer) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		database := os.Getenv("DATABASE_URL")
		if database == "" {
			return errors.New("set DATABASE_URL to the database of the install")
		}
		master, err := identity.LoadMasterKey(os.Getenv("TENON_MASTER_KEY"), os.Getenv("TENON_MASTER_KEY_FILE"), false)
		if err != nil {
			return err
		}
		pool, err := pg.Open(cmd.Context(), pg.Config{URL: database, MaxConns: 1, ApplicationName: "tenon-keys"})
		if err != nil {
			return err
		}
		defer pool.Close()
		keys, err := identity.NewKeys(identity.KeysConfig{Pool: pool, MasterKey: master})
		if err != nil {
			return err
		}
		return run(cmd.Context(), keys, cmd.OutOrStdout())
	}
}

func listKeys(ctx context.Context, keys *identity.Keys, out io.Writer) error {
	list, err := keys.List(ctx)
	if err != nil {
		return err
	}
	const padding = 2
	table := tabwriter.NewWriter(out, 0, 0, padding, ' ', 0)
	_, _ = fmt.Fprintln(table, "KEY\tSTATE\tSIGNS FROM\tSIGNS UNTIL\tVERIFIES UNTIL") // Flush tells what went wrong
	for _, key := range list {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", key.ID, key.State, instant(&key.SignsFrom), instant(key.SignsUntil), instant(key.VerifiesUntil))
	}
	return table.Flush()
}

func rotateKeys(ctx context.Context, keys *identity.Keys, out io.Writer) error {
	made, err := keys.Rotate(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "key %s signs from %s; the others verify until their last token has expired\n", made.ID, instant(&made.SignsFrom))
	return err
}

func rewrapKeys(ctx context.Context, keys *identity.Keys, out io.Writer) error {
	master, err := identity.LoadNewMasterKey(os.Getenv("TENON_NEW_MASTER_KEY"), os.Getenv("TENON_NEW_MASTER_KEY_FILE"))
	if err != nil {
		return err
	}
	changed, err := keys.Rewrap(ctx, master)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d signing keys are sealed anew: restart every server that runs identity with the new master key, then destroy the old one\n", changed)
	return err
}

func instant(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}
