package registry_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/testkit"
	"github.com/tenon-run/tenon/services/registry"
)

func TestPutMakesVersions(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	steps := []struct {
		description string
		version     int
		created     bool
	}{{"one", 1, true}, {"one", 1, false}, {"two", 2, true}, {"two", 2, false}, {"one", 3, true}}
	var id [16]byte
	for i, step := range steps {
		w, created, err := b.svc.Put(b.ctx, spec("orders", step.description))
		if err != nil {
			t.Fatal(err)
		}
		if created != step.created || w.Version.Number != step.version || w.Name != "orders" || w.Version.Spec.GetDescription() != step.description {
			t.Errorf("step %d: created %v, %+v, want %+v", i, created, w, step)
		}
		if i == 0 {
			id = w.ID
		}
		if w.ID != id || w.Created.IsZero() || w.Version.Created.IsZero() || len(w.Version.Digest) != 64 {
			t.Errorf("step %d: %+v", i, w)
		}
	}
	if want := []string{"orders", "orders", "orders"}; !slices.Equal(b.changed, want) {
		t.Errorf("Changed was called for %v, want %v", b.changed, want)
	}
}

// A declaration that spells a default out is the version that left it out; the answer shows what was declared first.
func TestPutComparesMeaning(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	first := b.put(t, spec("orders", ""))
	s := spec("orders", "")
	s.Tasks[0].Queue = "orders"
	w, created, err := b.svc.Put(b.ctx, s)
	if err != nil || created || w.Version.Digest != first.Version.Digest || !proto.Equal(w.Version.Spec, spec("orders", "")) {
		t.Errorf("created %v, %+v, %v", created, w, err)
	}
}

func TestPutRefusesFaults(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	s := spec("orders", "")
	s.Tasks[0].Parents = []string{"nobody"}
	s.Tasks[0].Queue = "?"
	_, _, err := b.svc.Put(b.ctx, s)
	if !fault.Is(err, fault.CodeInvalid) || !fault.HasReason(err, registry.ReasonInvalid) {
		t.Fatalf("Put = %v, want Invalid", err)
	}
	var paths []string
	for _, f := range fault.Of(err).Fields {
		paths = append(paths, f.Path)
	}
	if want := []string{"spec.tasks[0].queue", "spec.tasks[0].parents[0]"}; !slices.Equal(paths, want) {
		t.Errorf("fields %v, want %v", paths, want)
	}
	if n := b.count(t, "workflows"); n != 0 {
		t.Errorf("%d workflows were made", n)
	}
}

func TestPutNeedsATenant(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	if _, _, err := b.svc.Put(t.Context(), spec("orders", "")); !fault.Is(err, fault.CodeUnauthenticated) {
		t.Errorf("Put without a tenant: %v", err)
	}
}

// Twenty processes start at once and declare the same: one version comes of it.
func TestPutConcurrentlyTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var made atomic.Int64
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			w, created, err := b.svc.Put(b.ctx, spec("orders", "same"))
			if err != nil || w.Version.Number != 1 {
				t.Errorf("version %d, %v", w.Version.Number, err)
			}
			if created {
				made.Add(1)
			}
		})
	}
	wait.Wait()
	if made.Load() != 1 || b.count(t, "workflows") != 1 || b.count(t, "workflow_versions") != 1 {
		t.Errorf("%d puts made a version, %d workflows, %d versions, want one each", made.Load(), b.count(t, "workflows"), b.count(t, "workflow_versions"))
	}
}

// Different declarations at once become versions without gaps.
func TestPutConcurrentlyDifferent(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var mu sync.Mutex
	var numbers []int
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			w, created, err := b.svc.Put(b.ctx, spec("orders", fmt.Sprint(i)))
			if err != nil || !created || w.Version.Spec.GetDescription() != fmt.Sprint(i) {
				t.Errorf("put %d: created %v, %+v, %v", i, created, w, err)
			}
			mu.Lock()
			defer mu.Unlock()
			numbers = append(numbers, w.Version.Number)
		})
	}
	wait.Wait()
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != i+1 {
			t.Fatalf("versions %v, want 1 to 20", numbers)
		}
	}
}

func TestPutLimits(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *registry.Config) { cfg.MaxWorkflows, cfg.MaxVersions = 3, 2 })
	var refused atomic.Int64
	var wait sync.WaitGroup
	for i := range 8 { // at once, so that a count without a lock would let too many through
		wait.Go(func() {
			_, _, err := b.svc.Put(b.ctx, spec(fmt.Sprintf("w%d", i), ""))
			if fault.HasReason(err, registry.ReasonTooManyWorkflows) && fault.Is(err, fault.CodeResourceExhausted) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := b.count(t, "workflows"); n != 3 || refused.Load() != 5 {
		t.Errorf("%d workflows and %d refused, want 3 and 5", n, refused.Load())
	}
	if _, _, err := b.svc.Put(b.other, spec("mine", "1")); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	if _, _, err := b.svc.Put(b.other, spec("mine", "2")); err != nil {
		t.Error(err)
	}
	_, _, err := b.svc.Put(b.other, spec("mine", "3"))
	if !fault.Is(err, fault.CodeResourceExhausted) || !fault.HasReason(err, registry.ReasonTooManyVersions) {
		t.Errorf("a third version: %v", err)
	}
	if _, created, err := b.svc.Put(b.other, spec("mine", "2")); err != nil || created {
		t.Errorf("the newest once more: created %v, %v", created, err)
	}
}

func TestPutHints(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	hints := make(chan string, 10)
	sub, err := b.bus.Subscribe(definition.ChangedSubject(b.tenantID), func(msg bus.Msg) { hints <- string(msg.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for _, s := range []string{"orders", "orders", "mails"} {
		b.put(t, spec(s, ""))
	}
	if first, second := <-hints, <-hints; first != "orders" || second != "mails" {
		t.Errorf("hints %q and %q, want one for each new version", first, second)
	}
}

// Whoever has put a workflow and triggers it in the same process gets the new version, without waiting for a hint.
func TestPutIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	var plans *definition.Plans
	b := setup(t, nil)
	// A bus that loses everything.
	deaf := bus.WithFaults(b.bus, func(bus.Call) bus.Harm { return bus.Harm{Drop: true} })
	defer deaf.Close()
	svc, err := registry.New(registry.Config{Pool: b.pool, Bus: deaf, Log: testkit.Logger(t), Changed: func(tenantID int64, name string) { plans.Forget(tenantID, name) }})
	if err != nil {
		t.Fatal(err)
	}
	if plans, err = definition.NewPlans(definition.PlansConfig{DB: b.pool, Bus: b.bus, Log: testkit.Logger(t)}); err != nil {
		t.Fatal(err)
	}
	defer plans.Close()
	for i := range 5 {
		w, _, err := svc.Put(b.ctx, spec("orders", fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		id, version, err := plans.Newest(b.ctx, b.tenantID, "orders")
		if err != nil || version != w.Version.Number {
			t.Fatalf("Newest = %d, %v after version %d", version, err, w.Version.Number)
		}
		v, err := plans.Get(b.ctx, b.tenantID, id, version)
		if err != nil || v.Plan.Workflow.Description != fmt.Sprint(i) {
			t.Fatalf("Get = %+v, %v", v, err)
		}
	}
}
