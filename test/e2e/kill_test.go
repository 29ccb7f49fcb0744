package e2e

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/test/history"
	"github.com/tenon-run/tenon/test/load"
)

// A worker is killed with -9 in the middle of a load: what was acknowledged completes, with the right result, and nothing happens that no attempt
// accounts for.
func TestKilledWorkerLosesNothing(t *testing.T) {
	t.Parallel()
	const slots, mark, atLeast, clients, batch, before, afterwards = 100, 70, 50, 3, 200, 3, 6
	server := apptest.Start(t)
	_, token := server.Token(t, server.Owner, "", time.Hour)
	dir := t.TempDir()
	start := func(name string) (*load.Worker, string) {
		file := filepath.Join(dir, name)
		w, err := load.Start(load.Config{Name: name, Address: server.Address, Token: token, Slots: slots, File: file})
		if err != nil {
			t.Fatal(err)
		}
		return w, file
	}
	victim, victimFile := start("victim")
	survivor, survivorFile := start("survivor")
	t.Cleanup(func() {
		if err := survivor.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c := &load.Client{API: client(t, server, authz.RoleDeveloper), Recorder: history.NewRecorder(), Batch: batch}
	untilKnown(t, func() (*registryv1.GetWorkflowResponse, error) {
		return c.API.Registry().GetWorkflow(ctx, &registryv1.GetWorkflowRequest{Name: "load"})
	})
	batches, enough := make(chan struct{}), make(chan struct{})
	var triggering sync.WaitGroup
	for range clients {
		triggering.Go(func() {
			for {
				if err := c.Once(ctx); err != nil {
					t.Error(err)
					return
				}
				select {
				case batches <- struct{}{}:
				case <-enough:
					return
				case <-ctx.Done():
					return
				}
			}
		})
	}
	next := func(n int) {
		for range n {
			select {
			case <-batches:
			case <-ctx.Done():
				return
			}
		}
	}
	next(before)
	var running int
	dead := make(chan error, 1)
	go func() {
		var err error
		running, err = victim.KillAt(ctx, mark)
		dead <- err
	}()
	for alive := true; alive; {
		select {
		case <-batches:
		case err := <-dead:
			if err != nil {
				t.Error(err)
			}
			alive = false
		}
	}
	next(afterwards)
	close(enough)
	triggering.Wait()
	if running < atLeast {
		t.Errorf("%d attempts ran on the worker when it was killed, want at least %d", running, atLeast)
	}
	executions, err := history.ReadExecutions(victimFile, survivorFile)
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := history.Check(ctx, c.API.Runs(), history.Evidence{Recorder: c.Recorder, Executions: executions, Killed: []string{"victim"}})
	if err != nil {
		t.Fatal(err)
	}
	// A start that the server had not heard of when the worker died is no lost attempt: the task was still on its way. So the work done again is counted.
	again := verdict.Executions - verdict.Acknowledged
	t.Logf("%d runs acknowledged, %d attempts ran on the killed worker, %d executions were repeated, %d attempts were lost", verdict.Acknowledged, running, again, verdict.LostAttempts)
	for _, v := range verdict.Violations {
		t.Error(v)
	}
	if verdict.Acknowledged != c.Recorder.Acknowledgements() || verdict.Acknowledged < clients*batch {
		t.Errorf("%d of %d acknowledged runs were judged", verdict.Acknowledged, c.Recorder.Acknowledgements())
	}
	if again < 1 || again > slots || verdict.LostAttempts > slots {
		t.Errorf("%d executions were repeated and %d attempts were lost with a worker of %d slots", again, verdict.LostAttempts, slots)
	}
}
