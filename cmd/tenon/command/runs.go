package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) runsCommand() *cobra.Command {
	return c.group(
		text{
			use: "runs", short: "Trigger, list, watch and steer runs",
			example: `  tenon runs trigger greet --input '"world"' --wait
  tenon runs list --status running
  tenon runs watch run_01jd8x0c2hf6vts6q3n5m0k4rz`,
		},
		c.triggerCommand(), c.listRunsCommand(), c.getRunCommand(), c.attemptsCommand(), c.watchCommand(), c.tailCommand(), c.logsCommand(),
		c.cancelCommand(), c.replayCommand(), c.statsCommand(),
	)
}

// filters pick runs.
type filters struct {
	workflow, parent, prefix, since, until string
	statuses, labels                       []string
}

func (f *filters) flags(c *cli, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.workflow, "workflow", "", "only runs of this workflow")
	cmd.Flags().StringSliceVar(&f.statuses, "status", nil, "only runs in one of these states: "+strings.Join(words(runStatuses), ", "))
	cmd.Flags().StringVar(&f.since, "since", "", "only runs made at or after this: 2h, 7d, 2026-11-25, RFC 3339")
	cmd.Flags().StringVar(&f.until, "until", "", "only runs made before this")
	cmd.Flags().StringVar(&f.parent, "parent", "", "only children of this run")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "only runs that carry the label `key=value`; given several times, all of the labels")
	cmd.Flags().StringVar(&f.prefix, "id", "", "only runs whose id begins so, with or without run_")
	must(cmd.RegisterFlagCompletionFunc("workflow", c.completeWorkflowFlag))
	must(cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(words(runStatuses), cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("parent", c.completeRuns))
}

// any says whether a filter is set.
func (f *filters) any() bool {
	return len(f.statuses) > 0 || len(f.labels) > 0 || f.workflow+f.parent+f.prefix+f.since+f.until != ""
}

// request makes the request of the filters, without a page.
func (f *filters) request(c *cli) (*runsv1.ListRunsRequest, error) {
	labels, err := pairs(f.labels)
	if err != nil {
		return nil, err
	}
	req := &runsv1.ListRunsRequest{Workflow: f.workflow, ParentRunId: f.parent, IdPrefix: f.prefix, Labels: labels}
	for _, name := range f.statuses {
		status, err := enum(runStatuses, "--status", name)
		if err != nil {
			return nil, err
		}
		req.Statuses = append(req.Statuses, runsv1.RunStatus(status))
	}
	if f.since != "" {
		at, err := c.moment("--since", f.since)
		if err != nil {
			return nil, err
		}
		req.CreatedAfter = timestamppb.New(at)
	}
	if f.until != "" {
		at, err := c.moment("--until", f.until)
		if err != nil {
			return nil, err
		}
		req.CreatedBefore = timestamppb.New(at)
	}
	return req, nil
}

// find lists the runs that the filters pick, newest first.
func (c *cli) find(ctx context.Context, client *tenon.Client, req *runsv1.ListRunsRequest, pages *paging) (*runsv1.ListRunsResponse, error) {
	all := &runsv1.ListRunsResponse{}
	next, err := pages.gather(func(size int32, token string) (int, string, error) {
		req.PageSize, req.PageToken = size, token
		page, err := ask(ctx, c, client.Runs().ListRuns, req)
		all.Runs = append(all.Runs, page.GetRuns()...)
		return len(page.GetRuns()), page.GetNextPageToken(), err
	})
	all.NextPageToken = next
	return all, err
}

func (c *cli) listRunsCommand() *cobra.Command {
	var f filters
	var pages paging
	cmd := c.command(text{
		use: "list", short: "List runs, newest first",
		long: "List runs, newest first. Inputs and outputs are left out: tenon runs get shows them.",
		example: `  tenon runs list --workflow order --status failed,timed_out --since 24h
  tenon runs list --label env=prod --label customer=acme
  tenon runs list --parent run_01jd8x0c2hf6vts6q3n5m0k4rz --limit 0
  tenon runs list --limit 0 -o json | jq -r '.runs[].id'`,
	}, func(ctx context.Context, _ []string) error { return c.listRuns(ctx, &f, &pages) })
	const few = 50
	pages.flags(cmd, few, "runs")
	f.flags(c, cmd)
	return cmd
}

func (c *cli) listRuns(ctx context.Context, f *filters, pages *paging) error {
	req, err := f.request(c)
	if err != nil {
		return err
	}
	return c.with(func(client *tenon.Client) error {
		all, err := c.find(ctx, client, req, pages)
		if err != nil {
			return err
		}
		return c.answer(all, func() error {
			if len(all.GetRuns()) == 0 {
				c.notef("no runs match: tenon runs trigger WORKFLOW starts one")
				return nil
			}
			defer c.more(pages, all.GetNextPageToken(), "runs")
			return c.rows(c.runRows(all.GetRuns()))
		})
	})
}

func (c *cli) runRows(runs []*runsv1.Run) *show.Rows {
	now := c.host.Now()
	table := show.NewRows("RUN", "WORKFLOW", "STATUS", "CREATED", "WAITED", "TOOK", "ERROR")
	for _, run := range runs {
		waited := show.Between(run.GetCreateTime(), run.GetStartTime(), now)
		if run.GetStartTime() == nil {
			waited = show.Between(run.GetCreateTime(), run.GetEndTime(), now)
		}
		table.Add(
			show.Cell{Text: run.GetId()}, show.Cell{Text: fmt.Sprintf("%s v%d", run.GetWorkflow(), run.GetWorkflowVersion())},
			show.Cell{Text: progress.RunStatus(run.GetStatus()), Colour: progress.RunColour(run.GetStatus())},
			show.Cell{Text: show.Instant(run.GetCreateTime(), c.host.Zone)}, show.Cell{Text: waited},
			show.Cell{Text: show.Between(run.GetStartTime(), run.GetEndTime(), now)}, show.Cell{Text: c.errorText(run.GetError())},
		)
	}
	return table
}

// errorText is a task's error on a line.
func (c *cli) errorText(e *runsv1.TaskError) string {
	if e == nil {
		return ""
	}
	const clip = 80
	return show.Clip(show.OneLine(e.GetKind()+": "+e.GetMessage()), clip)
}

func (c *cli) getRunCommand() *cobra.Command {
	cmd := c.command(text{
		use: "get RUN", short: "Show a run with its tasks, input, output and error",
		long: "Show a run with its tasks. Long inputs and outputs are cut in the table: -o json has all of them.",
		example: `  tenon runs get run_01jd8x0c2hf6vts6q3n5m0k4rz
  tenon runs get run_01jd8x0c2hf6vts6q3n5m0k4rz -o json | jq .run.output`,
	}, func(ctx context.Context, args []string) error {
		return c.with(func(client *tenon.Client) error {
			got, err := ask(ctx, c, client.Runs().GetRun, &runsv1.GetRunRequest{RunId: args[0]})
			if err != nil {
				return err
			}
			return c.answer(got, func() error { return c.showRun(got.GetRun()) })
		})
	})
	cmd.ValidArgsFunction = c.completeRuns
	return cmd
}

func (c *cli) showRun(run *runsv1.Run) error {
	now := c.host.Now()
	f := newFacts()
	f.add("Run", run.GetId())
	f.add("Workflow", fmt.Sprintf("%s v%d", run.GetWorkflow(), run.GetWorkflowVersion()))
	f.add("Status", progress.RunStatus(run.GetStatus()), progress.RunColour(run.GetStatus()))
	f.add("Priority", fmt.Sprint(run.GetPriority()))
	f.add("Labels", pairsText(run.GetLabels()))
	if run.GetGeneration() > 1 {
		f.add("Generation", fmt.Sprintf("%d (replayed)", run.GetGeneration()))
	}
	f.add("Created", show.Instant(run.GetCreateTime(), c.host.Zone))
	if run.GetStartTime() != nil {
		f.add("Started", fmt.Sprintf("%s  after %s", show.Instant(run.GetStartTime(), c.host.Zone), show.Between(run.GetCreateTime(), run.GetStartTime(), now)))
	}
	if run.GetEndTime() != nil {
		from := run.GetStartTime()
		if from == nil {
			from = run.GetCreateTime()
		}
		f.add("Ended", fmt.Sprintf("%s  took %s", show.Instant(run.GetEndTime(), c.host.Zone), show.Between(from, run.GetEndTime(), now)))
	}
	if parent := run.GetParent(); parent != nil {
		f.add("Parent", fmt.Sprintf("%s, task %s", parent.GetRunId(), parent.GetTask()))
	}
	if n := run.GetChildRuns(); n > 0 {
		f.add("Children", fmt.Sprintf("%d  (tenon runs list --parent %s)", n, run.GetId()))
	}
	const clip = 500
	f.add("Input", show.Clip(run.GetInputJson(), clip))
	f.add("Output", show.Clip(run.GetOutputJson(), clip))
	if e := run.GetError(); e != nil {
		f.add("Error", show.OneLine(e.GetKind()+": "+e.GetMessage()), show.Red)
	}
	if err := c.rows(f.rows); err != nil {
		return err
	}
	if stack := strings.TrimSpace(run.GetError().GetStack()); stack != "" {
		if err := c.say("\n%s", show.Lines(stack)); err != nil {
			return err
		}
	}
	if err := c.say(""); err != nil {
		return err
	}
	return c.showRunTasks(run)
}

func (c *cli) showRunTasks(run *runsv1.Run) error {
	now := c.host.Now()
	table := show.NewRows("TASK", "STATUS", "ATTEMPT", "WAITED", "TOOK", "WORKER", "ERROR")
	for _, b := range progress.Tree(run.GetTasks()) {
		t := b.Task
		attempt := ""
		if t.GetAttempt() > 0 {
			attempt = fmt.Sprint(t.GetAttempt())
		}
		waited := ""
		if t.GetQueueTime() != nil && (t.GetStartTime() != nil || !progress.Ended(t.GetStatus())) {
			waited = show.Between(t.GetQueueTime(), t.GetStartTime(), now)
		}
		table.Add(
			show.Cell{Text: b.Lead + t.GetName()}, show.Cell{Text: progress.TaskStatus(t.GetStatus()), Colour: progress.TaskColour(t.GetStatus())}, show.Cell{Text: attempt},
			show.Cell{Text: waited}, show.Cell{Text: show.Between(t.GetStartTime(), t.GetEndTime(), now)}, show.Cell{Text: t.GetWorkerId()}, show.Cell{Text: c.errorText(t.GetError())},
		)
	}
	return c.rows(table)
}

func (c *cli) attemptsCommand() *cobra.Command {
	var pages paging
	cmd := c.command(text{
		use: "attempts RUN", short: "List each try of a run's tasks, oldest first",
		example: `  tenon runs attempts run_01jd8x0c2hf6vts6q3n5m0k4rz`,
	}, func(ctx context.Context, args []string) error { return c.listAttempts(ctx, args[0], &pages) })
	const many = 100
	pages.flags(cmd, many, "attempts")
	cmd.ValidArgsFunction = c.completeRuns
	return cmd
}

func (c *cli) listAttempts(ctx context.Context, id string, pages *paging) error {
	return c.with(func(client *tenon.Client) error {
		all := &runsv1.ListAttemptsResponse{}
		next, err := pages.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Runs().ListAttempts, &runsv1.ListAttemptsRequest{RunId: id, PageSize: size, PageToken: token})
			all.Attempts = append(all.Attempts, page.GetAttempts()...)
			return len(page.GetAttempts()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			if len(all.GetAttempts()) == 0 {
				c.notef("no task of run %s has been tried yet", id)
				return nil
			}
			table := show.NewRows("TASK", "GENERATION", "ATTEMPT", "OUTCOME", "STARTED", "TOOK", "WORKER", "ERROR")
			for _, a := range all.GetAttempts() {
				outcome := show.Cell{Text: word(a.GetOutcome())}
				switch a.GetOutcome() {
				case runsv1.AttemptOutcome_ATTEMPT_OUTCOME_UNSPECIFIED:
					outcome = show.Cell{Text: "under way", Colour: show.Blue}
				case runsv1.AttemptOutcome_ATTEMPT_OUTCOME_COMPLETED:
					outcome.Colour = show.Green
				case runsv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED, runsv1.AttemptOutcome_ATTEMPT_OUTCOME_TIMED_OUT:
					outcome.Colour = show.Red
				default:
					outcome.Colour = show.Yellow
				}
				row := append(show.Text(a.GetTask(), fmt.Sprint(a.GetGeneration()), fmt.Sprint(a.GetNumber())), outcome)
				table.Add(append(row, show.Text(show.Instant(a.GetStartTime(), c.host.Zone), show.Between(a.GetStartTime(), a.GetEndTime(), c.host.Now()), a.GetWorkerId(), c.errorText(a.GetError()))...)...)
			}
			defer c.more(pages, next, "attempts")
			return c.rows(table)
		})
	})
}
