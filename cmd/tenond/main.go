// Command tenond is the Tenon server: `tenond dev` runs everything on this machine, `tenond serve` runs it in production on a Postgres and
// a NATS of yours, `tenond migrate` brings a database to the newest schema.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/embedded"
	"github.com/tenon-run/tenon/internal/fault"
)

// gcPercent lets the heap grow to four times what is in use before it is collected: the server's messages die young, and what lives is small.
// GOGC overrides it.
const gcPercent = 300

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "tenond", Short: "The Tenon server", Version: app.Version, SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	root.AddCommand(devCommand(), demoCommand(), serveCommand(), migrateCommand(), keysCommand(), tenantsCommand(), natsCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "tenond:", explain(err))
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

// explain is the error as its reader needs it: a second start is told where the first one runs.
func explain(err error) string {
	if running, ok := errors.AsType[*embedded.AlreadyRunning](err); ok {
		return running.Error() + "; stop it with Ctrl-C there, or use another folder with --data"
	}
	return fault.Detail(err)
}
