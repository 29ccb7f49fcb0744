package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) workersCommand() *cobra.Command {
	const many, most = 100, 500 // the second is the server's
	pages := paging{most: most}
	var all bool
	list := c.command(text{
		use: "list", short: "List the workers that are attached, the newest first",
		example: `  tenon workers list
  tenon workers list --all`,
	}, func(ctx context.Context, _ []string) error { return c.listWorkers(ctx, &pages, all) })
	pages.flags(list, many, "workers")
	list.Flags().BoolVarP(&all, "all", "a", false, "list those that are gone too")
	get := c.command(text{
		use: "get WORKER", short: "Show a worker and what it runs now",
		example: `  tenon workers get wkr_01jd8x0c2hf6vts6q3n5m0k4rz`,
	}, func(ctx context.Context, args []string) error { return c.getWorker(ctx, args[0]) })
	pause := c.command(text{
		use: "pause WORKER...", short: "Give workers nothing new until they are resumed; they go on with what they have",
		example: `  tenon workers pause wkr_01jd8x0c2hf6vts6q3n5m0k4rz`,
	}, func(ctx context.Context, args []string) error {
		return c.steerWorkers(args, "is paused", func(client *tenon.Client, id string) error {
			_, err := ask(ctx, c, client.WorkerAdmin().PauseWorker, &workersv1.PauseWorkerRequest{WorkerId: id})
			return err
		})
	})
	resume := c.command(text{
		use: "resume WORKER...", short: "Give paused workers tasks again",
		example: `  tenon workers resume wkr_01jd8x0c2hf6vts6q3n5m0k4rz`,
	}, func(ctx context.Context, args []string) error {
		return c.steerWorkers(args, "takes tasks again", func(client *tenon.Client, id string) error {
			_, err := ask(ctx, c, client.WorkerAdmin().ResumeWorker, &workersv1.ResumeWorkerRequest{WorkerId: id})
			return err
		})
	})
	drain := c.command(text{
		use: "drain WORKER...", short: "Tell workers to finish what they have and to end; this cannot be taken back",
		example: `  tenon workers drain wkr_01jd8x0c2hf6vts6q3n5m0k4rz`,
	}, func(ctx context.Context, args []string) error {
		return c.steerWorkers(args, "finishes what it has and ends", func(client *tenon.Client, id string) error {
			_, err := ask(ctx, c, client.WorkerAdmin().DrainWorker, &workersv1.DrainWorkerRequest{WorkerId: id})
			return err
		})
	})
	for _, cmd := range []*cobra.Command{get, pause, resume, drain} {
		cmd.ValidArgsFunction = c.completeWorkers
	}
	return c.group(text{
		use: "workers", short: "List workers, see what they run, pause and drain them",
		example: `  tenon workers list
  tenon workers drain wkr_01jd8x0c2hf6vts6q3n5m0k4rz`,
	}, list, get, pause, resume, drain)
}

func (c *cli) listWorkers(ctx context.Context, pages *paging, gone bool) error {
	return c.with(func(client *tenon.Client) error {
		all := &workersv1.ListWorkersResponse{}
		next, err := pages.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.WorkerAdmin().ListWorkers, &workersv1.ListWorkersRequest{PageSize: size, PageToken: token, AttachedOnly: !gone})
			if page != nil {
				all.AttachedWorkers, all.Slots, all.SlotsUsed = page.GetAttachedWorkers(), page.GetSlots(), page.GetSlotsUsed()
			}
			all.Workers = append(all.Workers, page.GetWorkers()...)
			return len(page.GetWorkers()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			if len(all.GetWorkers()) == 0 {
				c.notef("no workers are attached: tenon tokens create NAME --kind worker makes the token that one starts with")
				return nil
			}
			table := show.NewRows("WORKER", "NAME", "STATUS", "SLOTS", "TASKS", "ATTACHED", "LAST SEEN", "RUNTIME")
			for _, w := range all.GetWorkers() {
				table.Add(
					show.Cell{Text: w.GetId()}, show.Cell{Text: w.GetName()}, workerStatus(w), show.Cell{Text: slots(w)}, show.Cell{Text: fmt.Sprint(w.GetAssignments())},
					show.Cell{Text: show.Instant(w.GetSessionTime(), c.host.Zone)}, show.Cell{Text: show.Instant(w.GetLastSeenTime(), c.host.Zone)},
					show.Cell{Text: runtimeOf(w), Colour: show.Dim},
				)
			}
			if err := c.rows(table); err != nil {
				return err
			}
			c.more(pages, next, "workers")
			return c.say("\n%s attached, %d of %s in use", count(int(all.GetAttachedWorkers()), "worker"), all.GetSlotsUsed(), count(int(all.GetSlots()), "slot"))
		})
	})
}

func workerStatus(w *workersv1.Worker) show.Cell {
	cell := show.Cell{Text: word(w.GetStatus())}
	switch w.GetStatus() {
	case workersv1.WorkerStatus_WORKER_STATUS_CONNECTED:
		cell.Colour = show.Green
	case workersv1.WorkerStatus_WORKER_STATUS_DRAINING, workersv1.WorkerStatus_WORKER_STATUS_PAUSED:
		cell.Colour = show.Yellow
	case workersv1.WorkerStatus_WORKER_STATUS_LOST:
		cell.Colour = show.Red
	case workersv1.WorkerStatus_WORKER_STATUS_GONE:
		cell.Colour = show.Dim
	default:
	}
	return cell
}

func slots(w *workersv1.Worker) string { return fmt.Sprintf("%d/%d", w.GetSlotsUsed(), w.GetSlots()) }

func runtimeOf(w *workersv1.Worker) string {
	r := w.GetRuntime()
	return strings.TrimSpace(strings.Join([]string{strings.TrimSpace(r.GetLanguage() + " " + r.GetLanguageVersion()), r.GetHost()}, "  "))
}

func (c *cli) getWorker(ctx context.Context, id string) error {
	return c.with(func(client *tenon.Client) error {
		got, err := ask(ctx, c, client.WorkerAdmin().GetWorker, &workersv1.GetWorkerRequest{WorkerId: id})
		if err != nil {
			return err
		}
		return c.answer(got, func() error { return c.showWorker(got) })
	})
}

func (c *cli) showWorker(got *workersv1.GetWorkerResponse) error {
	w := got.GetWorker()
	f := newFacts()
	f.add("Worker", strings.TrimSpace(w.GetName()+"  "+w.GetId()))
	status := workerStatus(w)
	f.add("Status", status.Text, status.Colour)
	f.add("Slots", slots(w)+" in use")
	f.add("Runtime", runtimeOf(w))
	actions := strings.Join(w.GetActions(), ", ")
	if more := int(w.GetActionCount()) - len(w.GetActions()); more > 0 {
		actions += fmt.Sprintf(" and %d more", more)
	}
	f.add("Runs", actions)
	f.add("Queues", first(strings.Join(w.GetQueues(), ", "), "all of its tasks"))
	f.add("Registered", show.Instant(w.GetRegisterTime(), c.host.Zone))
	f.add("Attached", show.Instant(w.GetSessionTime(), c.host.Zone))
	f.add("Last seen", show.Instant(w.GetLastSeenTime(), c.host.Zone))
	if err := c.rows(f.rows); err != nil {
		return err
	}
	if len(got.GetTasks()) == 0 {
		return nil
	}
	table := show.NewRows("TASK", "STATUS", "ATTEMPT", "WAITED", "TOOK", "RUN")
	now := c.host.Now()
	for _, t := range got.GetTasks() {
		table.Add(
			show.Cell{Text: t.GetWorkflow() + "/" + t.GetTask()}, show.Cell{Text: progress.TaskStatus(t.GetStatus()), Colour: progress.TaskColour(t.GetStatus())},
			show.Cell{Text: fmt.Sprint(t.GetAttempt())}, show.Cell{Text: show.Between(t.GetQueueTime(), t.GetStartTime(), now)},
			show.Cell{Text: show.Between(t.GetStartTime(), nil, now)}, show.Cell{Text: t.GetRunId()},
		)
	}
	if err := c.say(""); err != nil {
		return err
	}
	return c.rows(table)
}

// steerWorkers does something to each of the workers; the first refusal ends the command, and names its worker.
func (c *cli) steerWorkers(ids []string, said string, do func(*tenon.Client, string) error) error {
	return c.with(func(client *tenon.Client) error {
		for _, id := range ids {
			if err := do(client, id); err != nil {
				return err
			}
			if c.format != show.Table {
				continue
			}
			if err := c.say("worker %s %s", id, said); err != nil {
				return err
			}
		}
		if c.format == show.Table {
			return nil
		}
		return show.Value(c.host.Out, c.format, map[string]any{"workerIds": ids})
	})
}
