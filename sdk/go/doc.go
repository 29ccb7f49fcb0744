// Package tenon is the Go SDK of Tenon: it declares workflows, runs them on workers and triggers them from any program.
//
// A single task is a workflow by itself:
//
//	greet := tenon.NewTask("greet", func(ctx tenon.Context, in Person) (Greeting, error) {
//		ctx.Logger().Info("greeting", "name", in.Name)
//		return Greeting{Text: "Hello, " + in.Name}, nil
//	}, tenon.WithRetries(3))
//
// A workflow with several tasks is a directed acyclic graph; a task starts when the results of its parents are durable:
//
//	wf := tenon.NewWorkflow[Order, Receipt]("order")
//	charge := tenon.AddTask(wf, "charge", chargeCard)
//	tenon.AddTask(wf, "ship", func(ctx tenon.Context, in Order) (Receipt, error) {
//		payment, err := tenon.ParentOutput(ctx, charge)
//		...
//	}, tenon.WithParents(charge))
//
// A worker declares its workflows to the server and runs their tasks until its context ends:
//
//	client, err := tenon.NewClient()               // TENON_CLIENT_TOKEN and TENON_CLIENT_ADDRESS
//	worker, err := client.NewWorker(tenon.WithSlots(20), tenon.WithWorkflows(greet, wf))
//	err = worker.Run(ctx)
//
// Any program with an API token triggers runs and reads their results:
//
//	out, err := greet.TriggerAndWait(ctx, client, Person{Name: "Ada"})
//
// Share one [Client] between goroutines: what they trigger at the same time travels together, without any delay for who is alone.
//
// # What is promised
//
// A task is executed at least once, and of its attempts exactly one result is used. A worker keeps a result until the server has stored it,
// over any number of broken connections. Runs are triggered under ids that the SDK makes, so a call that is sent twice starts one run.
// Inputs and outputs are JSON by encoding/json, up to the server's payload limit (4 MiB by default).
//
// Everything here is safe for use by several goroutines, except that a workflow must be complete (all [AddTask] calls made) before it is given to a worker.
package tenon
