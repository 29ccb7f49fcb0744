package browser

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// nobody is a queue that no worker serves.
const nobody = "nobody"

// account is a user who signs in.
type account struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// signUp makes a user, with a tenant of each slug.
func signUp(t *testing.T, server *apptest.Server, name string, slugs ...string) account {
	t.Helper()
	user := account{Email: name + "@example.com", Password: rand.Text()}
	session, err := server.Identity.SignUp(t.Context(), user.Email, user.Password, name)
	must(t, err)
	owner := authn.Principal{Kind: authn.KindUser, UserID: session.User.ID, Role: authz.RoleUser}
	for _, slug := range slugs {
		addTenant(t, server, owner, slug, "")
	}
	return user
}

// addTenant gives a user one more tenant and returns the user as its owner.
func addTenant(t *testing.T, server *apptest.Server, owner authn.Principal, slug, name string) authn.Principal {
	t.Helper()
	made, err := server.Identity.CreateTenant(t.Context(), owner, slug, name)
	must(t, err)
	owner.TenantID, owner.Tenant, owner.Role = made.Number, made.ID, authz.RoleOwner
	return owner
}

// newClient returns a client for a tenant, of a worker where the role is empty, and its token.
func newClient(t *testing.T, server *apptest.Server, owner authn.Principal, role string) (*tenon.Client, string) {
	t.Helper()
	_, token := server.Token(t, owner, role, time.Hour)
	c, err := tenon.NewClient(tenon.WithAddress(server.Address), tenon.WithToken(token), tenon.WithLogger(testkit.Logger(t)))
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c, token
}

// work runs a worker until the test ends.
func work(t *testing.T, server *apptest.Server, owner authn.Principal, opts ...tenon.WorkerOption) {
	t.Helper()
	c, _ := newClient(t, server, owner, "")
	worker, err := c.NewWorker(opts...)
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
}

// start triggers a run as soon as the worker has declared its workflow.
func start[In, Out any](t *testing.T, c *tenon.Client, wf *tenon.Workflow[In, Out], in In, opts ...tenon.TriggerOption) *tenon.Run[Out] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		run, err := wf.Trigger(ctx, c, in, opts...)
		if err == nil {
			return run
		}
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Fatal(err)
		}
	}
}

// until waits for a run to be in a state that the pages should show.
func until(t *testing.T, c *tenon.Client, id string, is func(*runsv1.Run) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := c.Runs().WatchRun(ctx, &runsv1.WatchRunRequest{RunId: id})
	must(t, err)
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		if run := stream.Msg().GetRun(); run != nil && is(run) {
			return
		}
	}
	t.Fatalf("run %s has not become what it should: %v", id, stream.Err())
}

func inStatus(status runsv1.RunStatus) func(*runsv1.Run) bool {
	return func(run *runsv1.Run) bool { return run.GetStatus() == status }
}

func anyTaskIn(status runsv1.TaskStatus) func(*runsv1.Run) bool {
	return func(run *runsv1.Run) bool {
		for _, task := range run.GetTasks() {
			if task.GetStatus() == status {
				return true
			}
		}
		return false
	}
}

// layers is a DAG of 20 tasks.
func layers() *tenon.Workflow[string, string] {
	wf := tenon.NewWorkflow[string, string]("nightly-report")
	echo := func(_ tenon.Context, s string) (string, error) { return s, nil }
	above := []tenon.Parent{tenon.AddTask(wf, "fetch", echo)}
	for layer, name := range []string{"clean", "join", "render"} {
		var row []tenon.Parent
		for i := range 6 {
			row = append(row, tenon.AddTask(wf, fmt.Sprintf("%s-%d-%d", name, layer+1, i+1), echo, tenon.WithParents(above...)))
		}
		above = row
	}
	tenon.AddTask(wf, "publish", echo, tenon.WithParents(above...))
	return wf
}

// order is a workflow as shops have it: steps of some length that say what they do, one of which may fail.
func order() *tenon.Workflow[string, string] {
	wf := tenon.NewWorkflow[string, string]("order-fulfilment")
	step := func(say string, long time.Duration) func(tenon.Context, string) (string, error) {
		return func(ctx tenon.Context, id string) (string, error) {
			ctx.Logger().Info(say, "order", id)
			select {
			case <-time.After(long):
			case <-ctx.Done():
				return "", ctx.Err()
			}
			ctx.Logger().Debug("done", "order", id)
			return id, nil
		}
	}
	const short, middle, long = 20 * time.Millisecond, 60 * time.Millisecond, 140 * time.Millisecond
	check := tenon.AddTask(wf, "validate", step("checking the order", short))
	stock := tenon.AddTask(wf, "reserve-stock", step("reserving what was ordered", middle), tenon.WithParents(check))
	fraud := tenon.AddTask(wf, "score-fraud", step("asking who orders", long), tenon.WithParents(check))
	charge := tenon.AddTask(wf, "charge", func(ctx tenon.Context, id string) (string, error) {
		if strings.HasSuffix(id, "9") {
			ctx.Logger().Warn("the bank said no", "order", id)
			return "", tenon.Errorf("card_declined", "the card of order %s was declined by the bank", id)
		}
		return step("charging the card", middle)(ctx, id)
	}, tenon.WithParents(stock, fraud))
	pack := tenon.AddTask(wf, "pack", step("packing", middle), tenon.WithParents(charge))
	invoice := tenon.AddTask(wf, "invoice", step("writing the invoice", short), tenon.WithParents(charge))
	ship := tenon.AddTask(wf, "ship", step("calling the carrier", long), tenon.WithParents(pack))
	tenon.AddTask(wf, "notify", step("writing to the customer", short), tenon.WithParents(ship, invoice))
	return wf
}

// member makes a user with a role in the tenant acme.
func member(t *testing.T, server *apptest.Server, name, role string) account {
	t.Helper()
	user := signUp(t, server, name)
	_, err := server.Identity.AddMember(t.Context(), server.Owner, user.Email, role)
	must(t, err)
	return user
}

// invite makes a link to the tenant acme and returns what follows "/join/" in it.
func invite(t *testing.T, server *apptest.Server) string {
	t.Helper()
	_, token, err := server.Identity.Invite(t.Context(), server.Owner, authz.RoleAdmin, time.Hour)
	must(t, err)
	return token
}

// workersOf are the ids of a tenant's workers: attached ones first, each part with the newest first.
func workersOf(t *testing.T, server *apptest.Server, owner authn.Principal) []string {
	t.Helper()
	c, _ := newClient(t, server, owner, authz.RoleViewer)
	list, err := c.WorkerAdmin().ListWorkers(t.Context(), &workersv1.ListWorkersRequest{})
	must(t, err)
	var ids []string
	for _, w := range list.GetWorkers() {
		ids = append(ids, w.GetId())
	}
	if len(ids) == 0 {
		t.Fatalf("tenant %s has no workers", owner.Tenant)
	}
	return ids
}

// goneWorker runs a worker with a long name until it is attached, and ends it.
func goneWorker(t *testing.T, server *apptest.Server, owner authn.Principal, wf tenon.Definition) {
	t.Helper()
	c, _ := newClient(t, server, owner, "")
	worker, err := c.NewWorker(tenon.WithWorkflows(wf), tenon.WithWorkerName("reports-worker-7f9c6d5b8-x2x9q.eu-central-1.compute.internal"), tenon.WithQueues(nobody+"-else"))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	admin, _ := newClient(t, server, owner, authz.RoleViewer)
	stream, err := admin.WorkerAdmin().WatchWorkers(ctx, &workersv1.WatchWorkersRequest{})
	must(t, err)
	for stream.Receive() {
		list, err := admin.WorkerAdmin().ListWorkers(t.Context(), &workersv1.ListWorkersRequest{AttachedOnly: true})
		must(t, err)
		if list.GetAttachedWorkers() > 1 {
			break
		}
	}
	cancel()
	must(t, <-ended)
	_ = stream.Close()
}

// older is the token of the second page of a tenant's runs.
func older(t *testing.T, server *apptest.Server, owner authn.Principal) string {
	t.Helper()
	c, _ := newClient(t, server, owner, authz.RoleDeveloper)
	list, err := c.Runs().ListRuns(t.Context(), &runsv1.ListRunsRequest{PageSize: 50})
	must(t, err)
	return list.GetNextPageToken()
}

// runs are the ids of the runs that pages open.
type runs struct{ order, form, layers, failed, long, running, backingOff, cancelled, parent, child string }

// fill puts a run in every state into a tenant. A worker serves it until the test ends.
func fill(t *testing.T, server *apptest.Server, owner authn.Principal) runs {
	t.Helper()
	report, shop := layers(), order()
	greet := tenon.NewTask("greet", func(_ tenon.Context, name string) (string, error) { return "Hello, " + name + "!", nil })
	crash := tenon.NewTask("import-orders", func(_ tenon.Context, s string) (string, error) { panic("no column " + s) })
	long := tenon.NewTask(strings.Repeat("long-workflow-name-", 5)+"tail", func(_ tenon.Context, s string) (string, error) {
		return "", tenon.Errorf("an_unusually_long_kind_of_error", "%s", strings.Repeat(s, 100))
	})
	hold := tenon.NewTask("sync-mailboxes", func(ctx tenon.Context, s string) (string, error) { <-ctx.Done(); return s, ctx.Err() })
	later := tenon.NewTask("charge-card", func(_ tenon.Context, _ string) (string, error) {
		return "", tenon.RetryAfter(errors.New("the bank is closed"), 40*time.Minute)
	}, tenon.WithRetries(3))
	wait := tenon.NewTask("wait-for-approval", func(_ tenon.Context, s string) (string, error) { return s, nil }, tenon.WithQueue(nobody))
	late := tenon.NewTask("send-reminder", func(_ tenon.Context, s string) (string, error) { return s, nil },
		tenon.WithQueue(nobody), tenon.WithScheduleTimeout(time.Millisecond))
	fan := tenon.NewTask("resize-images", func(ctx tenon.Context, n int) (int, error) {
		var children []tenon.Child[string]
		for i := range n {
			children = append(children, tenon.Child[string]{Key: fmt.Sprint(i), Input: fmt.Sprint(i)})
		}
		out, err := tenon.Children(ctx, greet, children)
		return len(out), err
	})
	work(t, server, owner,
		tenon.WithWorkflows(shop, report, greet, crash, long, hold, later, wait, late, fan),
		tenon.WithQueues(shop.Name(), report.Name(), greet.Name(), crash.Name(), long.Name(), hold.Name(), later.Name(), fan.Name()), tenon.WithDrainTimeout(time.Millisecond))

	goneWorker(t, server, owner, greet)
	c, _ := newClient(t, server, owner, authz.RoleDeveloper)
	var out runs
	out.form = greet.Name()
	const orders = 20
	for i := range orders {
		labels := map[string]string{"env": []string{"prod", "staging"}[i%2], "customer": []string{"acme", "globex", "initech"}[i%3]}
		if i == 9 { // as many as there may be, and long ones
			for n := range 14 {
				labels[fmt.Sprintf("team.example/label-%d", n)] = strings.Repeat("unbroken", n+1)
			}
		}
		id := start(t, c, shop, fmt.Sprintf("A-%d", i), tenon.WithLabels(labels)).ID()
		if out.order == "" || i == 9 { // one that fails
			out.order = id
		}
	}
	out.layers = start(t, c, report, "x").ID()
	out.failed = start(t, c, crash, "price").ID()
	out.long = start(t, c, long, "unbrokentext").ID()
	out.running = start(t, c, hold, "x").ID()
	out.backingOff = start(t, c, later, "x").ID()
	out.parent = start(t, c, fan, 3).ID()
	one := start(t, c, fan, 1).ID()
	timedOut := start(t, c, late, "x").ID()
	start(t, c, wait, "x")
	cancelled := start(t, c, wait, "x")
	_, err := cancelled.Cancel(t.Context(), "not needed any more")
	must(t, err)
	out.cancelled = cancelled.ID()
	for id, is := range map[string]func(*runsv1.Run) bool{
		out.order: inStatus(runsv1.RunStatus_RUN_STATUS_FAILED), out.layers: inStatus(runsv1.RunStatus_RUN_STATUS_COMPLETED), out.failed: inStatus(runsv1.RunStatus_RUN_STATUS_FAILED),
		out.long: inStatus(runsv1.RunStatus_RUN_STATUS_FAILED), out.running: anyTaskIn(runsv1.TaskStatus_TASK_STATUS_RUNNING),
		out.backingOff: anyTaskIn(runsv1.TaskStatus_TASK_STATUS_BACKING_OFF), out.parent: inStatus(runsv1.RunStatus_RUN_STATUS_COMPLETED),
		one: inStatus(runsv1.RunStatus_RUN_STATUS_COMPLETED), timedOut: inStatus(runsv1.RunStatus_RUN_STATUS_TIMED_OUT),
		out.cancelled: inStatus(runsv1.RunStatus_RUN_STATUS_CANCELLED),
	} {
		until(t, c, id, is)
	}
	list, err := c.Runs().ListRuns(t.Context(), &runsv1.ListRunsRequest{ParentRunId: out.parent})
	must(t, err)
	if len(list.GetRuns()) != 3 {
		t.Fatalf("the parent has %d children, want 3", len(list.GetRuns()))
	}
	out.child = list.GetRuns()[0].GetId()
	return out
}

// fillMany completes n runs in a tenant and returns a token that triggers more.
func fillMany(t *testing.T, server *apptest.Server, owner authn.Principal, n int) string {
	t.Helper()
	greet := tenon.NewTask("greet", func(_ tenon.Context, name string) (string, error) { return "Hello, " + name + "!", nil })
	work(t, server, owner, tenon.WithWorkflows(greet))
	c, token := newClient(t, server, owner, authz.RoleDeveloper)
	first := start(t, c, greet, "0")
	_, err := first.Result(t.Context())
	must(t, err)
	more, err := greet.TriggerMany(t.Context(), c, make([]string, n-1))
	must(t, err)
	for _, run := range more {
		_, err := run.Result(t.Context())
		must(t, err)
	}
	return token
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
