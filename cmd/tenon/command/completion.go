package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// offer asks the server for what may be typed next. Whoever is not signed in, or offline, is offered nothing, and soon.
func (c *cli) offer(cmd *cobra.Command, read func(ctx context.Context, client *tenon.Client) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	client, err := c.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close() //nolint:errcheck // it only ends idle connections
	found, err := read(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// page is how many things are offered at most.
const page = 50

func (c *cli) completeWorkflows(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.offer(cmd, func(ctx context.Context, client *tenon.Client) (out []cobra.Completion, err error) {
		const all = 1000
		list, err := client.Registry().ListWorkflows(ctx, &registryv1.ListWorkflowsRequest{PageSize: all})
		for _, w := range list.GetWorkflows() {
			out = append(out, cobra.CompletionWithDesc(w.GetName(), w.GetVersion().GetSpec().GetDescription()))
		}
		return out, err
	})
}

// completeWorkflowFlag is for a flag, to which the arguments do not matter.
func (c *cli) completeWorkflowFlag(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.completeWorkflows(cmd, nil, typed)
}

func (c *cli) completeRuns(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.offer(cmd, func(ctx context.Context, client *tenon.Client) (out []cobra.Completion, err error) {
		list, err := client.Runs().ListRuns(ctx, &runsv1.ListRunsRequest{PageSize: page})
		for _, run := range list.GetRuns() {
			out = append(out, cobra.CompletionWithDesc(run.GetId(), run.GetWorkflow()+" "+progress.RunStatus(run.GetStatus())))
		}
		return out, err
	})
}

func (c *cli) completeWorkers(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.offer(cmd, func(ctx context.Context, client *tenon.Client) (out []cobra.Completion, err error) {
		list, err := client.WorkerAdmin().ListWorkers(ctx, &workersv1.ListWorkersRequest{PageSize: page, AttachedOnly: true})
		for _, w := range list.GetWorkers() {
			out = append(out, cobra.CompletionWithDesc(w.GetId(), w.GetName()+" "+word(w.GetStatus())))
		}
		return out, err
	})
}

func (c *cli) completeTokens(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.offer(cmd, func(ctx context.Context, client *tenon.Client) (out []cobra.Completion, err error) {
		list, err := client.Identity().ListTokens(ctx, &identityv1.ListTokensRequest{PageSize: page})
		for _, t := range list.GetTokens() {
			if t.GetRevokeTime() == nil {
				out = append(out, cobra.CompletionWithDesc(t.GetId(), t.GetName()))
			}
		}
		return out, err
	})
}

func (c *cli) completeMembers(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.offer(cmd, func(ctx context.Context, client *tenon.Client) (out []cobra.Completion, err error) {
		list, err := client.Identity().ListMembers(ctx, &identityv1.ListMembersRequest{PageSize: page})
		for _, m := range list.GetMembers() {
			out = append(out, cobra.CompletionWithDesc(m.GetUser().GetEmail(), word(m.GetRole())))
		}
		return out, err
	})
}

func (c *cli) completeInvitations(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.offer(cmd, func(ctx context.Context, client *tenon.Client) (out []cobra.Completion, err error) {
		list, err := client.Identity().ListInvitations(ctx, &identityv1.ListInvitationsRequest{PageSize: page})
		for _, i := range list.GetInvitations() {
			if c.invitationState(i).Text == "open" {
				out = append(out, cobra.CompletionWithDesc(i.GetId(), word(i.GetRole())))
			}
		}
		return out, err
	})
}

func (c *cli) completeMemberRole(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return words(roles), cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeMembers(cmd, args, typed)
}

func (c *cli) completeTenants(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.offer(cmd, func(ctx context.Context, client *tenon.Client) (out []cobra.Completion, err error) {
		list, err := client.Identity().ListTenants(ctx, &identityv1.ListTenantsRequest{PageSize: page})
		for _, m := range list.GetMemberships() {
			out = append(out, cobra.CompletionWithDesc(m.GetTenant().GetSlug(), m.GetTenant().GetDisplayName()))
		}
		return out, err
	})
}

func (c *cli) completeProfiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	store, err := c.store()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, name := range store.Names() {
		out = append(out, cobra.CompletionWithDesc(name, store.Profiles[name].Address))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
