package tenon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	tenon "github.com/tenon-run/tenon/sdk/go"
	"github.com/tenon-run/tenon/sdk/go/internal/faketenon"
)

// connect gives a client of a server in memory; a program would call tenon.NewClient() with TENON_CLIENT_TOKEN set.
func connect() (*tenon.Client, func()) {
	server := faketenon.New()
	client, err := tenon.NewClient(
		tenon.WithToken(faketenon.Token), tenon.WithAddress(server.URL()), tenon.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
	)
	if err != nil {
		panic(err)
	}
	return client, func() {
		_ = client.Close()
		server.Close()
	}
}

// serve runs a worker until stop is called.
func serve(client *tenon.Client, opts ...tenon.WorkerOption) (stop func()) {
	worker, err := client.NewWorker(opts...)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- worker.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			panic(err)
		}
	}
}

// declared triggers until the worker has declared the workflow.
func declared[In, Out any](wf *tenon.Workflow[In, Out], client *tenon.Client, in In) (Out, error) {
	for {
		run, err := wf.Trigger(context.Background(), client, in)
		if err == nil {
			return run.Result(context.Background())
		}
	}
}

func ExampleNewTask() {
	client, closeAll := connect()
	defer closeAll()
	greet := tenon.NewTask("greet", func(ctx tenon.Context, name string) (string, error) {
		ctx.Logger().Info("greeting", "name", name)
		return "Hello, " + name + "!", nil
	}, tenon.WithRetries(3))
	defer serve(client, tenon.WithWorkflows(greet))()

	out, err := declared(greet, client, "Ada")
	fmt.Println(out, err)
	// Output: Hello, Ada! <nil>
}

func ExampleAddTask() {
	client, closeAll := connect()
	defer closeAll()
	wf := tenon.NewWorkflow[int, string]("price")
	net := tenon.AddTask(wf, "net", func(_ tenon.Context, pieces int) (int, error) { return pieces * 100, nil })
	tenon.AddTask(wf, "gross", func(ctx tenon.Context, pieces int) (string, error) {
		sum, err := tenon.ParentOutput(ctx, net)
		return fmt.Sprintf("%d pieces cost %d", pieces, sum*119/100), err
	}, tenon.WithParents(net), tenon.WithRetries(2))
	defer serve(client, tenon.WithWorkflows(wf))()

	out, err := declared(wf, client, 3)
	fmt.Println(out, err)
	// Output: 3 pieces cost 357 <nil>
}

func ExampleChildren() {
	client, closeAll := connect()
	defer closeAll()
	square := tenon.NewTask("square", func(_ tenon.Context, n int) (int, error) { return n * n, nil })
	sum := tenon.NewTask("sum-of-squares", func(ctx tenon.Context, n int) (int, error) {
		var children []tenon.Child[int]
		for i := 1; i <= n; i++ {
			children = append(children, tenon.Child[int]{Key: fmt.Sprint(i), Input: i})
		}
		squares, err := tenon.Children(ctx, square, children)
		total := 0
		for _, s := range squares {
			total += s
		}
		return total, err
	})
	defer serve(client, tenon.WithSlots(1), tenon.WithWorkflows(square, sum))()

	out, err := declared(sum, client, 4)
	fmt.Println(out, err)
	// Output: 30 <nil>
}

func ExampleErrorf() {
	client, closeAll := connect()
	defer closeAll()
	pay := tenon.NewTask("pay", func(_ tenon.Context, cents int) (string, error) {
		return "", tenon.NonRetryable(tenon.Errorf("card_declined", "the card does not cover %d cents", cents))
	}, tenon.WithRetries(5))
	defer serve(client, tenon.WithWorkflows(pay))()

	_, err := declared(pay, client, 995)
	failed, _ := errors.AsType[*tenon.RunError](err)
	fmt.Println(failed.Status, failed.Kind, failed.Message)
	// Output: failed card_declined the card does not cover 995 cents
}
