package main

import (
	"encoding/json"
	"testing"
)

// The whole main job: embedded Postgres and NATS, two workers as processes, one of them killed in the middle, the report read back and compared.
func TestDemo(t *testing.T) {
	result, err := demo(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run_id", "status", "tasks", "child_runs", "retries", "lost_attempts", "workers_killed", "wall_ms", "digest", "digest_direct"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the line lacks %s: %s", name, line)
		}
	}
	if result.Digest != result.DigestDirect || result.Status != "completed" || result.LostAttempts < 1 || result.WorkersKilled != 1 {
		t.Errorf("unexpected: %s", line)
	}
}

// A result that is not as expected is an error, whatever the run itself said.
func TestDemoResultIsChecked(t *testing.T) {
	t.Parallel()
	good := demoResult{Status: "completed", Digest: "a", DigestDirect: "a", LostAttempts: 1, Retries: 1, ChildRuns: 1}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*demoResult){
		"status": func(r *demoResult) { r.Status = "failed" },
		"digest": func(r *demoResult) { r.Digest = "b" },
		"lost":   func(r *demoResult) { r.LostAttempts = 0 },
		"retry":  func(r *demoResult) { r.Retries = 0 },
		"child":  func(r *demoResult) { r.ChildRuns = 0 },
	} {
		bad := good
		spoil(&bad)
		if bad.check() == nil {
			t.Errorf("a wrong %s goes unnoticed", name)
		}
	}
}

func TestDigestIsOfTheCanonicalForm(t *testing.T) {
	t.Parallel()
	one, err := digest(`{"b": 12345678901234567890, "a": [1.0, "<é>"]}`)
	if err != nil {
		t.Fatal(err)
	}
	two, err := digest(`{"a":[1.0,"<é>"],"b":12345678901234567890}`)
	if err != nil || one != two {
		t.Errorf("%s and %s, %v", one, two, err)
	}
	if other, err := digest(`{"a":[1.0,"<é>"],"b":12345678901234567891}`); err != nil || other == one {
		t.Errorf("another number has the same digest, %v", err)
	}
}
