package testkit

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// stopTimeout bounds the stop of the test cluster: 20 s.
const stopTimeout = 20 * time.Second

// Main runs a package's tests, stops the Postgres that Database started, fails when a goroutine is left over, and exits.
func Main(m *testing.M) {
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := shared.stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "testkit: stop the test cluster:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "testkit: goroutines are left over after the tests:", err)
			code = 1
		}
	}
	os.Exit(code) //nolint:gocritic // cancel has nothing left to free.
}
