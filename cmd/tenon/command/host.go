package command

import (
	"context"
	"io"
	"time"
)

// Host is the outside world as a command sees it.
type Host struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	// OutTerminal and ErrTerminal say that the stream is a terminal.
	OutTerminal, ErrTerminal bool
	// Secret reads a line from the terminal without echo, until ctx ends; nil where there is no terminal to ask at.
	Secret func(ctx context.Context) (string, error)
	// Size is the terminal's width and height in characters; 0 where that is not known.
	Size func() (width, height int)
	// Now is the time, Zone where the reader is.
	Now  func() time.Time
	Zone *time.Location
}

// Exit codes. Those from 10 on tell how a run ended, so that a script can branch on it.
const (
	ExitOK           = 0
	ExitFailure      = 1
	ExitUsage        = 2
	ExitNotSignedIn  = 3
	ExitDenied       = 4
	ExitNotFound     = 5
	ExitUnreachable  = 6
	ExitRunFailed    = 10
	ExitRunCancelled = 11
	ExitRunTimedOut  = 12
	// ExitInterrupted is what shells give for Ctrl-C.
	ExitInterrupted = 130
)

const exitCodes = `Exit codes:

      0  done; for a run that was waited for: it completed
      1  the server refused, or something went wrong
      2  the command was wrong: a flag, an argument, an input
      3  not signed in, or the token is good no more
      4  the role or the token's scopes do not allow it
      5  the object does not exist
      6  the server cannot be reached
     10  the run failed
     11  the run was cancelled
     12  the run timed out
    130  interrupted with Ctrl-C`
