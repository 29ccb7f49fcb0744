package command

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) workflowsCommand() *cobra.Command {
	const many = 100
	var listed paging
	list := c.command(text{
		use: "list", short: "List the tenant's workflows by name, each with its newest version",
		example: `  tenon workflows list
  tenon workflows list -o json`,
	}, func(ctx context.Context, _ []string) error { return c.listWorkflows(ctx, &listed) })
	listed.flags(list, many, "workflows")
	var version int32
	get := c.command(text{
		use: "get WORKFLOW", short: "Show a workflow: its tasks as a tree, and its settings",
		example: `  tenon workflows get order
  tenon workflows get order --version 3 -o yaml`,
	}, func(ctx context.Context, args []string) error { return c.getWorkflow(ctx, args[0], version) })
	get.Flags().Int32Var(&version, "version", 0, "version to show; default: the newest")
	get.ValidArgsFunction = c.completeWorkflows
	var versions paging
	history := c.command(text{
		use: "versions WORKFLOW", short: "List the versions of a workflow, newest first",
		example: `  tenon workflows versions order`,
	}, func(ctx context.Context, args []string) error { return c.listVersions(ctx, args[0], &versions) })
	versions.flags(history, many, "versions")
	history.ValidArgsFunction = c.completeWorkflows
	diff := c.command(text{
		use: "diff WORKFLOW [FROM] [TO]", short: "Show how two versions of a workflow differ",
		long: "Show how two versions of a workflow differ, as lines of their declarations. TO defaults to the newest version, FROM to the one before TO.",
		example: `  tenon workflows diff order
  tenon workflows diff order 2 5`,
	}, func(ctx context.Context, args []string) error { return c.diffWorkflow(ctx, args) })
	diff.ValidArgsFunction = c.completeWorkflows
	return c.group(text{
		use: "workflows", short: "List workflows, look at them and their versions",
		example: `  tenon workflows list
  tenon workflows get order
  tenon workflows diff order`,
	}, list, get, history, diff, c.healthCommand())
}

func (c *cli) listWorkflows(ctx context.Context, pages *paging) error {
	return c.with(func(client *tenon.Client) error {
		all := &registryv1.ListWorkflowsResponse{}
		next, err := pages.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Registry().ListWorkflows, &registryv1.ListWorkflowsRequest{PageSize: size, PageToken: token})
			all.Workflows = append(all.Workflows, page.GetWorkflows()...)
			return len(page.GetWorkflows()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			if len(all.GetWorkflows()) == 0 {
				c.notef("no workflows yet: start a worker, which declares what it serves (tenon tokens create NAME --kind worker makes its token)")
				return nil
			}
			table := show.NewRows("WORKFLOW", "VERSION", "TASKS", "DECLARED", "DESCRIPTION")
			for _, w := range all.GetWorkflows() {
				v := w.GetVersion()
				table.Add(show.Text(w.GetName(), fmt.Sprint(v.GetNumber()), fmt.Sprint(len(v.GetSpec().GetTasks())), show.Instant(v.GetCreateTime(), c.host.Zone), v.GetSpec().GetDescription())...)
			}
			defer c.more(pages, next, "workflows")
			return c.rows(table)
		})
	})
}

func (c *cli) getWorkflow(ctx context.Context, name string, version int32) error {
	return c.with(func(client *tenon.Client) error {
		got, err := ask(ctx, c, client.Registry().GetWorkflow, &registryv1.GetWorkflowRequest{Name: name, Version: version})
		if err != nil {
			return err
		}
		return c.answer(got, func() error { return c.showWorkflow(got.GetWorkflow()) })
	})
}

func (c *cli) showWorkflow(w *registryv1.Workflow) error {
	v, spec := w.GetVersion(), w.GetVersion().GetSpec()
	f := newFacts()
	f.add("Workflow", fmt.Sprintf("%s  %s", w.GetName(), w.GetId()))
	f.add("Version", fmt.Sprintf("%d  declared %s  %.12s", v.GetNumber(), show.Instant(v.GetCreateTime(), c.host.Zone), v.GetDigest()))
	f.add("Description", spec.GetDescription())
	f.add("Run timeout", show.Setting(spec.GetRunTimeout()))
	if spec.DefaultPriority != nil {
		f.add("Priority", fmt.Sprint(spec.GetDefaultPriority()))
	}
	if spec.GetRetention() != registryv1.Retention_RETENTION_UNSPECIFIED {
		f.add("Retention", word(spec.GetRetention()))
	}
	const clip = 300
	f.add("Input schema", show.Clip(spec.GetInputSchemaJson(), clip))
	if err := c.rows(f.rows); err != nil {
		return err
	}
	if err := c.say(""); err != nil {
		return err
	}
	return c.showTasks(spec)
}

// showTasks draws the tasks as a tree, each with what it sets or inherits.
func (c *cli) showTasks(spec *registryv1.WorkflowSpec) error {
	specs := make(map[string]*registryv1.TaskSpec, len(spec.GetTasks()))
	tasks := make([]*runsv1.Task, len(spec.GetTasks()))
	for i, t := range spec.GetTasks() {
		specs[t.GetName()] = t
		tasks[i] = &runsv1.Task{Name: t.GetName(), Parents: t.GetParents()}
	}
	defaults := spec.GetDefaults()
	table := show.NewRows("TASK", "ALSO AFTER", "QUEUE", "RETRIES", "TIMEOUT")
	for _, b := range progress.Tree(tasks) {
		t := specs[b.Task.GetName()]
		retry, timeout := t.GetRetry(), t.GetExecutionTimeout()
		if retry == nil {
			retry = defaults.GetRetry()
		}
		if timeout == nil {
			timeout = defaults.GetExecutionTimeout()
		}
		table.Add(show.Text(b.Lead+t.GetName(), strings.Join(b.After, ", "), first(t.GetQueue(), defaults.GetQueue(), spec.GetName()), fmt.Sprint(retry.GetMaxRetries()),
			first(show.Setting(timeout), "5m0s"))...)
	}
	return c.rows(table)
}

func (c *cli) listVersions(ctx context.Context, name string, pages *paging) error {
	return c.with(func(client *tenon.Client) error {
		all := &registryv1.ListWorkflowVersionsResponse{}
		next, err := pages.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Registry().ListWorkflowVersions, &registryv1.ListWorkflowVersionsRequest{Name: name, PageSize: size, PageToken: token})
			all.Versions = append(all.Versions, page.GetVersions()...)
			return len(page.GetVersions()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			table := show.NewRows("VERSION", "DECLARED", "TASKS", "DIGEST")
			for _, v := range all.GetVersions() {
				const digits = 12
				table.Add(append(show.Text(fmt.Sprint(v.GetNumber()), show.Instant(v.GetCreateTime(), c.host.Zone), fmt.Sprint(len(v.GetSpec().GetTasks()))),
					show.Cell{Text: fmt.Sprintf("%.*s", digits, v.GetDigest()), Colour: show.Dim})...)
			}
			defer c.more(pages, next, "versions")
			return c.rows(table)
		})
	})
}

func (c *cli) diffWorkflow(ctx context.Context, args []string) error {
	var versions [2]int32 // from, to; 0 where it is left out
	for i, arg := range args[1:] {
		n, err := strconv.ParseInt(strings.TrimPrefix(arg, "v"), 10, 32)
		if err != nil || n < 1 {
			return badCall("%q is no version: give its number", show.OneLine(arg))
		}
		versions[i] = int32(n)
	}
	return c.with(func(client *tenon.Client) error {
		get := func(version int32) (*registryv1.WorkflowVersion, error) {
			got, err := ask(ctx, c, client.Registry().GetWorkflow, &registryv1.GetWorkflowRequest{Name: args[0], Version: version})
			return got.GetWorkflow().GetVersion(), err
		}
		to, err := get(versions[1])
		if err != nil {
			return err
		}
		from := versions[0]
		if from == 0 {
			if from = to.GetNumber() - 1; from == 0 {
				return problem{code: ExitNotFound, message: fmt.Sprintf("workflow %q has one version, which differs from none", args[0]), next: "tenon workflows get " + args[0]}
			}
		}
		before, err := get(from)
		if err != nil {
			return err
		}
		return c.showDiff(args[0], before, to)
	})
}

func (c *cli) showDiff(name string, from, to *registryv1.WorkflowVersion) error {
	before, err := show.YAMLText(from.GetSpec())
	if err != nil {
		return err
	}
	after, err := show.YAMLText(to.GetSpec())
	if err != nil {
		return err
	}
	diff, err := show.Diff(fmt.Sprintf("%s v%d", name, from.GetNumber()), fmt.Sprintf("%s v%d", name, to.GetNumber()), before, after)
	if err != nil {
		return err
	}
	if c.format == show.Table {
		if diff == "" {
			return c.say("versions %d and %d of workflow %s are the same", from.GetNumber(), to.GetNumber(), name)
		}
		return show.WriteDiff(c.host.Out, diff, c.colours(c.host.OutTerminal))
	}
	old, err := show.Fragment(from)
	if err != nil {
		return err
	}
	young, err := show.Fragment(to)
	if err != nil {
		return err
	}
	return show.Value(c.host.Out, c.format, map[string]any{"from": old, "to": young, "diff": diff})
}
