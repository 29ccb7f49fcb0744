package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/db"
	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/obs"
	"github.com/tenon-run/tenon/internal/tlsreload"
	"github.com/tenon-run/tenon/services/identity"
)

// serveOptions are the flags of serve; each has an environment variable of the same meaning.
type serveOptions struct {
	services       []string
	listen         string
	advertise      string
	public         string
	certFile       string
	keyFile        string
	peerCA         string
	trustedProxies []string
	grace          time.Duration
	format         string
	level          string
	nats           bus.Credentials
}

func serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use: "serve", Short: "Run services on a Postgres and a NATS of yours",
		Long: "Runs all services, or those of --services, on one port. Several processes find each other by NATS and share the Postgres; each accepts every call and\n" +
			"passes on what it does not run itself. DATABASE_URL and NATS_URL name what they run on; TENON_MASTER_KEY or TENON_MASTER_KEY_FILE holds the key\n" +
			"that seals the signing keys, where the identity service runs. SIGTERM stops in order: streams are told, shards are handed over. SIGHUP reads the\n" +
			"TLS files again at once.",
		Example: "  DATABASE_URL=postgres://tenon@db/tenon NATS_URL=nats://nats:4222 TENON_MASTER_KEY_FILE=/etc/tenon/key tenond serve --listen :8080\n" +
			"  tenond serve --services=scheduler,dispatcher --listen 10.0.0.5:8080",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := obs.NewLogger(os.Stderr, obs.LogConfig{Format: o.format, Level: o.level})
			if err != nil {
				return err
			}
			return serve(cmd.Context(), log, o)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.services, "services", list(os.Getenv("TENON_SERVICES")), "what to run, of "+strings.Join(app.AllServices(), ", ")+"; default all (TENON_SERVICES)")
	f.StringVar(&o.listen, "listen", or(os.Getenv("TENON_LISTEN"), "127.0.0.1:8080"), "address and port (TENON_LISTEN)")
	f.StringVar(&o.advertise, "advertise", os.Getenv("TENON_ADVERTISE"), "URL under which other processes reach this one; default from --listen (TENON_ADVERTISE)")
	f.StringVar(&o.public, "public-address", os.Getenv("TENON_PUBLIC_ADDRESS"), "URL that clients use, put into tokens; default --advertise (TENON_PUBLIC_ADDRESS)")
	f.StringVar(&o.certFile, "tls-cert", os.Getenv("TENON_TLS_CERT_FILE"), "certificate to serve HTTPS with, as PEM; read again when it changes (TENON_TLS_CERT_FILE)")
	f.StringVar(&o.keyFile, "tls-key", os.Getenv("TENON_TLS_KEY_FILE"), "its private key (TENON_TLS_KEY_FILE)")
	f.StringVar(&o.peerCA, "peer-ca", os.Getenv("TENON_PEER_CA_FILE"), "authorities of the other processes' certificates, as PEM; default the system's (TENON_PEER_CA_FILE)")
	f.StringSliceVar(&o.trustedProxies, "trusted-proxy", list(os.Getenv("TENON_TRUSTED_PROXIES")), "network whose X-Forwarded-For is believed; may be given again (TENON_TRUSTED_PROXIES)")
	f.DurationVar(&o.grace, "worker-grace", 10*time.Second, "how long a worker out of touch keeps its work") //nolint:mnd // the default, named beside it
	f.StringVar(&o.format, "log-format", or(os.Getenv("TENON_LOG_FORMAT"), "json"), `"json" or "text" (TENON_LOG_FORMAT)`)
	f.StringVar(&o.level, "log-level", or(os.Getenv("TENON_LOG_LEVEL"), "info"), "debug, info, warn or error (TENON_LOG_LEVEL)")
	f.StringVar(&o.nats.NKeyFile, "nats-nkey", os.Getenv("TENON_NATS_NKEY_FILE"), "file with the seed of the NATS user (TENON_NATS_NKEY_FILE)")
	f.StringVar(&o.nats.CredentialsFile, "nats-credentials", os.Getenv("TENON_NATS_CREDENTIALS_FILE"), "file with a NATS user's JWT and seed (TENON_NATS_CREDENTIALS_FILE)")
	f.StringVar(&o.nats.CAFile, "nats-ca", os.Getenv("TENON_NATS_CA_FILE"), "authorities of the NATS servers' certificates (TENON_NATS_CA_FILE)")
	return cmd
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

func list(value string) []string {
	return slices.DeleteFunc(strings.Split(value, ","), func(part string) bool { return strings.TrimSpace(part) == "" })
}

func serve(ctx context.Context, log *slog.Logger, o serveOptions) error {
	cfg, err := o.config(log)
	if err != nil {
		return err
	}
	if cfg.TLS, err = o.tls(ctx, log); err != nil {
		return err
	}
	options, err := o.nats.Options()
	if err != nil {
		return err
	}
	conn, err := nats.Connect(os.Getenv("NATS_URL"), append(options, bus.Options("tenond", log)...)...)
	if err != nil {
		return fmt.Errorf("connect to NATS_URL: %w", err)
	}
	defer conn.Close()
	cfg.NATS = conn
	if cfg.Listener, err = new(net.ListenConfig).Listen(ctx, "tcp", o.listen); err != nil {
		return err
	}
	server, err := app.New(ctx, cfg)
	if err != nil {
		return errors.Join(err, cfg.Listener.Close())
	}
	defer server.Close()
	return server.Run(ctx, func() { log.Info("tenond: serving", "address", server.Address(), "services", server.Services()) })
}

// config reads the environment and the flags, and names what is missing or wrong.
func (o serveOptions) config(log *slog.Logger) (app.Config, error) {
	cfg := app.Config{
		DatabaseURL: os.Getenv("DATABASE_URL"), Log: log, Services: o.services, Advertise: strings.TrimSuffix(o.advertise, "/"),
		PublicAddress: strings.TrimSuffix(o.public, "/"), Grace: o.grace,
	}
	if cfg.DatabaseURL == "" || os.Getenv("NATS_URL") == "" {
		return cfg, errors.New("set DATABASE_URL and NATS_URL to what the server runs on; `tenond dev` needs neither")
	}
	if len(o.services) == 0 || slices.Contains(o.services, app.Identity) {
		key, err := identity.LoadMasterKey(os.Getenv("TENON_MASTER_KEY"), os.Getenv("TENON_MASTER_KEY_FILE"), false)
		if err != nil {
			return cfg, err
		}
		cfg.MasterKey = key
	}
	for _, text := range o.trustedProxies {
		network, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return cfg, fmt.Errorf("--trusted-proxy %q is no network such as 10.0.0.0/8: %w", text, err)
		}
		cfg.TrustedProxies = append(cfg.TrustedProxies, network)
	}
	if o.peerCA != "" {
		text, err := os.ReadFile(o.peerCA)
		if err != nil {
			return cfg, fmt.Errorf("--peer-ca: %w", err)
		}
		cfg.PeerRoots = x509.NewCertPool()
		if !cfg.PeerRoots.AppendCertsFromPEM(text) {
			return cfg, fmt.Errorf("--peer-ca: %s holds no certificate in PEM form", o.peerCA)
		}
	}
	return cfg, nil
}

// tls is the server's TLS configuration, nil for cleartext. SIGHUP reads the files again until ctx ends.
func (o serveOptions) tls(ctx context.Context, log *slog.Logger) (*tls.Config, error) {
	if o.certFile == "" && o.keyFile == "" {
		signal.Ignore(syscall.SIGHUP) // `systemctl reload` must not end a process that has nothing to read again
		return nil, nil               //nolint:nilnil // cleartext is a good answer
	}
	source, err := tlsreload.New(tlsreload.Config{CertFile: o.certFile, KeyFile: o.keyFile, Log: log})
	if err != nil {
		return nil, err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-hangup:
				_ = source.Reload() // says itself what came of it
			case <-ctx.Done():
				return
			}
		}
	}()
	return source.TLSConfig(), nil
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
