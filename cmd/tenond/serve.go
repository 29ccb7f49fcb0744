package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/db"
	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/obs"
	"github.com/tenon-run/tenon/services/identity"
)

func serveCommand() *cobra.Command {
	var listen, public, format string
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server on a Postgres and a NATS of yours",
		Long:    "Runs all services on one port. DATABASE_URL and NATS_URL name what it runs on; TENON_MASTER_KEY or TENON_MASTER_KEY_FILE holds the key that seals the signing keys.",
		Example: "  DATABASE_URL=postgres://tenon@db/tenon NATS_URL=nats://nats:4222 TENON_MASTER_KEY_FILE=/etc/tenon/key tenond serve --listen :8080",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := obs.NewLogger(os.Stderr, obs.LogConfig{Format: format})
			if err != nil {
				return err
			}
			return serve(cmd.Context(), log, listen, public)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address and port")
	cmd.Flags().StringVar(&public, "public-address", os.Getenv("TENON_PUBLIC_ADDRESS"), "address that clients use, put into tokens (TENON_PUBLIC_ADDRESS)")
	cmd.Flags().StringVar(&format, "log-format", "json", `"json" or "text"`)
	return cmd
}

func serve(ctx context.Context, log *slog.Logger, listen, public string) error {
	database, natsURL := os.Getenv("DATABASE_URL"), os.Getenv("NATS_URL")
	if database == "" || natsURL == "" {
		return errors.New("set DATABASE_URL and NATS_URL to what the server runs on; `tenond dev` needs neither")
	}
	key, err := identity.LoadMasterKey(os.Getenv("TENON_MASTER_KEY"), os.Getenv("TENON_MASTER_KEY_FILE"), false)
	if err != nil {
		return err
	}
	conn, err := nats.Connect(natsURL, bus.Options("tenond", log)...)
	if err != nil {
		return fmt.Errorf("connect to NATS_URL: %w", err)
	}
	defer conn.Close()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	server, err := app.New(ctx, app.Config{DatabaseURL: database, NATS: conn, Listener: listener, MasterKey: key, Log: log, PublicAddress: public})
	if err != nil {
		_ = listener.Close()
		return err
	}
	defer server.Close()
	return server.Run(ctx, func() { log.Info("tenond: serving", "address", server.Address()) })
}

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "migrate", Short: "Bring the database at DATABASE_URL to the newest schema", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			database := os.Getenv("DATABASE_URL")
			if database == "" {
				return errors.New("set DATABASE_URL to the database to migrate, as the role that owns its tables")
			}
			return db.Migrate(cmd.Context(), database)
		},
	}
}
