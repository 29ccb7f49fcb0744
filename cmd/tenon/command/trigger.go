package command

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

type triggerOptions struct {
	input, runID      string
	version, priority int
	labels            []string
	wait, watch       bool
}

func (c *cli) triggerCommand() *cobra.Command {
	var o triggerOptions
	cmd := c.command(text{
		use: "trigger WORKFLOW", short: "Start a run of a workflow",
		long: `Start a run and write its id. With --wait the run's output is written when it has completed, and the exit code tells how it ended;
with --watch its tasks are drawn meanwhile. Ctrl-C ends the waiting, not the run.

The input is JSON: the flag's own text, @file, or - for standard input. The call is sent again when the connection breaks, under one run id,
so it starts one run. Give --run-id to start one run however often the command is run.`,
		example: `  tenon runs trigger greet --input '"world"' --wait
  tenon runs trigger order --input @order.json --priority 9 --label customer=acme --label env=prod
  jq -n '{n: 1}' | tenon runs trigger order --input - --watch`,
	}, func(ctx context.Context, args []string) error { return c.trigger(ctx, args[0], o) })
	cmd.Flags().StringVarP(&o.input, "input", "i", "null", "input as JSON, @file, or - for standard input")
	const unset = -1
	cmd.Flags().IntVar(&o.priority, "priority", unset, "0 to 9, 9 most urgent; default: the workflow's")
	cmd.Flags().IntVar(&o.version, "workflow-version", 0, "version of the workflow; default: the newest")
	cmd.Flags().StringVar(&o.runID, "run-id", "", "id of the run to start: run_ over a UUIDv7 made within the last 24 hours; default: a new one")
	cmd.Flags().StringArrayVar(&o.labels, "label", nil, "label of the run as `key=value`, up to 16 times; no secrets, since all who may read runs see it")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait for the run's end and write its output")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "watch the run to its end, as tenon runs watch does")
	cmd.ValidArgsFunction = c.completeWorkflows
	return cmd
}

func (c *cli) trigger(ctx context.Context, workflow string, o triggerOptions) error {
	if o.wait && o.watch {
		return badCall("--wait and --watch exclude each other")
	}
	const most = 9
	if o.priority > most || o.priority < -1 {
		return badCall("--priority must be 0 to 9")
	}
	if o.version < 0 {
		return badCall("--workflow-version must not be negative")
	}
	labels, err := pairs(o.labels)
	if err != nil {
		return err
	}
	input, err := c.input(ctx, o.input)
	if err != nil {
		return err
	}
	var opts []tenon.TriggerOption
	if o.priority >= 0 {
		opts = append(opts, tenon.WithPriority(o.priority))
	}
	if o.version > 0 {
		opts = append(opts, tenon.WithVersion(o.version))
	}
	if o.runID != "" {
		opts = append(opts, tenon.WithRunID(o.runID))
	}
	if len(labels) > 0 {
		opts = append(opts, tenon.WithLabels(labels))
	}
	return c.with(func(client *tenon.Client) error {
		call, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		made, err := tenon.NewWorkflow[json.RawMessage, json.RawMessage](workflow).Trigger(call, client, input, opts...)
		if err != nil {
			return err
		}
		switch {
		case o.watch:
			return c.watch(ctx, client, made.ID())
		case o.wait:
			return c.awaitOutput(ctx, client, made.ID())
		}
		return c.answer(&runsv1.TriggerResponse{RunId: made.ID(), Created: made.Created()}, func() error {
			if !made.Created() {
				c.notef("the run existed already")
			}
			if err := c.say("%s", made.ID()); err != nil {
				return err
			}
			c.hintf("tenon runs watch %s", made.ID())
			return nil
		})
	})
}

// awaitOutput waits for a run's end without a word, and writes its output.
func (c *cli) awaitOutput(ctx context.Context, client *tenon.Client, id string) error {
	run, err := c.follow(ctx, client, id, func(*runsv1.Run) error { return nil })
	if err != nil {
		return err
	}
	if c.format != show.Table {
		if err := show.Document(c.host.Out, c.format, &runsv1.GetRunResponse{Run: run}); err != nil {
			return err
		}
		return c.outcome(run)
	}
	if run.GetStatus() != runsv1.RunStatus_RUN_STATUS_COMPLETED {
		return c.outcome(run)
	}
	_, err = fmt.Fprintln(c.host.Out, first(run.GetOutputJson(), "null"))
	return err
}
