// Command worker runs the tasks of the stdindex example: it indexes a tree of Go sources, by default the standard library, with one child run for
// each package. It takes the server's address and its token from TENON_CLIENT_ADDRESS and TENON_CLIENT_TOKEN and runs until it is interrupted.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	tenon "github.com/tenon-run/tenon/sdk/go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("worker", flag.ContinueOnError)
	flags.SetOutput(stderr)
	slots := flags.Int("slots", 4, "tasks at a time")
	name := flags.String("name", "", "shown with the worker (default: the host's name)")
	root := flags.String("root", "", "tree to index when a run's input names none (default: the standard library)")
	trace := flags.Bool("trace", false, "print a line of JSON on standard output when a task starts and when it ends")
	quiet := flags.Bool("quiet", false, "log warnings only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	level := slog.LevelInfo
	if *quiet {
		level = slog.LevelWarn
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	client, err := tenon.NewClient(tenon.WithLogger(logger))
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // nothing is left to send
	parse := parsePackage()
	opts := []tenon.WorkerOption{tenon.WithSlots(*slots), tenon.WithWorkerName(*name), tenon.WithWorkflows(parse, stdlibIndex(parse, *root))}
	if *trace {
		opts = append(opts, tenon.WithInterceptors(tracer(stdout)))
	}
	worker, err := client.NewWorker(opts...)
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}

// event is a line of the trace.
type event struct {
	Event    string `json:"event"` // "start" or "end"
	Run      string `json:"run"`
	Workflow string `json:"workflow"`
	Task     string `json:"task"`
	Attempt  int    `json:"attempt"`
	Error    string `json:"error,omitempty"`
}

// tracer prints a line when a task starts and when it ends.
func tracer(out io.Writer) tenon.Interceptor {
	var mu sync.Mutex
	encoder := json.NewEncoder(out)
	say := func(e event) error {
		mu.Lock()
		defer mu.Unlock()
		return encoder.Encode(e)
	}
	return func(ctx tenon.Context, next func(tenon.Context) error) error {
		e := event{Event: "start", Run: ctx.RunID(), Workflow: ctx.WorkflowName(), Task: ctx.TaskName(), Attempt: ctx.Attempt()}
		if err := say(e); err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		err := next(ctx)
		e.Event = "end"
		if err != nil {
			e.Error = err.Error()
		}
		if said := say(e); err == nil && said != nil {
			return fmt.Errorf("trace: %w", said)
		}
		return err
	}
}
