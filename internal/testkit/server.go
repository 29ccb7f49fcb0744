package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db"
	"github.com/tenon-run/tenon/internal/embedded"
	"github.com/tenon-run/tenon/internal/pg"
)

// testServer is the Postgres of this test process.
type testServer struct {
	url      string // of a database to connect to for creating others
	template string // a migrated database, empty until one was asked for
	embedded *embedded.Postgres
	folder   string // of the embedded one, removed at the end
	common   *pgxpool.Pool
	commonDB string // its database

	one sync.Mutex // held while a statement creates or drops a database
}

// shared is started by the first test that asks, and stopped by Main.
var shared lazyServer

type lazyServer struct {
	mu     sync.Mutex
	server *testServer
	err    error // of the first start, given to everybody who asks later
}

func (l *lazyServer) get(ctx context.Context, migrated bool) (*testServer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	// The server outlives the test that happened to be first.
	ctx = context.WithoutCancel(ctx)
	if l.server == nil {
		l.server, l.err = startServer(ctx)
	}
	if l.err == nil && migrated && l.server.template == "" {
		l.err = l.server.makeTemplate(ctx)
	}
	return l.server, l.err
}

func (l *lazyServer) stop(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	server := l.server
	if server == nil {
		return nil
	}
	l.server, l.err = nil, errors.New("the test server has been stopped")
	if server.common != nil {
		server.common.Close()
	}
	if server.embedded == nil {
		var errs []error
		for _, name := range []string{server.commonDB, server.template} {
			if name != "" {
				errs = append(errs, server.drop(ctx, name))
			}
		}
		return errors.Join(errs...)
	}
	return errors.Join(server.embedded.Stop(ctx), os.RemoveAll(server.folder))
}

// commonPool gives the pool on the database that tests share.
func (l *lazyServer) commonPool(ctx context.Context) (*pgxpool.Pool, error) {
	server, err := l.get(ctx, true)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if server.common == nil {
		if err := server.makeCommon(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
	}
	return server.common, nil
}

func startServer(ctx context.Context) (*testServer, error) {
	if address := os.Getenv(URLVariable); address != "" {
		return &testServer{url: address}, nil
	}
	folder, err := os.MkdirTemp("", "tenon-test-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the test cluster: %w", err)
	}
	// Postgres runs as another user when we are root, and must get through to its data.
	if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // See above.
		return nil, fmt.Errorf("open the test cluster's folder: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{
		DataRoot: filepath.Join(folder, "data"), TemplateRoot: templateRoot(), Log: log, Throwaway: true,
		Settings: map[string]string{"shared_buffers": "64MB", "max_connections": "200"},
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return &testServer{url: server.URL(), embedded: server, folder: folder}, nil
}

// templateRoot is where initialised data directories are kept from one test process to the next, empty when the user has no cache folder.
func templateRoot() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "tenon", "initdb")
}

// makeCommon makes the database that tests share, with its pool.
func (s *testServer) makeCommon(ctx context.Context) error {
	name := "tenon_test_" + strings.ToLower(rand.Text())
	if err := s.admin(ctx, "create database "+name+" template "+s.template); err != nil {
		return err
	}
	s.commonDB = name
	address, err := withDatabase(s.url, name)
	if err != nil {
		return err
	}
	s.common, err = pg.Open(ctx, pg.Config{URL: address, MaxConns: commonConnections, ApplicationName: "tenon-test"})
	return err
}

// makeTemplate migrates a database that the tests' own are copied from.
func (s *testServer) makeTemplate(ctx context.Context) error {
	name := "tenon_template_" + strings.ToLower(rand.Text())
	if err := s.admin(ctx, "create database "+name+" template template0"); err != nil {
		return err
	}
	address, err := withDatabase(s.url, name)
	if err != nil {
		return err
	}
	if err := db.Migrate(ctx, address); err != nil {
		return fmt.Errorf("migrate the template of the test databases: %w", err)
	}
	s.template = name
	return nil
}
