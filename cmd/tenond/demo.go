package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/internal/obs"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// demoResult is the demo's one line of output.
type demoResult struct {
	RunID         string `json:"run_id"`
	Status        string `json:"status"`
	Tasks         int    `json:"tasks"`
	ChildRuns     int    `json:"child_runs"`
	Retries       int    `json:"retries"`
	LostAttempts  int    `json:"lost_attempts"`
	WorkersKilled int    `json:"workers_killed"`
	WallMS        int64  `json:"wall_ms"`
	Digest        string `json:"digest"`
	DigestDirect  string `json:"digest_direct"`
}

func demoCommand() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use: "demo", Short: "Run the example once, kill a worker in the middle, and compare the result with the truth",
		Long: "Runs everything in a temporary folder on free ports. A worker that holds running tasks is killed when between 30 and 70 % of the child runs are done.\n" +
			"Standard output is one line of JSON; the exit code is not zero if anything is not as expected.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			const most = 5 * time.Minute
			ctx, cancel := context.WithTimeout(cmd.Context(), most)
			defer cancel()
			result, err := demo(ctx, root)
			if result != nil {
				err = errors.Join(err, json.NewEncoder(cmd.OutOrStdout()).Encode(result))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "tree of Go sources to index (default: the standard library)")
	return cmd
}

func demo(ctx context.Context, root string) (result *demoResult, err error) {
	log, err := obs.NewLogger(os.Stderr, obs.LogConfig{Level: "warn"})
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp("", "tenon-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	const passThrough = 0o711 // Postgres runs as another user when we are root
	if err := os.Chmod(data, passThrough); err != nil {
		return nil, err
	}
	log.Info("demo: starting", "folder", data)
	const grace = 2 * time.Second // how soon the killed worker's tasks are given to the other
	l, err := startLocal(ctx, localConfig{data: filepath.Join(data, "tenon"), log: log, grace: grace, throwaway: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	tenant, err := openDemoTenant(ctx, l, data)
	if err != nil {
		return nil, err
	}
	d := &demonstration{local: l, tenant: tenant, bin: filepath.Join(data, "bin"), root: root, log: log, api: newCaller(l.Address(), tenant.API)}
	defer d.api.http.CloseIdleConnections()
	return d.run(ctx)
}

// demonstration is one run of the example under a kill.
type demonstration struct {
	local  *local
	tenant *demoTenant
	bin    string
	root   string
	log    *slog.Logger
	api    *caller
}

func (d *demonstration) run(ctx context.Context) (*demoResult, error) {
	if err := buildExample(ctx, d.bin, "worker", "direct"); err != nil {
		return nil, err
	}
	var workers []*workerProcess
	defer func() {
		for _, w := range workers {
			w.stop()
		}
	}()
	for range 2 {
		w, err := startWorker(filepath.Join(d.bin, "worker"), workerEnv(d.local, d.tenant), os.Stderr, "-trace", "-quiet")
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
	}
	if err := d.api.awaitWorkflow(ctx, exampleWorkflow, workers[0]); err != nil {
		return nil, err
	}
	begin := time.Now()
	const paceMS = 40 // so that there is a middle to be killed in, half a second long on a quick machine
	id, err := d.api.trigger(ctx, map[string]any{"root": d.root, "pace_ms": paceMS})
	if err != nil {
		return nil, err
	}
	if err := d.killInTheMiddle(ctx, id, workers[0]); err != nil {
		return nil, err
	}
	run, err := d.api.final(ctx, id)
	if err != nil {
		return nil, err
	}
	result := &demoResult{RunID: id, WorkersKilled: 1, WallMS: time.Since(begin).Milliseconds()}
	if err := d.fill(ctx, result, run); err != nil {
		return nil, err
	}
	return result, result.check()
}

// killInTheMiddle kills a worker that is running a task when between 30 and 70 % of the child runs are done.
func (d *demonstration) killInTheMiddle(ctx context.Context, id string, worker *workerProcess) error {
	const from, late, to, hundred = 35, 55, 65, 100
	const enough = 3 // a single task may end, or have just begun, in the instant of the kill, and then no attempt is lost
	const pause = 10 * time.Millisecond
	for {
		run, err := d.api.runs.GetRun(ctx, &runsv1.GetRunRequest{RunId: id})
		if err != nil {
			return err
		}
		done, err := d.api.children(ctx, id, runsv1.RunStatus_RUN_STATUS_COMPLETED)
		if err != nil {
			return err
		}
		total := int(run.GetRun().GetChildRuns())
		if total > 0 && len(done)*hundred >= from*total {
			if len(done)*hundred > to*total {
				return fmt.Errorf("%d of %d child runs were done before the worker could be killed", len(done), total)
			}
			if running := worker.running.Load(); running >= enough || running > 0 && len(done)*hundred >= late*total {
				d.log.Warn("demo: killing a worker", "pid", worker.cmd.Process.Pid, "running", worker.running.Load(), "children_done", len(done), "children", total)
				return worker.kill()
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

func (d *demonstration) fill(ctx context.Context, result *demoResult, run *runsv1.Run) (err error) {
	children, err := d.api.children(ctx, run.GetId())
	if err != nil {
		return err
	}
	if run.GetStatus() == runsv1.RunStatus_RUN_STATUS_COMPLETED {
		result.Status = "completed"
	} else {
		result.Status = run.GetStatus().String()
	}
	result.Tasks, result.ChildRuns = len(run.GetTasks()), int(run.GetChildRuns())
	for _, r := range append(children, run) {
		for _, t := range r.GetTasks() {
			result.Retries += int(t.GetAttempt()) - 1
			result.LostAttempts += int(t.GetLostAttempts())
		}
	}
	if len(children) != result.ChildRuns {
		return fmt.Errorf("the run counts %d child runs, the list has %d", result.ChildRuns, len(children))
	}
	if result.Digest, err = digest(run.GetOutputJson()); err != nil {
		return err
	}
	result.DigestDirect, err = direct(ctx, filepath.Join(d.bin, "direct"), d.root)
	return err
}

// check holds the result against what the demo promises.
func (r *demoResult) check() error {
	switch {
	case r.Status != "completed":
		return fmt.Errorf("the run ended as %s", r.Status)
	case r.Digest != r.DigestDirect:
		return errors.New("the report differs from the one made without Tenon")
	case r.LostAttempts < 1:
		return errors.New("the killed worker lost no attempt")
	case r.Retries < 1:
		return errors.New("the task that fails on purpose was not retried")
	case r.ChildRuns < 1:
		return errors.New("no child runs were made")
	default:
		return nil
	}
}
