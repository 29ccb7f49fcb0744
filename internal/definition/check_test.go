package definition_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/flow"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

// valid is a declaration without faults that leaves all it can to the defaults.
func valid() *registryv1.WorkflowSpec {
	return &registryv1.WorkflowSpec{
		Name:  "orders",
		Tasks: []*registryv1.TaskSpec{{Name: "charge"}, {Name: "ship", Parents: []string{"charge"}}},
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, faults := definition.Check(valid())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	retry := flow.Retry{Initial: time.Second, Factor: 2, MaxBackoff: 5 * time.Minute}
	want := &flow.Workflow{
		Name: "orders", Priority: 4, Class: flow.Standard,
		Tasks: []flow.Task{
			{Name: "charge", Queue: "orders", Retry: retry, ExecutionTimeout: 5 * time.Minute, MaxLost: 3},
			{Name: "ship", Parents: []string{"charge"}, Queue: "orders", Retry: retry, ExecutionTimeout: 5 * time.Minute, MaxLost: 3},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTasksInherit(t *testing.T) {
	t.Parallel()
	spec := valid()
	spec.DefaultPriority = proto.Int32(0)
	spec.Retention = registryv1.Retention_RETENTION_LONG
	spec.RunTimeout = durationpb.New(time.Hour)
	spec.Defaults = &registryv1.TaskDefaults{
		Queue: "slow", ScheduleTimeout: durationpb.New(time.Minute), ExecutionTimeout: durationpb.New(2 * time.Second), MaxLost: proto.Int32(0),
		Retry: &registryv1.RetryPolicy{MaxRetries: 7, Factor: 3, RetryOn: []string{"net"}},
	}
	spec.Tasks[1].Queue = "fast"
	spec.Tasks[1].MaxLost = proto.Int32(9)
	spec.Tasks[1].ExecutionTimeout = durationpb.New(time.Millisecond)
	spec.Tasks[1].Retry = &registryv1.RetryPolicy{MaxRetries: 1, InitialBackoff: durationpb.New(0), MaxBackoff: durationpb.New(time.Hour), NeverRetry: []string{"card"}}
	got, faults := definition.Check(spec)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := &flow.Workflow{
		Name: "orders", Priority: 0, Class: flow.Long, RunTimeout: time.Hour,
		Tasks: []flow.Task{
			{
				Name: "charge", Queue: "slow", ScheduleTimeout: time.Minute, ExecutionTimeout: 2 * time.Second, MaxLost: 0,
				Retry: flow.Retry{Max: 7, Initial: time.Second, Factor: 3, MaxBackoff: 5 * time.Minute, RetryOn: []string{"net"}},
			},
			{
				Name: "ship", Parents: []string{"charge"}, Queue: "fast", ScheduleTimeout: time.Minute, ExecutionTimeout: time.Millisecond, MaxLost: 9,
				Retry: flow.Retry{Max: 1, Initial: 0, Factor: 2, MaxBackoff: time.Hour, Never: []string{"card"}},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Every fault has its path. A name with several faults in one declaration shows that they are all told.
func TestFaults(t *testing.T) {
	t.Parallel()
	type spec = registryv1.WorkflowSpec
	long := strings.Repeat("a", 101)
	retry := func(edit func(*registryv1.RetryPolicy)) func(*spec) {
		return func(s *spec) {
			s.Defaults = &registryv1.TaskDefaults{Retry: &registryv1.RetryPolicy{}}
			edit(s.Defaults.Retry)
		}
	}
	days := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * 24 * time.Hour) }
	tests := map[string]struct {
		edit func(*spec)
		want []string // "path: part of the message"
	}{
		"no name":              {func(s *spec) { s.Name = "" }, []string{"spec.name: missing"}},
		"long name":            {func(s *spec) { s.Name = long }, []string{"spec.name: 101 bytes"}},
		"name with a space":    {func(s *spec) { s.Name = "a b" }, []string{"spec.name: letter"}},
		"name with a digit":    {func(s *spec) { s.Name = "1a" }, []string{"spec.name: letter"}},
		"name in Cyrillic":     {func(s *spec) { s.Name = "\u0430bc" }, []string{"spec.name: letter"}},
		"name with a newline":  {func(s *spec) { s.Name = "abc\n" }, []string{"spec.name: letter"}},
		"long description":     {func(s *spec) { s.Description = strings.Repeat("\u00e9", 1001) }, []string{"spec.description: 1001 characters"}},
		"NUL in description":   {func(s *spec) { s.Description = "a\x00" }, []string{"spec.description: NUL"}},
		"no tasks":             {func(s *spec) { s.Tasks = nil }, []string{"spec.tasks: at least one"}},
		"too many tasks":       {func(s *spec) { s.Tasks = make([]*registryv1.TaskSpec, 301) }, []string{"spec.tasks: 301 tasks"}},
		"empty task":           {func(s *spec) { s.Tasks[0] = &registryv1.TaskSpec{} }, []string{"spec.tasks[0].name: missing", `spec.tasks[1].parents[0]: no task "charge"`}},
		"bad task name":        {func(s *spec) { s.Tasks[1].Name = "-" }, []string{"spec.tasks[1].name: letter"}},
		"name used twice":      {func(s *spec) { s.Tasks[1].Name, s.Tasks[1].Parents = "charge", nil }, []string{"spec.tasks[1].name: already used by tasks[0]"}},
		"unknown parent":       {func(s *spec) { s.Tasks[1].Parents = []string{"charge", "pack"} }, []string{`spec.tasks[1].parents[1]: no task "pack"`}},
		"own parent":           {func(s *spec) { s.Tasks[1].Parents = []string{"ship"} }, []string{"spec.tasks[1].parents[0]: itself"}},
		"parent twice":         {func(s *spec) { s.Tasks[1].Parents = []string{"charge", "charge"} }, []string{"spec.tasks[1].parents[1]: twice"}},
		"too many parents":     {func(s *spec) { s.Tasks[1].Parents = make([]string, 301) }, []string{"spec.tasks[1].parents: 301 names"}},
		"cycle":                {func(s *spec) { s.Tasks[0].Parents = []string{"ship"} }, []string{"spec.tasks[0].parents: charge -> ship -> charge"}},
		"bad queue":            {func(s *spec) { s.Tasks[0].Queue = "q/1" }, []string{"spec.tasks[0].queue: letter"}},
		"bad default queue":    {func(s *spec) { s.Defaults = &registryv1.TaskDefaults{Queue: long} }, []string{"spec.defaults.queue: 101 bytes"}},
		"priority":             {func(s *spec) { s.DefaultPriority = proto.Int32(10) }, []string{"spec.default_priority: between 0 and 9"}},
		"negative priority":    {func(s *spec) { s.DefaultPriority = proto.Int32(-1) }, []string{"spec.default_priority: between 0 and 9"}},
		"retention":            {func(s *spec) { s.Retention = 99 }, []string{"spec.retention: no retention class"}},
		"zero run timeout":     {func(s *spec) { s.RunTimeout = durationpb.New(0) }, []string{"spec.run_timeout: between 1ms and 365 days"}},
		"long run timeout":     {func(s *spec) { s.RunTimeout = days(366) }, []string{"spec.run_timeout: between 1ms and 365 days"}},
		"mixed signs":          {func(s *spec) { s.RunTimeout = &durationpb.Duration{Seconds: 1, Nanos: -1} }, []string{"spec.run_timeout: not a valid duration"}},
		"beyond all durations": {func(s *spec) { s.RunTimeout = &durationpb.Duration{Seconds: math.MaxInt64} }, []string{"spec.run_timeout: not a valid duration"}},
		"saturated duration":   {func(s *spec) { s.RunTimeout = &durationpb.Duration{Seconds: 315_576_000_000} }, []string{"spec.run_timeout: 365 days"}},
		"schedule timeout":     {func(s *spec) { s.Tasks[0].ScheduleTimeout = durationpb.New(time.Microsecond) }, []string{"spec.tasks[0].schedule_timeout: 1ms"}},
		"execution timeout":    {func(s *spec) { s.Tasks[1].ExecutionTimeout = durationpb.New(-time.Second) }, []string{"spec.tasks[1].execution_timeout: 1ms"}},
		"default timeouts": {func(s *spec) {
			s.Defaults = &registryv1.TaskDefaults{ScheduleTimeout: days(400), ExecutionTimeout: days(400)}
		}, []string{"spec.defaults.schedule_timeout: 365 days", "spec.defaults.execution_timeout: 365 days"}},
		"max lost":            {func(s *spec) { s.Tasks[0].MaxLost = proto.Int32(101) }, []string{"spec.tasks[0].max_lost: between 0 and 100"}},
		"default max lost":    {func(s *spec) { s.Defaults = &registryv1.TaskDefaults{MaxLost: proto.Int32(-1)} }, []string{"spec.defaults.max_lost: between 0 and 100"}},
		"retries":             {retry(func(r *registryv1.RetryPolicy) { r.MaxRetries = 1001 }), []string{"spec.defaults.retry.max_retries: between 0 and 1000"}},
		"negative retries":    {retry(func(r *registryv1.RetryPolicy) { r.MaxRetries = -1 }), []string{"spec.defaults.retry.max_retries: between 0 and 1000"}},
		"initial backoff":     {retry(func(r *registryv1.RetryPolicy) { r.InitialBackoff = days(2) }), []string{"spec.defaults.retry.initial_backoff: between 0s and 1 day"}},
		"max backoff":         {retry(func(r *registryv1.RetryPolicy) { r.MaxBackoff = days(31) }), []string{"spec.defaults.retry.max_backoff: between 0s and 30 days"}},
		"negative backoff":    {retry(func(r *registryv1.RetryPolicy) { r.MaxBackoff = durationpb.New(-1) }), []string{"spec.defaults.retry.max_backoff: between 0s"}},
		"small factor":        {retry(func(r *registryv1.RetryPolicy) { r.Factor = 0.99 }), []string{"spec.defaults.retry.factor: between 1 and 100"}},
		"large factor":        {retry(func(r *registryv1.RetryPolicy) { r.Factor = 100.1 }), []string{"spec.defaults.retry.factor: between 1 and 100"}},
		"factor is no number": {retry(func(r *registryv1.RetryPolicy) { r.Factor = math.NaN() }), []string{"spec.defaults.retry.factor: NaN"}},
		"infinite factor":     {retry(func(r *registryv1.RetryPolicy) { r.Factor = math.Inf(1) }), []string{"spec.defaults.retry.factor: +Inf"}},
		"empty kind":          {retry(func(r *registryv1.RetryPolicy) { r.RetryOn = []string{"a", ""} }), []string{"spec.defaults.retry.retry_on[1]: empty"}},
		"long kind":           {retry(func(r *registryv1.RetryPolicy) { r.NeverRetry = []string{long} }), []string{"spec.defaults.retry.never_retry[0]: 101 bytes"}},
		"NUL in a kind":       {retry(func(r *registryv1.RetryPolicy) { r.NeverRetry = []string{"\x00"} }), []string{"spec.defaults.retry.never_retry[0]: NUL"}},
		"too many kinds":      {retry(func(r *registryv1.RetryPolicy) { r.RetryOn = make([]string, 51) }), []string{"spec.defaults.retry.retry_on: 51 error kinds"}},
		"retry of a task":     {func(s *spec) { s.Tasks[1].Retry = &registryv1.RetryPolicy{Factor: -1} }, []string{"spec.tasks[1].retry.factor: between 1 and 100"}},
		"schema is no JSON":   {func(s *spec) { s.InputSchemaJson = "{" }, []string{"spec.input_schema_json: not valid JSON"}},
		"schema type":         {func(s *spec) { s.InputSchemaJson = `{"properties": {"a b": {"type": "text"}}}` }, []string{`spec.input_schema_json.properties["a b"].type: must be one of`, `spec.input_schema_json.properties["a b"].type: want array`}},
		"too large": {func(s *spec) {
			s.Description = strings.Repeat("a", definition.MaxSpecBytes)
		}, []string{"spec: bytes, at most 1048576"}},
		"several": {func(s *spec) {
			s.Name, s.Tasks[0].Queue, s.Tasks[1].Parents = "?", "?", []string{"x"}
		}, []string{"spec.name: letter", "spec.tasks[0].queue: letter", `spec.tasks[1].parents[0]: no task "x"`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := valid()
			test.edit(s)
			w, faults := definition.Check(s)
			if w != nil || len(faults) != len(test.want) {
				t.Fatalf("Check = %v, %q, want %q", w, faults, test.want)
			}
			for i, want := range test.want {
				path, message, _ := strings.Cut(want, ": ")
				if faults[i].Path != path || !strings.Contains(faults[i].Message, message) {
					t.Errorf("fault %d is %q at %q, want %q at %q", i, faults[i].Message, faults[i].Path, message, path)
				}
			}
		})
	}
}

func TestNoDeclaration(t *testing.T) {
	t.Parallel()
	if w, faults := definition.Check(nil); w != nil || len(faults) != 1 || faults[0].Path != "spec" {
		t.Errorf("Check(nil) = %v, %v", w, faults)
	}
}

func TestFaultsAreCounted(t *testing.T) {
	t.Parallel()
	s := valid()
	for i := range 250 {
		s.Tasks = append(s.Tasks, &registryv1.TaskSpec{Name: fmt.Sprintf("t%d", i), Queue: "?"})
	}
	_, faults := definition.Check(s)
	if len(faults) != 101 || !strings.Contains(faults[100].Message, "more than 100") {
		t.Errorf("%d faults, the last is %q; want 100 and a note", len(faults), faults[len(faults)-1])
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(edit func(*registryv1.WorkflowSpec)) [32]byte {
		s := valid()
		edit(s)
		w, faults := definition.Check(s)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		return definition.Digest(w)
	}
	plain := digest(func(*registryv1.WorkflowSpec) {})
	// Stored digests are compared with new ones: a change of this number makes every workflow's next declaration a new version.
	if got, want := fmt.Sprintf("%x", plain), "59026009d66f84a72b68eb4e8a8dd031fb418802dc59164d85bb30bbfb9036c8"; got != want {
		t.Errorf("the digest's form has changed: %s, want %s", got, want)
	}
	same := map[string]func(*registryv1.WorkflowSpec){
		"queue":      func(s *registryv1.WorkflowSpec) { s.Tasks[0].Queue = "orders" },
		"priority":   func(s *registryv1.WorkflowSpec) { s.DefaultPriority = proto.Int32(4) },
		"retention":  func(s *registryv1.WorkflowSpec) { s.Retention = registryv1.Retention_RETENTION_STANDARD },
		"max lost":   func(s *registryv1.WorkflowSpec) { s.Defaults = &registryv1.TaskDefaults{MaxLost: proto.Int32(3)} },
		"no retries": func(s *registryv1.WorkflowSpec) { s.Tasks[1].Retry = &registryv1.RetryPolicy{Factor: 2} },
		"timeout":    func(s *registryv1.WorkflowSpec) { s.Tasks[1].ExecutionTimeout = durationpb.New(5 * time.Minute) },
	}
	for name, edit := range same {
		if digest(edit) != plain {
			t.Errorf("%s spelled out has another digest", name)
		}
	}
	other := map[string]func(*registryv1.WorkflowSpec){
		"name":        func(s *registryv1.WorkflowSpec) { s.Name = "order" },
		"description": func(s *registryv1.WorkflowSpec) { s.Description = "d" },
		"run timeout": func(s *registryv1.WorkflowSpec) { s.RunTimeout = durationpb.New(time.Hour) },
		"schema":      func(s *registryv1.WorkflowSpec) { s.InputSchemaJson = "true" },
		"priority":    func(s *registryv1.WorkflowSpec) { s.DefaultPriority = proto.Int32(5) },
		"retention":   func(s *registryv1.WorkflowSpec) { s.Retention = registryv1.Retention_RETENTION_SHORT },
		"task":        func(s *registryv1.WorkflowSpec) { s.Tasks = append(s.Tasks, &registryv1.TaskSpec{Name: "mail"}) },
		"order":       func(s *registryv1.WorkflowSpec) { s.Tasks[0], s.Tasks[1] = s.Tasks[1], s.Tasks[0] },
		"task name":   func(s *registryv1.WorkflowSpec) { s.Tasks[1].Name = "send" },
		"parents":     func(s *registryv1.WorkflowSpec) { s.Tasks[1].Parents = nil },
		"queue":       func(s *registryv1.WorkflowSpec) { s.Tasks[1].Queue = "q" },
		"schedule":    func(s *registryv1.WorkflowSpec) { s.Tasks[1].ScheduleTimeout = durationpb.New(time.Second) },
		"execution":   func(s *registryv1.WorkflowSpec) { s.Tasks[1].ExecutionTimeout = durationpb.New(time.Second) },
		"max lost":    func(s *registryv1.WorkflowSpec) { s.Tasks[1].MaxLost = proto.Int32(0) },
		"retries":     func(s *registryv1.WorkflowSpec) { s.Tasks[1].Retry = &registryv1.RetryPolicy{MaxRetries: 1} },
		"initial": func(s *registryv1.WorkflowSpec) {
			s.Tasks[1].Retry = &registryv1.RetryPolicy{InitialBackoff: durationpb.New(0)}
		},
		"factor": func(s *registryv1.WorkflowSpec) { s.Tasks[1].Retry = &registryv1.RetryPolicy{Factor: 2.5} },
		"max backoff": func(s *registryv1.WorkflowSpec) {
			s.Tasks[1].Retry = &registryv1.RetryPolicy{MaxBackoff: durationpb.New(0)}
		},
		"retry on": func(s *registryv1.WorkflowSpec) {
			s.Tasks[1].Retry = &registryv1.RetryPolicy{RetryOn: []string{"a", "b"}}
		},
		"retry on, cut elsewhere": func(s *registryv1.WorkflowSpec) {
			s.Tasks[1].Retry = &registryv1.RetryPolicy{RetryOn: []string{"ab"}}
		},
		"never": func(s *registryv1.WorkflowSpec) {
			s.Tasks[1].Retry = &registryv1.RetryPolicy{NeverRetry: []string{"a", "b"}}
		},
	}
	seen := map[[32]byte]string{plain: "the plain declaration"}
	for name, edit := range other {
		d := digest(edit)
		if twin, taken := seen[d]; taken {
			t.Errorf("%s has the digest of %s", name, twin)
		}
		seen[d] = name
	}
}
