package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"
)

// readyTimeout bounds the wait for Postgres to accept connections; replaying the WAL after a crash may take a while.
const readyTimeout = 2 * time.Minute

// maxLogFile is the size from which the log is begun anew at a start: 10 MB.
const maxLogFile = 10 << 20

var errPortTaken = errors.New("the port was taken by somebody else")

// launch starts Postgres and returns when Tenon's role and database are there.
func (c *cluster) launch(ctx context.Context) (*Postgres, error) {
	port := c.port
	if port == 0 {
		free, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		port = free
	}
	output, begin, err := c.openLog()
	if err != nil {
		return nil, err
	}
	defer output.Close() //nolint:errcheck // Postgres has its own handle; ours wrote nothing.
	cmd := exec.Command(c.bin.path("postgres"), c.arguments(port)...)
	cmd.Dir, cmd.Env = "/", childEnv()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = procAttr(c.owner)
	process, err := startChild(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	server := &Postgres{cluster: c, child: process, port: port}
	if err := server.waitReady(ctx, begin); err != nil {
		return nil, errors.Join(err, process.stop(ctx))
	}
	if err := server.bootstrap(ctx); err != nil {
		return nil, errors.Join(err, process.stop(ctx))
	}
	c.log.Info("embedded: Postgres runs", "pid", process.pid, "port", port, "version", c.bin.major, "binaries", c.bin.folder, "data", c.data())
	return server, nil
}

// openLog returns the log file and where this start's lines will begin.
func (c *cluster) openLog() (*os.File, int64, error) {
	if info, err := os.Stat(c.logFile()); err == nil && info.Size() > maxLogFile {
		if err := os.Truncate(c.logFile(), 0); err != nil {
			return nil, 0, fmt.Errorf("begin Postgres's log anew: %w", err)
		}
	}
	output, err := os.OpenFile(c.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open Postgres's log: %w", err)
	}
	begin, err := output.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, errors.Join(err, output.Close())
	}
	return output, begin, nil
}

// waitReady polls with connections of the superuser, as pg_isready would.
func (p *Postgres) waitReady(ctx context.Context, logBegin int64) error {
	deadline := time.NewTimer(readyTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		conn, err := pgx.Connect(ctx, p.AdminURL())
		if err == nil {
			return conn.Close(ctx)
		}
		last = err
		select {
		case <-tick.C:
		case <-p.child.done:
			text := p.cluster.logSince(logBegin)
			failure := fmt.Errorf("postgres ended at the start (%w); its log says:\n%s", p.child.err, text)
			if bytes.Contains(text, []byte("Address already in use")) {
				return errors.Join(errPortTaken, failure)
			}
			return failure
		case <-deadline.C:
			return fmt.Errorf("postgres does not accept connections after %s: %w; its log says:\n%s", readyTimeout, last, p.cluster.logSince(logBegin))
		case <-ctx.Done():
			return fmt.Errorf("start Postgres: %w", context.Cause(ctx))
		}
	}
}

func (c *cluster) logSince(begin int64) []byte {
	content, err := os.ReadFile(c.logFile())
	if err != nil || begin > int64(len(content)) {
		return nil
	}
	return tail(content[begin:], 2000)
}

// bootstrap makes, when missing, what needs a superuser: Tenon's login role, its database, and the two roles that the migrations grant
// rights to, with the login role as a member that may become them and make other members.
func (p *Postgres) bootstrap(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.AdminURL())
	if err != nil {
		return fmt.Errorf("prepare Postgres: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // Nothing is pending.
	if _, err := conn.Exec(ctx, bootstrapRoles); err != nil {
		return fmt.Errorf("make Tenon's roles: %w", err)
	}
	// The password is made of letters and digits (rand.Text): nothing to quote. Set each time, so that the file always fits.
	if _, err := conn.Exec(ctx, "alter role "+loginRole+" with login createrole createdb password '"+p.cluster.password+"'"); err != nil {
		return fmt.Errorf("set the password of Tenon's role: %w", err)
	}
	var exists bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", database).Scan(&exists); err != nil {
		return fmt.Errorf("look for Tenon's database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "create database "+database+" owner "+loginRole); err != nil {
		return fmt.Errorf("make Tenon's database: %w", err)
	}
	return nil
}

const bootstrapRoles = `do $$
declare
	name text;
begin
	foreach name in array array['tenon', 'tenon_engine', 'tenon_reader'] loop
		if not exists (select from pg_roles where rolname = name) then
			execute format('create role %I', name);
		end if;
	end loop;
	grant tenon_engine, tenon_reader to tenon with admin option;
end
$$`

// freePort asks the kernel for a free port on the loopback interface.
func freePort(ctx context.Context) (int, error) {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port for Postgres: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener
	return port, listener.Close()
}
