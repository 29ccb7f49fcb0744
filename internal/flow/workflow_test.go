package flow_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenon-run/tenon/internal/flow"
)

func TestBackoffGrows(t *testing.T) {
	t.Parallel()
	r := flow.Retry{Initial: time.Second, Factor: 2, MaxBackoff: 10 * time.Second}
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 1000: 10 * time.Second} {
		if got := r.Backoff(n, 0.5); got != want/2 {
			t.Errorf("Backoff(%d, 0.5) = %s, want %s", n, got, want/2)
		}
		if got := r.Backoff(n, 0); got != 0 {
			t.Errorf("Backoff(%d, 0) = %s, want 0", n, got)
		}
	}
}

// No policy that a declaration may have waits longer than its cap, or less than nothing, and one without an initial backoff never waits.
func TestBackoffIsBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := flow.Retry{
			Initial:    time.Duration(rapid.Int64Range(0, int64(flow.MaxInitial)).Draw(t, "initial")),
			Factor:     rapid.Float64Range(1, flow.MaxFactor).Draw(t, "factor"),
			MaxBackoff: time.Duration(rapid.Int64Range(0, int64(flow.MaxBackoff)).Draw(t, "max")),
		}
		n := rapid.IntRange(1, flow.MaxRetries).Draw(t, "n")
		got := r.Backoff(n, rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "random"))
		if got < 0 || got > r.MaxBackoff || r.Initial == 0 && got != 0 {
			t.Fatalf("%+v.Backoff(%d) = %s", r, n, got)
		}
	})
	if got := (flow.Retry{Initial: 0, Factor: 100, MaxBackoff: time.Hour}).Backoff(flow.MaxRetries, 0.5); got != 0 {
		t.Errorf("nothing, grown without end, is %s", got)
	}
}

func TestRetryAllows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		retry flow.Retry
		kind  string
		want  bool
	}{
		"every kind":         {flow.Retry{}, "net", true},
		"listed":             {flow.Retry{RetryOn: []string{"net", "disk"}}, "disk", true},
		"not listed":         {flow.Retry{RetryOn: []string{"net"}}, "disk", false},
		"never":              {flow.Retry{Never: []string{"card"}}, "card", false},
		"not among never":    {flow.Retry{Never: []string{"card"}}, "net", true},
		"never wins":         {flow.Retry{RetryOn: []string{"card"}, Never: []string{"card"}}, "card", false},
		"letters are exact":  {flow.Retry{RetryOn: []string{"Net"}}, "net", false},
		"timeout as a kind":  {flow.Retry{Never: []string{flow.KindTimeout}}, flow.KindTimeout, false},
		"the empty retry on": {flow.Retry{RetryOn: []string{}}, "net", true},
	} {
		if got := test.retry.Allows(test.kind); got != test.want {
			t.Errorf("%s: Allows(%q) = %v", name, test.kind, got)
		}
	}
}

func TestClassKeeps(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for class, want := range map[flow.Class]time.Duration{flow.Short: 2 * day, flow.Standard: 30 * day, flow.Long: 365 * day, 0: 30 * day} {
		if got := class.Keep(); got != want {
			t.Errorf("class %d keeps %s, want %s", class, got, want)
		}
	}
}
