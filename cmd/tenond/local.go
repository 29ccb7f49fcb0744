package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/embedded"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/services/identity"
)

// local is a whole install on this machine: Postgres as a child, NATS and all services in this process.
type local struct {
	*app.App
	postgres *embedded.Postgres
	nats     *embedded.NATS
	server   *loop.Task
	close    []func()
}

type localConfig struct {
	data  string // folder for everything that lasts
	port  int    // wanted; 0: any free one
	grace time.Duration
	// throwaway leaves nothing outside of data, which the caller removes.
	throwaway bool
	log       *slog.Logger
}

// startLocal starts everything and returns once calls are answered. stop ends it all.
func startLocal(ctx context.Context, cfg localConfig) (l *local, err error) {
	l = &local{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.stop())
		}
	}()
	l.postgres, err = embedded.StartPostgres(ctx, embedded.PostgresConfig{
		DatabaseURL: os.Getenv("DATABASE_URL"), DataRoot: cfg.data, Throwaway: cfg.throwaway, Log: cfg.log,
	})
	if err != nil {
		return l, err
	}
	if l.nats, err = embedded.StartNATS(embedded.NATSConfig{}); err != nil {
		return l, err
	}
	conn, err := l.nats.Conn(bus.Options("tenond", cfg.log)...)
	if err != nil {
		return l, err
	}
	l.close = append(l.close, conn.Close)
	key, err := identity.LoadMasterKey(os.Getenv("TENON_MASTER_KEY"), filepath.Join(cfg.data, "master.key"), true)
	if err != nil {
		return l, err
	}
	listener, err := listenLocal(ctx, cfg.port)
	if err != nil {
		return l, err
	}
	l.App, err = app.New(ctx, app.Config{DatabaseURL: l.postgres.URL(), NATS: conn, Listener: listener, MasterKey: key, Log: cfg.log, Grace: cfg.grace, Checkout: checkout()})
	if err != nil {
		return l, errors.Join(err, listener.Close())
	}
	l.close = append(l.close, l.Close)
	ready := make(chan struct{})
	l.server = loop.Start(context.WithoutCancel(ctx), "server", func(ctx context.Context) error {
		return l.Run(ctx, func() { close(ready) })
	})
	select {
	case <-ready:
		return l, l.postgres.Announce(l.Address())
	case <-l.server.Done():
		return l, l.server.Err()
	case <-ctx.Done():
		return l, context.Cause(ctx)
	}
}

// checkout is the folder of Tenon's source where the command runs in it, as `go run ./cmd/tenond` does; empty elsewhere.
func checkout() string {
	here, err := os.Getwd()
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(here, "sdk", "go", "go.mod")); err != nil {
		return ""
	}
	return here
}

// listenLocal takes the wanted port on loopback, or the next free one.
func listenLocal(ctx context.Context, port int) (net.Listener, error) {
	const tries = 100
	var lc net.ListenConfig
	for i := range tries {
		listener, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)))
		if err == nil || port == 0 || !errors.Is(err, syscall.EADDRINUSE) {
			return listener, err
		}
	}
	return nil, fmt.Errorf("ports %d to %d are all taken: name a free one with --port", port, port+tries-1)
}

// stop ends the server, then what it ran on, and waits for all of it.
func (l *local) stop() error {
	const most = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	var errs []error
	if l.server != nil {
		errs = append(errs, l.server.Stop(ctx))
	}
	for _, v := range slices.Backward(l.close) {
		v()
	}
	if l.nats != nil {
		l.nats.Shutdown()
	}
	if l.postgres != nil {
		errs = append(errs, l.postgres.Stop(ctx))
	}
	return errors.Join(errs...)
}
