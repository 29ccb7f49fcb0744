// Command tenon is the command line of Tenon: it triggers workflows, watches and steers their runs, and manages tokens, tenants and members of a server.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/tenon-run/tenon/cmd/tenon/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends what does not end by the first.
	context.AfterFunc(ctx, stop)
	code := command.Run(ctx, host(), os.Args[1:])
	stop()
	os.Exit(code)
}

func host() command.Host {
	h := command.Host{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now, Zone: time.Local, //nolint:gosmopolitan // people read their own time
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())), ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Size: func() (width, height int) {
			width, height, err := term.GetSize(int(os.Stdout.Fd()))
			if err != nil {
				return 0, 0
			}
			return width, height
		},
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		h.Secret = secret
	}
	return h
}

// secret reads a line without echo. When ctx ends first, the terminal gets its echo back.
func secret(ctx context.Context) (string, error) {
	stdin := int(os.Stdin.Fd())
	before, err := term.GetState(stdin)
	if err != nil {
		return "", err
	}
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := term.ReadPassword(stdin)
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return string(r.text), r.err
	case <-ctx.Done():
		_ = term.Restore(stdin, before)
		return "", context.Cause(ctx)
	}
}
