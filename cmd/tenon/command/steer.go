package command

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) cancelCommand() *cobra.Command {
	var reason string
	cmd := c.command(text{
		use: "cancel RUN...", short: "Cancel runs: what waits ends at once, what runs when its worker says it stopped",
		example: `  tenon runs cancel run_01jd8x0c2hf6vts6q3n5m0k4rz --reason "wrong customer"
  tenon runs list --workflow order --status queued --limit 0 -o json | jq -r '.runs[].id' | xargs tenon runs cancel`,
	}, func(ctx context.Context, args []string) error {
		return c.steer(args, func(client *tenon.Client, id string) (*runsv1.Run, error) {
			done, err := ask(ctx, c, client.Runs().CancelRun, &runsv1.CancelRunRequest{RunId: id, Reason: reason})
			return done.GetRun(), err
		}, c.cancelled)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, shown with the run; at most 500 characters")
	cmd.ValidArgsFunction = c.completeRuns
	return cmd
}

func (c *cli) cancelled(run *runsv1.Run) error {
	switch {
	case run.GetStatus() == runsv1.RunStatus_RUN_STATUS_CANCELLED:
		return c.say("run %s is cancelled", run.GetId())
	case progress.Final(run.GetStatus()):
		return c.say("run %s had ended before, as %s", run.GetId(), progress.RunStatus(run.GetStatus()))
	default:
		return c.say("run %s is being cancelled: its workers are told to stop", run.GetId())
	}
}

func (c *cli) replayCommand() *cobra.Command {
	var tasks []string
	var watch bool
	cmd := c.command(text{
		use: "replay RUN...", short: "Run the tasks of ended runs again: all, or some with everything after them",
		example: `  tenon runs replay run_01jd8x0c2hf6vts6q3n5m0k4rz
  tenon runs replay run_01jd8x0c2hf6vts6q3n5m0k4rz --task charge --watch`,
	}, func(ctx context.Context, args []string) error {
		if watch && len(args) > 1 {
			return badCall("--watch watches one run, and %d are given", len(args))
		}
		err := c.steer(args, func(client *tenon.Client, id string) (*runsv1.Run, error) {
			done, err := ask(ctx, c, client.Runs().ReplayRun, &runsv1.ReplayRunRequest{RunId: id, Tasks: tasks})
			return done.GetRun(), err
		}, func(run *runsv1.Run) error {
			if watch {
				return nil // the picture says it
			}
			return c.say("run %s runs again, generation %d", run.GetId(), run.GetGeneration())
		})
		if err != nil || !watch {
			return err
		}
		return c.with(func(client *tenon.Client) error { return c.watch(ctx, client, args[0]) })
	})
	cmd.Flags().StringSliceVar(&tasks, "task", nil, "task to run again, with those after it; default: all")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "watch the run to its end, as tenon runs watch does")
	cmd.ValidArgsFunction = c.completeRuns
	return cmd
}

// steer does something to each of the runs. One that is refused does not keep the others from it; the first refusal is the command's own.
func (c *cli) steer(ids []string, do func(*tenon.Client, string) (*runsv1.Run, error), say func(*runsv1.Run) error) error {
	return c.with(func(client *tenon.Client) error {
		all := &runsv1.ListRunsResponse{}
		var failed error
		for _, id := range ids {
			run, err := do(client, id)
			if err != nil {
				r := read(err)
				if len(ids) == 1 || errors.Is(err, context.Canceled) || r == nil || !r.wire {
					return errors.Join(failed, err)
				}
				if failed == nil {
					failed = problem{code: c.explain(err).code, message: "not all runs could be steered"}
				}
				message := c.explain(err).message
				if !strings.Contains(message, id) {
					message = id + ": " + message
				}
				c.complain(problem{message: message})
				continue
			}
			all.Runs = append(all.Runs, run)
			if c.format == show.Table {
				if err := say(run); err != nil {
					return err
				}
			}
		}
		if c.format != show.Table {
			if err := show.Document(c.host.Out, c.format, all); err != nil {
				return err
			}
		}
		return failed
	})
}
