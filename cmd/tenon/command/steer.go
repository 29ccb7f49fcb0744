package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// chosen are the runs that are steered: named by their ids, or picked by filters.
type chosen struct {
	filters

	ids []string
	yes bool
}

func (o *chosen) flags(c *cli, cmd *cobra.Command) {
	o.filters.flags(c, cmd)
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask before steering the runs that the filters pick")
	cmd.ValidArgsFunction = c.completeRuns
}

// ask finds the runs that filters pick and asks whether they are meant. Without filters the ids stand.
func (o *chosen) ask(ctx context.Context, c *cli, client *tenon.Client, verb string, otherwise ...string) ([]string, error) {
	if !o.any() {
		if len(o.ids) == 0 {
			return nil, badCall("nothing is chosen: name runs, or pick them with --workflow, --status, --label, --since and the like")
		}
		return o.ids, nil
	}
	if len(o.ids) > 0 {
		return nil, badCall("name runs or pick them with filters, not both")
	}
	if len(o.statuses) == 0 {
		o.statuses = otherwise
	}
	req, err := o.request(c)
	if err != nil {
		return nil, err
	}
	found, err := c.find(ctx, client, req, &paging{})
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(found.GetRuns()))
	for i, run := range found.GetRuns() {
		ids[i] = run.GetId()
	}
	if len(ids) == 0 {
		return nil, problem{code: ExitNotFound, message: "no runs match that are " + strings.Join(o.statuses, " or "), next: "tenon runs list"}
	}
	if o.yes {
		return ids, nil
	}
	if c.host.Secret == nil {
		return nil, badCall("%s would be %s: say --yes, since there is no terminal to ask at", count(len(ids), "run"), verb)
	}
	_, _ = fmt.Fprintf(c.host.Err, "%s will be %s. Go on? [y/N] ", count(len(ids), "run"), verb)
	answer, err := c.readLine(ctx)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return nil, problem{code: ExitFailure, message: "nothing was done"}
	}
	return ids, nil
}

func (c *cli) cancelCommand() *cobra.Command {
	var o chosen
	var reason string
	cmd := c.command(text{
		use: "cancel [RUN...]", short: "Cancel runs: what waits ends at once, what runs when its worker says it stopped",
		long: "Cancel the runs that are named, or all queued and running ones that filters pick; those are counted, and you are asked before.",
		example: `  tenon runs cancel run_01jd8x0c2hf6vts6q3n5m0k4rz --reason "wrong customer"
  tenon runs cancel --workflow order --status queued --since 1h`,
	}, func(ctx context.Context, args []string) error {
		o.ids = args
		return c.with(func(client *tenon.Client) error { return c.cancel(ctx, client, &o, reason) })
	})
	o.flags(c, cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, shown with the runs; at most 500 characters")
	return cmd
}

func (c *cli) cancel(ctx context.Context, client *tenon.Client, o *chosen, reason string) error {
	ids, err := o.ask(ctx, c, client, "cancelled", "queued", "running")
	if err != nil {
		return err
	}
	if len(ids) > 1 {
		return c.many(ids, "cancelled or ended before", func(some []string) ([]*runsv1.RunResult, error) {
			done, err := ask(ctx, c, client.Runs().CancelRuns, &runsv1.CancelRunsRequest{RunIds: some, Reason: reason})
			return done.GetResults(), err
		})
	}
	done, err := ask(ctx, c, client.Runs().CancelRun, &runsv1.CancelRunRequest{RunId: ids[0], Reason: reason})
	if err != nil {
		return err
	}
	return c.answer(done, func() error {
		switch run := done.GetRun(); {
		case run.GetStatus() == runsv1.RunStatus_RUN_STATUS_CANCELLED:
			return c.say("run %s is cancelled", run.GetId())
		case progress.Final(run.GetStatus()):
			return c.say("run %s had ended before, as %s", run.GetId(), progress.RunStatus(run.GetStatus()))
		default:
			return c.say("run %s is being cancelled: its workers are told to stop", run.GetId())
		}
	})
}

func (c *cli) replayCommand() *cobra.Command {
	var o chosen
	var tasks []string
	var watch bool
	cmd := c.command(text{
		use: "replay [RUN...]", short: "Run the tasks of ended runs again: all, or some with everything after them",
		long: "Replay the runs that are named, or all failed and timed out ones that filters pick; those are counted, and you are asked before.",
		example: `  tenon runs replay run_01jd8x0c2hf6vts6q3n5m0k4rz
  tenon runs replay run_01jd8x0c2hf6vts6q3n5m0k4rz --task charge --watch
  tenon runs replay --workflow order --status failed --since 2h
  tenon runs replay --label customer=acme`,
	}, func(ctx context.Context, args []string) error {
		o.ids = args
		if (watch || len(tasks) > 0) && len(args) != 1 {
			return badCall("--task and --watch are for one run, which is named")
		}
		return c.with(func(client *tenon.Client) error { return c.replay(ctx, client, &o, tasks, watch) })
	})
	o.flags(c, cmd)
	cmd.Flags().StringSliceVar(&tasks, "task", nil, "task to run again, with those after it; default: all")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "watch the run to its end, as tenon runs watch does")
	return cmd
}

func (c *cli) replay(ctx context.Context, client *tenon.Client, o *chosen, tasks []string, watch bool) error {
	ids, err := o.ask(ctx, c, client, "replayed", "failed", "timed_out")
	if err != nil {
		return err
	}
	if len(ids) > 1 {
		return c.many(ids, "replayed", func(some []string) ([]*runsv1.RunResult, error) {
			done, err := ask(ctx, c, client.Runs().ReplayRuns, &runsv1.ReplayRunsRequest{RunIds: some})
			return done.GetResults(), err
		})
	}
	done, err := ask(ctx, c, client.Runs().ReplayRun, &runsv1.ReplayRunRequest{RunId: ids[0], Tasks: tasks})
	if err != nil {
		return err
	}
	if watch {
		return c.watch(ctx, client, ids[0])
	}
	return c.answer(done, func() error {
		return c.say("run %s runs again, generation %d", done.GetRun().GetId(), done.GetRun().GetGeneration())
	})
}

// many steers runs by the hundred. One that is refused does not keep the others from it, and makes the command fail with its own exit code.
func (c *cli) many(ids []string, verb string, call func([]string) ([]*runsv1.RunResult, error)) error {
	const most = 500 // the server's
	var all []*runsv1.RunResult
	var failed error
	for some := range slices.Chunk(ids, most) {
		results, err := call(some)
		if err != nil {
			if len(all) > 0 {
				c.notef("%s of %d had been %s before", count(len(all), "run"), len(ids), verb)
			}
			return err
		}
		all = append(all, results...)
	}
	done := 0
	for _, result := range all {
		refused := result.GetError()
		if refused == nil {
			done++
			continue
		}
		var code connect.Code
		_ = code.UnmarshalText([]byte(refused.GetCode())) // a code that this tool does not know is a failure like others
		p := c.explain(&tenon.RefusedError{Code: code, Reason: refused.GetReason(), Message: refused.GetMessage(), Field: refused.GetField()})
		if !strings.Contains(p.message, result.GetRunId()) {
			p.message = result.GetRunId() + ": " + p.message
		}
		c.complain(problem{message: p.message})
		if failed == nil {
			failed = problem{code: p.code, message: fmt.Sprintf("not all runs could be %s", verb)}
		}
	}
	if c.format == show.Table {
		if err := c.say("%d of %s %s", done, count(len(ids), "run"), verb); err != nil {
			return err
		}
		return failed
	}
	if err := show.Document(c.host.Out, c.format, &runsv1.CancelRunsResponse{Results: all}); err != nil {
		return err
	}
	return failed
}
