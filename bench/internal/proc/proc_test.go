package proc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tenon-run/tenon/bench/internal/proc"
)

// This test's own program is the child, as the bench's is.
func TestMain(m *testing.M) {
	switch os.Getenv(proc.RoleVariable) {
	case "adder":
		err := proc.Serve(context.Background(), os.Stdin, os.Stdout, map[string]proc.Handler{
			"add":  proc.Handle(func(_ context.Context, args []int) (int, error) { return args[0] + args[1], nil }),
			"fail": proc.Handle(func(context.Context, struct{}) (int, error) { return 0, errors.New("no luck") }),
			"die": proc.Handle(func(context.Context, struct{}) (int, error) {
				fmt.Fprintln(os.Stderr, "dying as told")
				os.Exit(3)
				return 0, nil
			}),
			"hang": proc.Handle(func(ctx context.Context, _ struct{}) (int, error) {
				<-ctx.Done()
				return 0, nil
			}),
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	default:
		goleak.VerifyTestMain(m)
	}
}

func start(t *testing.T) *proc.Process {
	t.Helper()
	child, err := proc.Start(proc.Config{Name: "adder", Role: "adder", Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Stop() }) // its result is the business of the tests that stop it themselves
	return child
}

func TestAskAndStop(t *testing.T) {
	t.Parallel()
	child := start(t)
	for i := range 3 {
		var sum int
		if err := child.Ask(t.Context(), "add", []int{i, 40}, &sum); err != nil || sum != 40+i {
			t.Errorf("%d + 40 = %d, %v", i, sum, err)
		}
	}
	if err := child.Ask(t.Context(), "fail", struct{}{}, nil); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("a failure reads %v", err)
	}
	if err := child.Ask(t.Context(), "sing", struct{}{}, nil); err == nil || !strings.Contains(err.Error(), "nobody here does sing") {
		t.Errorf("an unknown wish reads %v", err)
	}
	if err := child.Stop(); err != nil {
		t.Error(err)
	}
}

func TestADeadChildIsAnErrorWithItsLog(t *testing.T) {
	t.Parallel()
	child := start(t)
	if err := child.Ask(t.Context(), "die", struct{}{}, nil); err == nil || !strings.Contains(err.Error(), "dying as told") {
		t.Errorf("got %v", err)
	}
	<-child.Done()
	if err := child.Stop(); err == nil {
		t.Error("a bad end goes unnoticed")
	}
}

func TestAKilledChildNeedsNoStop(t *testing.T) {
	t.Parallel()
	child := start(t)
	child.Kill()
	<-child.Done()
	if err := child.Stop(); err != nil {
		t.Errorf("its end is held against it: %v", err)
	}
}

func TestAnEndedWaitStopsTheChild(t *testing.T) {
	t.Parallel()
	child := start(t)
	given := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(given)
	if err := child.Ask(ctx, "hang", struct{}{}, nil); !errors.Is(err, given) {
		t.Errorf("got %v", err)
	}
	<-child.Done()
}
