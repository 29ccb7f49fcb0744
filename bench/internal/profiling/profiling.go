// Package profiling writes a CPU profile between two SIGUSR1. The bench's own processes call Watch; into the server under test the same file is
// built in with `go build -overlay` when a profile is asked for, so that the server itself needs no door for it. Standard library only.
package profiling

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

// Variable names the environment variable with the file to write; without it Watch does nothing.
const Variable = "TENON_BENCH_PROFILE"

// Watch starts a goroutine for the life of the process. The first signal begins a profile, the next one ends it: then the file appears, complete.
func Watch() {
	path := os.Getenv(Variable)
	if path == "" {
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			if err := record(path, signals); err != nil {
				fmt.Fprintln(os.Stderr, "profiling:", err)
			}
		}
	}()
}

func record(path string, signals <-chan os.Signal) error {
	file, err := os.Create(path + ".part") //nolint:gosec // the bench's own folder
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	<-signals
	pprof.StopCPUProfile()
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}
