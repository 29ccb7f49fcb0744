package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/internal/embedded"
)

// diskBytes is the size of the disk that Postgres gets where one can be mounted.
const diskBytes = 768 << 20

// postgres is a throwaway Postgres that keeps its data and its port from one start to the next.
type postgres struct {
	cfg     embedded.PostgresConfig
	server  *embedded.Postgres
	mounted bool
}

func startPostgres(ctx context.Context, folder string) (*postgres, error) {
	p := &postgres{cfg: embedded.PostgresConfig{
		DataRoot: filepath.Join(folder, "postgres"), Throwaway: true,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		// Small WAL, since the disk is small.
		Settings: map[string]string{"max_connections": "200", "shared_buffers": "128MB", "max_wal_size": "128MB", "min_wal_size": "48MB"},
	}}
	if cache, err := os.UserCacheDir(); err == nil {
		p.cfg.TemplateRoot = filepath.Join(cache, "tenon", "initdb")
	}
	if err := os.Mkdir(p.cfg.DataRoot, 0o755); err != nil { //nolint:gosec // Postgres's user must get through
		return nil, fmt.Errorf("make Postgres's folder: %w", err)
	}
	if canMount() {
		if err := mountDisk(p.cfg.DataRoot, diskBytes); err != nil {
			return nil, err
		}
		p.mounted = true
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	p.cfg.Port = listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener
	if err := errors.Join(listener.Close(), p.start(ctx)); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	return p, nil
}

func (p *postgres) start(ctx context.Context) (err error) {
	p.server, err = embedded.StartPostgres(ctx, p.cfg)
	return err //nolint:wrapcheck // says what and why
}

// end ends Postgres by a signal: SIGINT is its fast shutdown, SIGQUIT its immediate one, which is a crash.
func (p *postgres) end(ctx context.Context, how syscall.Signal) error {
	if err := syscall.Kill(p.server.PID(), how); err != nil {
		return fmt.Errorf("send %s to Postgres: %w", how, err)
	}
	select {
	case <-p.server.Done():
	case <-ctx.Done():
		return fmt.Errorf("end Postgres by %s: %w", how, context.Cause(ctx))
	}
	return p.server.Stop(ctx) //nolint:wrapcheck // it has ended; this lets its lock go
}

// ended tells whether Postgres has given up by itself.
func (p *postgres) ended() bool {
	select {
	case <-p.server.Done():
		return true
	default:
		return false
	}
}

func (p *postgres) close(ctx context.Context) error {
	var errs []error
	if p.server != nil {
		errs = append(errs, p.server.Stop(ctx))
	}
	if p.mounted {
		errs = append(errs, unmountDisk(p.cfg.DataRoot))
	}
	return errors.Join(errs...)
}

// log is the end of Postgres's own log.
func (p *postgres) log() string {
	const most = 2000
	text, err := os.ReadFile(filepath.Join(p.cfg.DataRoot, "postgres", "postgres.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// fill takes all the room that is left on Postgres's disk; free gives it back.
func (p *postgres) fill() (free func() error, err error) {
	const blocks = 1 << 20
	ballast, err := os.Create(filepath.Join(p.cfg.DataRoot, "ballast"))
	if err != nil {
		return nil, fmt.Errorf("fill the disk: %w", err)
	}
	for size := blocks; size > 0; {
		_, err := ballast.Write(make([]byte, size))
		switch {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		default:
			return nil, errors.Join(fmt.Errorf("fill the disk: %w", err), ballast.Close())
		}
	}
	if err := ballast.Close(); err != nil {
		return nil, fmt.Errorf("fill the disk: %w", err)
	}
	return func() error { return os.Remove(ballast.Name()) }, nil
}

// tenants is the only tenant's shard, and who owns it.
type tenants struct {
	shard int
	owner string
}

// shards counts the shards by their owner, and tells of the only tenant's.
func (p *postgres) shards(ctx context.Context) (counts map[string]int, its tenants, err error) {
	conn, err := pgx.Connect(ctx, p.server.URL())
	if err != nil {
		return nil, its, fmt.Errorf("read the shards: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is pending
	rows, err := conn.Query(ctx, `select coalesce(owner::text, ''), count(*)::int,
		coalesce(max(id) filter (where exists (select from tenant_shards t where t.shard = s.id)), -1)::int from shards s group by 1`)
	if err != nil {
		return nil, its, fmt.Errorf("read the shards: %w", err)
	}
	counts = make(map[string]int)
	var owner string
	var count, shard int
	_, err = pgx.ForEachRow(rows, []any{&owner, &count, &shard}, func() error {
		if counts[owner] = count; shard >= 0 {
			its = tenants{shard, owner}
		}
		return nil
	})
	if err != nil {
		return nil, its, fmt.Errorf("read the shards: %w", err)
	}
	return counts, its, nil
}

// eventually asks again and again until there is a good answer, an error, or no time left.
func eventually(ctx context.Context, what string, good func() (bool, error)) error {
	const pause = 5 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if ok, err := good(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w", what, context.Cause(ctx))
		}
	}
}
