package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/bench/internal/scenario"
)

// This test's own program plays the roles, as the bench's does, except where it would be too slow.
func TestMain(m *testing.M) {
	if os.Getenv(proc.RoleVariable) != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if folder, err := builds(); err == nil {
			code = max(code, removed(folder))
		}
		os.Exit(code)
	}))
}

func removed(folder string) int {
	if err := os.RemoveAll(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// builds is a folder for programs that several tests use.
var builds = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "tenon-bench-builds-") })

// built are the programs as users run them, without the race detector, made by the first test that asks.
var built = sync.OnceValues(func() (programs ground.Programs, err error) {
	folder, err := builds()
	if err != nil {
		return programs, err
	}
	if programs.Server, err = ground.Build(context.Background(), folder, false); err != nil {
		return programs, err
	}
	programs.Roles, err = ground.BuildRoles(context.Background(), folder)
	return programs, err
})

// testLog passes a process's standard error on to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(line []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// Every scenario from end to end over all processes, in a size that says nothing about speed: each line is printed with its fields and kept. The costs are
// read before Postgres has counted all of them; that they are right is proven with the budgets.
func TestEveryScenarioInSmall(t *testing.T) {
	t.Parallel()
	const tiny = 0.003
	folder := t.TempDir()
	o := options{
		scenarios: []string{"all"}, repeat: 1, scale: tiny, results: filepath.Join(folder, "results"), profiles: filepath.Join(folder, "profiles"),
		sizes: scenario.Sizes{Looks: 10, Tenants: 3}, settle: time.Millisecond,
	}
	var out bytes.Buffer
	if err := run(t.Context(), o, &out, testLog{t}); err != nil {
		t.Fatal(err)
	}
	rate := []string{"scenario", "unit", "tenon", "peer", "peer_value", "ratio"}
	latency := []string{"scenario", "unit", "tenon", "p50", "p99"}
	floor := []string{"floor_p50", "floor_p99", "ratio_floor"}
	peer := []string{"peer", "peer_value", "ratio"}
	costs := []string{"row_writes", "wal_bytes", "transactions", "statements", "cpu_us"}
	goal := []string{"goal", "met"}
	staged := []string{"scenario", "unit", "tenon", "also", "goal", "met"}
	want := map[string][]string{
		"noop_bulk":       slices.Concat(rate, costs, goal),
		"noop_single":     slices.Concat(rate, costs, goal, []string{"echo", "ratio_echo"}),
		"noop_single_sdk": slices.Concat([]string{"scenario", "unit", "tenon", "echo", "ratio_echo"}, costs, goal),
		"latency_start":   slices.Concat(latency, peer, floor, goal),
		"latency_result":  slices.Concat(latency, peer, floor, goal),
		"chain3":          slices.Concat(latency, floor, goal),
		"fanout1000":      slices.Concat(latency, []string{"also"}, goal),
		"chain3_50":       slices.Concat([]string{"scenario", "unit", "tenon", "echo", "ratio_echo"}, goal),
		"dashboard":       slices.Concat(latency, []string{"also"}, goal),
		"backlog":         staged, "idle": staged, "failover": staged, "handover": staged, "scaleout": staged,
	}
	also := map[string][]string{
		"fanout1000": {"times_bulk"}, "backlog": {"empty", "ratio_empty", "rss_mb", "rss_empty_mb"},
		"dashboard": {
			"first_page", "first_page_p99", "workflow", "workflow_rare", "queued", "running", "completed", "failed", "cancelled", "timed_out",
			"workflow_failed", "time_range", "id", "stats_1h", "stats_24h", "stats_24h_p99",
		},
		"idle":     {"statements_per_minute", "cpu_server", "cpu_postgres", "cpu_nats", "cpu_worker", "cpu_client"},
		"failover": {"gap_before_ms", "load", "resent"}, "handover": {"gap_before_ms", "load", "resent"},
		"scaleout": {"one", "two", "three", "ratio_two", "ratio_three"},
	}
	lines := readLines(t, out.Bytes())
	names := slices.DeleteFunc(scenario.Names(), func(name string) bool { return name == scenario.Soak })
	if len(lines) != len(names) {
		t.Fatalf("%d lines for %d scenarios:\n%s", len(lines), len(names), out.String())
	}
	for i, name := range names {
		line := lines[i]
		if line["scenario"] != name {
			t.Errorf("line %d is of %v, want %s", i, line["scenario"], name)
		}
		for _, field := range want[name] {
			// An idle install may take less than a tick of the CPU's clock in so short a look.
			nothing := name == "idle" && field == "tenon" || slices.Contains(costs, field)
			if n, isNumber := line[field].(float64); line[field] == nil || isNumber && n <= 0 && !nothing {
				t.Errorf("%s: %s is %v", name, field, line[field])
			}
		}
		if len(line) != len(want[name]) {
			t.Errorf("%s has other fields than %v: %v", name, want[name], line)
		}
		more, _ := line["also"].(map[string]any)
		for _, field := range also[name] {
			if more[field] == nil {
				t.Errorf("%s lacks %s: %v", name, field, more)
			}
		}
	}
	kept, err := filepath.Glob(filepath.Join(o.results, "*.jsonl"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	text, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range readLines(t, text) {
		for _, field := range []string{"time", "commit", "machine", "modules", "postgres", "scenario", "tenon", "turns"} {
			if record[field] == nil {
				t.Errorf("the record of %v lacks %s", record["scenario"], field)
			}
		}
	}
	if profiles, err := filepath.Glob(filepath.Join(o.profiles, "noop_bulk-*.pprof")); err != nil || len(profiles) != 3 {
		t.Errorf("profiles of noop_bulk: %v, %v", profiles, err)
	}
}

// A soak of twenty seconds has all its phases, judges them, and leaves its samples and a drawing behind.
func TestASoakInSmall(t *testing.T) {
	t.Parallel()
	programs, err := built()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	o := options{
		scenarios: []string{scenario.Soak}, repeat: 1, scale: 1, results: folder, soak: 20 * time.Second, soakRate: 200,
		server: programs.Server, roles: programs.Roles,
	}
	var out bytes.Buffer
	if err := run(t.Context(), o, &out, testLog{t}); err != nil {
		t.Fatal(err)
	}
	line := readLines(t, out.Bytes())[0]
	also, _ := line["also"].(map[string]any)
	for goal := range strings.SplitSeq(fmt.Sprint(line["goal"]), ", ") {
		if name, _, _ := strings.Cut(goal, " "); also[name] == nil {
			t.Errorf("%s is not measured: %v", name, line)
		}
	}
	phases := make(map[string]int)
	for _, name := range []string{"*-soak.json", "*-soak.svg"} {
		kept, err := filepath.Glob(filepath.Join(folder, name))
		if err != nil || len(kept) != 1 {
			t.Fatalf("kept %v of %s, %v", kept, name, err)
		}
		text, err := os.ReadFile(kept[0])
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".svg") {
			if !bytes.HasPrefix(text, []byte("<svg")) {
				t.Errorf("the drawing begins with %.40q", text)
			}
			continue
		}
		var soak struct{ Samples []scenario.Sample }
		if err := json.Unmarshal(text, &soak); err != nil {
			t.Fatal(err)
		}
		told := 0 // samples in whose time statements ran: where a phase ends, one may be too short for any
		for _, s := range soak.Samples {
			phases[s.Phase]++
			if s.LiveMB <= 0 || s.ServerMB <= 0 {
				t.Errorf("a sample is empty: %+v", s)
			}
			if len(s.Statements) > 0 {
				told++
			}
		}
		if told <= len(soak.Samples)/2 {
			t.Errorf("%d of %d samples tell of statements", told, len(soak.Samples))
		}
	}
	for _, phase := range []string{"", "pinned", "partitions", "payloads"} {
		if phases[phase] == 0 {
			t.Errorf("no sample of the phase %q: %v", phase, phases)
		}
	}
}

func readLines(t *testing.T, text []byte) (out []map[string]any) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		out = append(out, line)
	}
	return out
}

func TestBadOptionsAreRefusedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]options{
		"no turns":         {repeat: 0, scale: 1},
		"no size":          {repeat: 1, scale: 0},
		"unknown scenario": {repeat: 1, scale: 1, scenarios: []string{"noop_bulky"}},
	} {
		if err := run(t.Context(), o, &bytes.Buffer{}, testLog{t}); err == nil {
			t.Errorf("%s goes through", name)
		}
	}
}

func TestUnknownRoleIsAnError(t *testing.T) {
	t.Parallel()
	if err := play("juggler"); err == nil || !strings.Contains(err.Error(), "juggler") {
		t.Errorf("got %v", err)
	}
}
