package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/internal/obs"
)

type devOptions struct {
	data      string
	port      int
	root      string
	level     string
	noExample bool
}

func devCommand() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use: "dev", Short: "Run everything on this machine, with an example",
		Long: "Starts an embedded Postgres and NATS and all services, makes a demo tenant, starts an example worker, runs the example workflow and stays up until Ctrl-C.\n" +
			"Data lies in the folder --data and outlives the process. DATABASE_URL names a Postgres of yours instead.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return dev(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.data, "data", ".tenon", "folder for the data")
	cmd.Flags().IntVar(&o.port, "port", 8080, "port on 127.0.0.1; a taken one moves to the next free one")
	cmd.Flags().StringVar(&o.root, "root", "", "tree of Go sources that the example indexes (default: the standard library)")
	cmd.Flags().StringVar(&o.level, "log-level", "warn", "debug, info, warn or error")
	cmd.Flags().BoolVar(&o.noExample, "no-example", false, "start no example worker")
	return cmd
}

func dev(ctx context.Context, o devOptions, out io.Writer) (err error) {
	log, err := obs.NewLogger(os.Stderr, obs.LogConfig{Level: o.level})
	if err != nil {
		return err
	}
	data, err := filepath.Abs(o.data)
	if err != nil {
		return err
	}
	say(out, "Starting Postgres, NATS and the services ...")
	l, err := startLocal(ctx, localConfig{data: data, port: o.port, log: log})
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	demo, err := openDemoTenant(ctx, l, data)
	if err != nil {
		return interrupted(ctx, err)
	}
	if !o.noExample {
		worker, err := runExample(ctx, o, l, demo, data, out)
		if worker != nil {
			defer worker.stop()
		}
		if err != nil {
			return interrupted(ctx, err)
		}
	}
	greet(out, l, demo, !o.noExample)
	select {
	case <-ctx.Done():
		say(out, "\nStopping ...")
		return nil
	case <-l.server.Done():
		return l.server.Err()
	case <-l.postgres.Done():
		return l.postgres.Run(ctx)
	}
}

// interrupted is no error when it was Ctrl-C that ended the start.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the user asked for it
	}
	return err
}

func say(out io.Writer, line string, args ...any) {
	_, _ = fmt.Fprintf(out, line+"\n", args...) // a closed terminal is no reason to stop
}

// runExample starts the example worker and runs the example workflow once.
func runExample(ctx context.Context, o devOptions, l *local, demo *demoTenant, data string, out io.Writer) (*workerProcess, error) {
	say(out, "Building the example worker ...")
	programs := filepath.Join(data, "bin")
	if err := buildExample(ctx, programs, "worker"); err != nil {
		if errors.Is(err, errNoCheckout) {
			say(out, "%s", err)
			return nil, nil //nolint:nilnil // an install without sources has no example
		}
		return nil, err
	}
	const ownerOnly = 0o600
	logFile, err := os.OpenFile(filepath.Join(data, "worker.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, ownerOnly) //nolint:gosec // our own folder
	if err != nil {
		return nil, err
	}
	args := []string{"-trace"}
	if o.root != "" {
		args = append(args, "-root", o.root)
	}
	worker, err := startWorker(filepath.Join(programs, "worker"), workerEnv(l, demo), logFile, args...)
	if err != nil {
		return nil, err
	}
	api := newCaller(l.Address(), demo.API)
	defer api.http.CloseIdleConnections()
	if err := api.awaitWorkflow(ctx, exampleWorkflow, worker); err != nil {
		return worker, err
	}
	say(out, "Running workflow %s on it ...", exampleWorkflow)
	begin := time.Now()
	id, err := api.trigger(ctx, map[string]any{})
	if err != nil {
		return worker, err
	}
	run, err := api.final(ctx, id)
	if err != nil {
		return worker, err
	}
	var report struct {
		Packages int `json:"packages"`
		Files    int `json:"files"`
		Lines    int `json:"lines"`
		Exported int `json:"exported"`
	}
	if err := json.Unmarshal([]byte(run.GetOutputJson()), &report); err != nil {
		return worker, fmt.Errorf("run %s ended as %s: %s", id, run.GetStatus(), run.GetError().GetMessage())
	}
	say(out, "Run %s completed in %s: %d child runs parsed %d packages, %d files, %d lines, %d exported symbols.",
		id, time.Since(begin).Round(time.Millisecond), run.GetChildRuns(), report.Packages, report.Files, report.Lines, report.Exported)
	return worker, nil
}

func workerEnv(l *local, demo *demoTenant) []string {
	return []string{"TENON_CLIENT_TOKEN=" + demo.Worker, "TENON_CLIENT_ADDRESS=" + l.Address()}
}

func greet(out io.Writer, l *local, demo *demoTenant, example bool) {
	say(out, "\nTenon is up at %s", l.Address())
	say(out, "  sign in      %s  password %s  tenant %s", demo.Email, demo.Password, demo.Tenant)
	say(out, "  worker token TENON_CLIENT_TOKEN=%s", demo.Worker)
	if example {
		say(out, "\nTrigger a run and read its result:\n")
		say(out, "  curl -s %s/tenon.runs.v1.RunService/TriggerAndWait -H 'Content-Type: application/json' -H 'Authorization: Bearer %s' -d '{\"run\": {\"workflow\": \"%s\", \"input\": {}}}'",
			l.Address(), demo.API, exampleWorkflow)
	}
	say(out, "\nCtrl-C stops everything.")
}
