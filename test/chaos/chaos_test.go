package chaos_test

import (
	"context"
	"testing"
	"time"

	"github.com/tenon-run/tenon/test/chaos"
)

// through is how many attempts must be running through a victim.
const through = 100

// Every fault once, on one install under load, and then everything against everything: what was acknowledged completes, with one final state, with
// results that never change, and nothing happens that no attempt accounts for.
func TestUnderFire(t *testing.T) {
	t.Parallel()
	const most = 12 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	install, err := chaos.Start(ctx, chaos.Config{Through: through, Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := install.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	for _, fault := range chaos.Faults() {
		t.Run(fault.Name, func(t *testing.T) { //nolint:paralleltest // one after the other, on one install
			result := install.Inflict(ctx, fault)
			t.Logf("%d attempts ran through it, %d were adopted, %d lost; %s", result.Running, result.Adopted, result.Lost, result.Note)
			for _, v := range result.Violations {
				t.Error(v)
			}
			if result.Running < through {
				t.Errorf("%d attempts ran through the victim when it was struck, want at least %d", result.Running, through)
			}
		})
	}
	t.Run("history", func(t *testing.T) { //nolint:paralleltest // after all faults
		totals, err := install.Verdict(ctx)
		t.Log(totals)
		if err != nil {
			t.Error(err)
		}
		for _, v := range totals.Violations {
			t.Error(v)
		}
		if totals.Acknowledged == 0 || totals.Adopted == 0 {
			t.Errorf("nothing was tried: %s", totals)
		}
	})
}
