package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) statsCommand() *cobra.Command {
	var workflow, since string
	cmd := c.command(text{
		use: "stats", short: "Count open runs by state, and those that ended lately",
		example: `  tenon runs stats
  tenon runs stats --workflow order --since 24h -o json`,
	}, func(ctx context.Context, _ []string) error { return c.stats(ctx, workflow, since) })
	cmd.Flags().StringVar(&workflow, "workflow", "", "only runs of this workflow")
	cmd.Flags().StringVar(&since, "since", "1h", "count runs that ended since: 2h, 7d, 2026-11-25, RFC 3339; at most 7 days")
	must(cmd.RegisterFlagCompletionFunc("workflow", c.completeWorkflowFlag))
	return cmd
}

func (c *cli) stats(ctx context.Context, workflow, since string) error {
	from, err := c.moment("--since", since)
	if err != nil {
		return err
	}
	// The window is of whole minutes, and the picture of it about as wide as a terminal.
	const columns = 60
	to := c.host.Now().Truncate(time.Minute).Add(time.Minute)
	from = from.Truncate(time.Minute)
	const longest = 7 * 24 * time.Hour // the server's
	if over := to.Sub(from) - longest; over > 0 && over <= time.Minute {
		from = from.Add(over) // only because of the whole minutes
	}
	step := max(time.Minute, (to.Sub(from)/columns + time.Minute - 1).Truncate(time.Minute))
	return c.with(func(client *tenon.Client) error {
		got, err := ask(ctx, c, client.Runs().GetRunStats, &runsv1.GetRunStatsRequest{
			Workflow: workflow, From: timestamppb.New(from), To: timestamppb.New(to), Step: durationpb.New(step),
		})
		if err != nil {
			return err
		}
		return c.answer(got, func() error { return c.showStats(got, from, step) })
	})
}

func (c *cli) showStats(got *runsv1.GetRunStatsResponse, from time.Time, step time.Duration) error {
	least := ""
	if got.GetOpenLowerBound() {
		least = " or more"
	}
	ended := got.GetEnded()
	rows := show.NewRows()
	add := func(name string, n int64, more string, colour show.Colour) {
		if n == 0 {
			colour = show.Plain
		}
		rows.Add(show.Cell{Text: name, Colour: show.Dim}, show.Cell{Text: fmt.Sprint(n) + more, Colour: colour})
	}
	add("queued now", got.GetQueued(), least, show.Plain)
	add("running now", got.GetRunning(), least, show.Blue)
	add("completed", ended.GetCompleted(), "", show.Green)
	add("failed", ended.GetFailed(), "", show.Red)
	add("timed out", ended.GetTimedOut(), "", show.Red)
	add("cancelled", ended.GetCancelled(), "", show.Yellow)
	if err := c.rows(rows); err != nil {
		return err
	}
	var all, bad []int64
	for _, p := range got.GetPoints() {
		e := p.GetEnded()
		wrong := e.GetFailed() + e.GetTimedOut()
		all, bad = append(all, e.GetCompleted()+e.GetCancelled()+wrong), append(bad, wrong)
	}
	if len(all) == 0 {
		return nil
	}
	f := newFacts()
	f.add("ended ", spark(all))
	f.add("failed", spark(bad))
	if err := c.say("\nsince %s, %s a step", from.In(c.host.Zone).Format(time.DateTime), show.Duration(step)); err != nil {
		return err
	}
	return c.rows(f.rows)
}

// spark draws numbers as bars of eight heights, the largest being the highest.
func spark(numbers []int64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	most := int64(1)
	for _, n := range numbers {
		most = max(most, n)
	}
	var out strings.Builder
	for _, n := range numbers {
		if n == 0 {
			out.WriteRune('·')
			continue
		}
		out.WriteRune(bars[(n*int64(len(bars))-1)/most])
	}
	return out.String()
}

func (c *cli) healthCommand() *cobra.Command {
	var window string
	cmd := c.command(text{
		use: "health WORKFLOW", short: "Show how a workflow's latest runs went: success rate, waiting and running times",
		long:    "Show how a workflow's latest runs went, by a sample of at most 1,000 of those made within the window.",
		example: `  tenon workflows health order --since 7d`,
	}, func(ctx context.Context, args []string) error { return c.health(ctx, args[0], window) })
	cmd.Flags().StringVar(&window, "since", "24h", "how far back: 1m to 30d")
	cmd.ValidArgsFunction = c.completeWorkflows
	return cmd
}

func (c *cli) health(ctx context.Context, workflow, window string) error {
	back, err := span(window)
	if err != nil {
		return badCall("--since: %s", err)
	}
	return c.with(func(client *tenon.Client) error {
		got, err := ask(ctx, c, client.Runs().GetWorkflowHealth, &runsv1.GetWorkflowHealthRequest{Workflow: workflow, Window: durationpb.New(back)})
		if err != nil {
			return err
		}
		return c.answer(got, func() error {
			ended := got.GetEnded()
			f := newFacts()
			if got.SuccessRate != nil {
				const percent = 100
				f.add("Success rate", fmt.Sprintf("%.1f%%", percent*got.GetSuccessRate()))
			}
			f.add("Ended", fmt.Sprintf("%d completed, %d failed, %d timed out, %d cancelled", ended.GetCompleted(), ended.GetFailed(), ended.GetTimedOut(), ended.GetCancelled()))
			if got.GetRunP50() != nil {
				f.add("Took", fmt.Sprintf("%s (p50), %s (p95)", show.Duration(got.GetRunP50().AsDuration()), show.Duration(got.GetRunP95().AsDuration())))
			}
			if got.GetQueueP50() != nil {
				f.add("Waited", fmt.Sprintf("%s (p50), %s (p95)", show.Duration(got.GetQueueP50().AsDuration()), show.Duration(got.GetQueueP95().AsDuration())))
			}
			if got.GetSampled() {
				f.add("Sample", "the newest 1,000 runs of the window; there were more")
			}
			return c.rows(f.rows)
		})
	})
}

func (c *cli) queuesCommand() *cobra.Command {
	var size int32
	cmd := c.command(text{
		use: "queues", short: "List queues with waiting tasks, the longest wait first, and who serves them",
		example: `  tenon queues
  tenon queues -o json`,
	}, func(ctx context.Context, _ []string) error {
		return c.with(func(client *tenon.Client) error {
			got, err := ask(ctx, c, client.Runs().ListQueues, &runsv1.ListQueuesRequest{PageSize: size})
			if err != nil {
				return err
			}
			return c.answer(got, func() error { return c.showQueues(got.GetQueues()) })
		})
	})
	const many = 100
	cmd.Flags().Int32Var(&size, "limit", many, "most queues to list, up to 1,000")
	return cmd
}

func (c *cli) showQueues(queues []*runsv1.Queue) error {
	if len(queues) == 0 {
		c.notef("nothing waits")
		return nil
	}
	table := show.NewRows("QUEUE", "WAITING", "LONGEST", "TASK", "RUN", "WORKERS", "FREE SLOTS")
	for _, q := range queues {
		waiting := fmt.Sprint(q.GetWaiting())
		if q.GetWaitingLowerBound() {
			waiting += "+"
		}
		workers := show.Cell{Text: fmt.Sprint(q.GetWorkers())}
		if q.GetWorkers() == 0 {
			workers = show.Cell{Text: "none", Colour: show.Red}
		}
		row := show.Text(q.GetName(), waiting, show.Between(q.GetOldestQueueTime(), nil, c.host.Now()), q.GetOldestWorkflow()+"/"+q.GetOldestTask(), q.GetOldestRunId())
		table.Add(append(row, workers, show.Cell{Text: fmt.Sprint(q.GetFreeSlots())})...)
	}
	return c.rows(table)
}
