package chaos

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
	"github.com/tenon-run/tenon/test/history"
	"github.com/tenon-run/tenon/test/load"
)

// Config says how large an install is. Every field has a default.
type Config struct {
	// Out gets a line for each fault. Default os.Stderr.
	Out io.Writer
	// Grace is how long a worker out of touch keeps its work. Default 5 s.
	Grace time.Duration
	// Through is how many attempts must be running through a victim in the instant when it is struck. Default 100.
	Through int
	// Slots of each of the two workers. Default 140.
	Slots int
	// Keep leaves logs, executions and acknowledgements behind even when nothing went wrong. Default false.
	Keep bool
}

func (c Config) withDefaults() Config {
	if c.Out == nil {
		c.Out = os.Stderr
	}
	if c.Grace == 0 {
		const grace = 5 * time.Second
		c.Grace = grace
	}
	if c.Through == 0 {
		c.Through = 100
	}
	if c.Slots == 0 {
		c.Slots = 140
	}
	return c
}

// Install is a running install with its client and workers. Its methods are called from one goroutine.
type Install struct {
	cfg       Config
	folder    string
	program   string
	masterKey string
	http      *http.Client

	postgres *postgres
	nats     *nats
	// edge is the process that clients and workers reach; it runs what no fault strikes, and passes the rest on.
	edge            *server
	servers         []*server // of schedulers and dispatchers
	everDispatchers []*server
	workers         []*load.Worker
	killed          []string // names of workers
	files           []string // of all workers that ever were
	starts          map[string]int

	tokens  tokens
	client  *tenon.Client
	given   []string // runs that got no result in time, and are not waited for again
	traffic *traffic
	totals  Totals
}

// Start builds tenond and brings an install up in a folder of its own: two dispatchers, two schedulers, two workers, and a client that is triggering.
// The caller calls Close.
func Start(ctx context.Context, cfg Config) (*Install, error) {
	folder, err := os.MkdirTemp("", "tenon-chaos-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	const keyBytes = 32
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	in := &Install{
		cfg: cfg.withDefaults(), folder: folder, masterKey: hex.EncodeToString(key), starts: make(map[string]int),
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second},
		nats: &nats{folder: folder},
	}
	if err := in.up(ctx); err != nil {
		return nil, errors.Join(err, in.Close(ctx))
	}
	return in, nil
}

func (in *Install) up(ctx context.Context) (err error) {
	if err := os.Chmod(in.folder, 0o755); err != nil { //nolint:gosec // Postgres's user must get through
		return fmt.Errorf("open the folder: %w", err)
	}
	if in.program, err = build(ctx, in.folder); err != nil {
		return err
	}
	if in.postgres, err = startPostgres(ctx, in.folder); err != nil {
		return err
	}
	if err := in.nats.start(ctx); err != nil {
		return err
	}
	edge, err := in.startServer(ctx, "identity,registry,frontend")
	if err != nil {
		return err
	}
	in.edge, in.servers = edge, nil
	if err := in.whole(ctx); err != nil {
		return err
	}
	if in.tokens, err = openTenant(ctx, in.edge.address); err != nil {
		return err
	}
	if in.client, err = tenon.NewClient(tenon.WithAddress(in.edge.address), tenon.WithToken(in.tokens.api)); err != nil {
		return err
	}
	if err := in.fullStaff(); err != nil {
		return err
	}
	err = eventually(ctx, "the workflow", func() (bool, error) {
		_, err := in.client.Registry().GetWorkflow(ctx, &registryv1.GetWorkflowRequest{Name: "load"})
		if connect.CodeOf(err) == connect.CodeNotFound {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("declare the workflow: %w", err)
	}
	in.traffic, err = startTraffic(ctx, in.client, filepath.Join(in.folder, "acknowledged"))
	return err
}

// whole brings back what faults have taken: two dispatchers and two schedulers, no more.
func (in *Install) whole(ctx context.Context) error {
	const each = 2
	for _, service := range []string{"dispatcher", "scheduler"} {
		for len(in.running(service)) < each {
			if _, err := in.startServer(ctx, service); err != nil {
				return err
			}
		}
		for len(in.running(service)) > each {
			s := in.running(service)[0]
			in.forget(s)
			if err := s.stop(ctx); err != nil {
				return err
			}
		}
	}
	for _, s := range append(in.running(""), in.edge) {
		if err := in.ready(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// fullStaff starts workers until there are two.
func (in *Install) fullStaff() error {
	for len(in.workers) < 2 {
		in.starts["worker"]++
		name := fmt.Sprintf("worker-%d", in.starts["worker"])
		file := filepath.Join(in.folder, name+".executions")
		w, err := load.Start(load.Config{Name: name, Address: in.edge.address, Token: in.tokens.worker, Slots: in.cfg.Slots, File: file})
		if err != nil {
			return err
		}
		in.workers, in.files = append(in.workers, w), append(in.files, file)
	}
	return nil
}

// Close ends everything and, when nothing went wrong, removes the folder.
func (in *Install) Close(ctx context.Context) error {
	var errs []error
	if in.traffic != nil {
		errs = append(errs, in.traffic.stop())
	}
	for _, w := range in.workers {
		errs = append(errs, w.Stop())
	}
	if in.client != nil {
		errs = append(errs, in.client.Close())
	}
	for _, s := range in.servers {
		errs = append(errs, s.stop(ctx))
	}
	if in.edge != nil {
		errs = append(errs, in.edge.stop(ctx))
	}
	if in.nats.process != nil {
		errs = append(errs, in.nats.stop(ctx))
	}
	if in.postgres != nil {
		errs = append(errs, in.postgres.close(ctx))
	}
	in.http.CloseIdleConnections()
	if err := errors.Join(errs...); err != nil || len(in.totals.Violations) > 0 || in.cfg.Keep {
		fmt.Fprintln(in.cfg.Out, "chaos: logs, executions and acknowledgements are left in", in.folder)
		return err
	}
	return os.RemoveAll(in.folder)
}

// evidence is what the history is judged by.
func (in *Install) evidence() (history.Evidence, error) {
	executions, err := history.ReadExecutions(in.files...)
	const detailEvery = 10 // of thousands
	return history.Evidence{Recorder: in.traffic.recorder, Executions: executions, Killed: in.killed, DetailEvery: detailEvery}, err
}
