package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) tailCommand() *cobra.Command {
	var workflow string
	var labels []string
	cmd := c.command(text{
		use: "tail", short: "Show the tenant's runs as they change, until Ctrl-C",
		long: `Show a line for each run that comes into another state, from now on. A broken connection is opened again, without a gap. With -o json each change is
the run as a line of JSON.`,
		example: `  tenon runs tail
  tenon runs tail --workflow order -o json | jq -r 'select(.status == "RUN_STATUS_FAILED") | .id'`,
	}, func(ctx context.Context, _ []string) error { return c.tail(ctx, workflow, labels) })
	cmd.Flags().StringVar(&workflow, "workflow", "", "only runs of this workflow")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "only runs that carry the label `key=value`; given several times, all of the labels")
	must(cmd.RegisterFlagCompletionFunc("workflow", c.completeWorkflowFlag))
	return cmd
}

func (c *cli) tail(ctx context.Context, workflow string, labels []string) error {
	wanted, err := pairs(labels)
	if err != nil {
		return err
	}
	return c.with(func(client *tenon.Client) error {
		req := &runsv1.WatchRunsRequest{Workflow: workflow, Labels: wanted}
		told := make(map[string]runsv1.RunStatus)
		err := c.keepOn(ctx, func(alive func()) (bool, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := client.Runs().WatchRuns(ctx, req)
			if err != nil {
				return false, err
			}
			defer func() {
				cancel()
				_ = stream.Close() // reports the cancel just made
			}()
			for stream.Receive() {
				alive()
				message := stream.Msg()
				if message.GetReset_() && req.GetResumeToken() != "" {
					c.notef("more has changed than is told here: tenon runs list shows all")
				}
				req.ResumeToken = first(message.GetResumeToken(), req.GetResumeToken())
				for _, run := range message.GetRuns() {
					if err := c.tell(told, run); err != nil {
						return false, err
					}
				}
			}
			return false, stream.Err() // it ends with the server alone
		})
		if ctx.Err() != nil {
			return problem{code: ExitInterrupted, message: "stopped watching"}
		}
		return err
	})
}

// tell writes a run that has come into another state than was told of it before.
func (c *cli) tell(told map[string]runsv1.RunStatus, run *runsv1.Run) error {
	if told[run.GetId()] == run.GetStatus() {
		return nil
	}
	told[run.GetId()] = run.GetStatus()
	if progress.Final(run.GetStatus()) {
		delete(told, run.GetId()) // what is told of it again is a replay
	}
	if c.format != show.Table {
		return show.Line(c.host.Out, c.format, run)
	}
	const states = 9 // letters of the longest
	at := run.GetCreateTime()
	took := ""
	switch {
	case run.GetEndTime() != nil:
		at, took = run.GetEndTime(), "  "+show.Between(run.GetCreateTime(), run.GetEndTime(), c.host.Now())
	case run.GetStartTime() != nil:
		at = run.GetStartTime()
	}
	status := show.Paint(c.colours(c.host.OutTerminal), progress.RunColour(run.GetStatus()), fmt.Sprintf("%-*s", states, progress.RunStatus(run.GetStatus())))
	line := fmt.Sprintf("%s  %s  %s  %s%s", at.AsTime().In(c.host.Zone).Format("15:04:05.000"), run.GetId(), status, run.GetWorkflow(), took)
	if text := c.errorText(run.GetError()); text != "" {
		line += "  " + text
	}
	return c.say("%s", line)
}
