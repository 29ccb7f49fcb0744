// Command firstworker is the README's first worker.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	tenon "github.com/tenon-run/tenon/sdk/go"
)

func main() {
	greet := tenon.NewTask("greet", func(ctx tenon.Context, name string) (string, error) {
		ctx.Logger().Info("greeting", "name", name)
		return "Hello, " + name + "!", nil
	}, tenon.WithRetries(3))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client, err := tenon.NewClient() // TENON_CLIENT_TOKEN, TENON_CLIENT_ADDRESS
	if err != nil {
		log.Fatal(err)
	}
	worker, err := client.NewWorker(tenon.WithWorkflows(greet))
	if err != nil {
		log.Fatal(err)
	}
	log.Print(worker.Run(ctx))
}
