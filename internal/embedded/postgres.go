package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

const (
	// superuser owns the cluster, loginRole is who Tenon works as: owner of its database, not a superuser.
	superuser = "postgres"
	loginRole = "tenon"
	database  = "tenon"
)

// PostgresConfig says where the Postgres of `tenond dev` keeps its things.
type PostgresConfig struct {
	// DatabaseURL is a Postgres that somebody else runs; nothing is started then. Default none. (DATABASE_URL)
	DatabaseURL string
	// DataRoot is the folder for data, lock, password and log, made when missing. Default "./.tenon".
	DataRoot string
	// FallbackRoot is where data and binaries go, in a folder of their own, when the user that Postgres runs as cannot reach DataRoot.
	// Default "/var/lib/tenon".
	FallbackRoot string
	// TemplateRoot keeps initialised data directories, from which new ones are copied in a tenth of the time. For tests; default none.
	TemplateRoot string
	// Throwaway lets Stop remove what lies outside DataRoot, the folder in FallbackRoot; DataRoot itself is the caller's. For data that does
	// not outlive its process. Default false.
	Throwaway bool
	// Port is where Postgres listens on 127.0.0.1, for those who start it again under the same address. Default 0, a free one.
	Port int
	// Settings are Postgres settings on top of ours. Default none.
	Settings map[string]string
	// Log gets a line for each thing worth knowing. Default slog.Default().
	Log *slog.Logger
}

// WithDefaults returns the config with every unset field filled in.
func (c PostgresConfig) WithDefaults() PostgresConfig {
	if c.DataRoot == "" {
		c.DataRoot = ".tenon"
	}
	if c.FallbackRoot == "" {
		c.FallbackRoot = "/var/lib/tenon"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Postgres is a running Postgres of ours, or the address of somebody else's.
type Postgres struct {
	external string // DatabaseURL; cluster, child and port are unset then
	lock     *lock
	cluster  *cluster
	child    *child
	port     int

	stopOnce sync.Once
	stopErr  error
}

// StartPostgres starts Postgres on the data in cfg.DataRoot, made on the first start, and returns when it accepts connections and has
// Tenon's role and database. With cfg.DatabaseURL it only makes and locks the folder, which holds more than Postgres's data. The caller
// calls Stop. The error is *AlreadyRunning when another process uses the folder.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	cfg = cfg.WithDefaults()
	root, err := filepath.Abs(cfg.DataRoot)
	if err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	cfg.DataRoot = root
	if err := os.MkdirAll(root, 0o755); err != nil { //nolint:gosec // Postgres's user must pass through; its own folders are 0700.
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	held, err := takeLock(root)
	if err != nil {
		return nil, err
	}
	if cfg.DatabaseURL != "" {
		return &Postgres{external: cfg.DatabaseURL, lock: held}, nil
	}
	server, err := start(ctx, cfg)
	if err != nil {
		held.release()
		return nil, err
	}
	server.lock = held
	return server, nil
}

func start(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	cluster, err := prepareCluster(ctx, cfg)
	if err != nil {
		if cluster != nil {
			err = errors.Join(err, cluster.tidy())
		}
		return nil, err
	}
	var failures []error
	for range 3 { // The free port may be taken by somebody else between our look and Postgres's bind.
		server, err := cluster.launch(ctx)
		if err == nil {
			return server, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil || !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, errors.Join(append(failures, cluster.tidy())...)
}

// URL returns the address for Tenon's own connections: Tenon's role and database, over the Unix socket.
func (p *Postgres) URL() string {
	if p.external != "" {
		return p.external
	}
	return p.cluster.socketURL(loginRole, database, p.port)
}

// TCPURL returns the same over 127.0.0.1, for tools that cannot use a Unix socket.
func (p *Postgres) TCPURL() string {
	if p.external != "" {
		return p.external
	}
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(loginRole, p.cluster.password), Host: "127.0.0.1:" + strconv.Itoa(p.port),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return address.String()
}

// AdminURL returns the address of the cluster's superuser, empty for somebody else's Postgres. For tests and repairs.
func (p *Postgres) AdminURL() string {
	if p.external != "" {
		return ""
	}
	return p.cluster.socketURL(superuser, "postgres", p.port)
}

// PID returns Postgres's process id, 0 for somebody else's.
func (p *Postgres) PID() int {
	if p.child == nil {
		return 0
	}
	return p.child.pid
}

// Announce writes into the lock where this process listens, so that a second start in the same checkout can say so.
func (p *Postgres) Announce(address string) error {
	if p.lock == nil {
		return nil
	}
	return p.lock.write(address)
}

// Done is closed when Postgres has ended, by Stop or by itself. It is nil for somebody else's.
func (p *Postgres) Done() <-chan struct{} {
	if p.child == nil {
		return nil
	}
	return p.child.done
}

// Run waits until ctx ends, or fails when Postgres ends by itself; it does not stop Postgres.
func (p *Postgres) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.Done():
		return fmt.Errorf("postgres has ended by itself, its log is %s: %w", p.cluster.logFile(), errors.Join(p.child.err, errors.New("database lost")))
	}
}

// Stop shuts Postgres down and leaves no process behind. When ctx ends before the orderly way is done, Postgres is stopped as in a
// crash, which loses nothing. Calling it again returns the first result.
func (p *Postgres) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() {
		if p.child != nil {
			if p.stopErr = p.child.stop(ctx); p.stopErr == nil {
				p.stopErr = p.cluster.tidy()
			}
		}
		if p.lock != nil {
			p.lock.release()
		}
	})
	return p.stopErr
}
