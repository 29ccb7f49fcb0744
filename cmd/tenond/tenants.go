package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/pg"
)

func tenantsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tenants", Short: "Look at and change which shards tenants are in",
		Long: "Works on the database at DATABASE_URL. Servers may run meanwhile. A shard's runs are written by one process: tenants that need a process of their " +
			"own are moved to a shard of their own.",
	}
	var shard int32
	move := &cobra.Command{
		Use: "move SLUG", Short: "Move a tenant to another shard while it is at work", Args: cobra.ExactArgs(1),
		Long: "Workers keep their work and callers wait; the tenants of both shards pause for as long as their owners need to take them again: up to five seconds.",
		Example: "  tenond tenants shard acme\n" +
			"  tenond tenants move acme --shard 12",
		RunE: onTenant(func(ctx context.Context, store *lease.Store, tenant lease.Tenant, out io.Writer) error {
			if _, err := store.MoveTenant(ctx, tenant.ID, shard); err != nil {
				return err
			}
			_, err := fmt.Fprintf(out, "tenant %s moved from shard %d to shard %d\n", tenant.Slug, tenant.Shard, shard)
			return err
		}),
	}
	move.Flags().Int32Var(&shard, "shard", 0, "the shard to move it to")
	_ = move.MarkFlagRequired("shard") // the flag exists
	cmd.AddCommand(move, &cobra.Command{
		Use: "shard SLUG", Short: "Tell which shard a tenant is in", Args: cobra.ExactArgs(1),
		RunE: onTenant(func(_ context.Context, _ *lease.Store, tenant lease.Tenant, out io.Writer) error {
			_, err := fmt.Fprintf(out, "tenant %s is in shard %d\n", tenant.Slug, tenant.Shard)
			return err
		}),
	})
	return cmd
}

// onTenant finds the tenant that a command names.
func onTenant(run func(context.Context, *lease.Store, lease.Tenant, io.Writer) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		database := os.Getenv("DATABASE_URL")
		if database == "" {
			return errors.New("set DATABASE_URL to the database of the install")
		}
		pool, err := pg.Open(cmd.Context(), pg.Config{URL: database, MaxConns: 2, ApplicationName: "tenon-tenants"})
		if err != nil {
			return err
		}
		defer pool.Close()
		store := &lease.Store{Pool: pool, Owner: flow.ID(uuid.New()), Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))}
		tenant, err := store.Tenant(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return run(cmd.Context(), store, tenant, cmd.OutOrStdout())
	}
}
