package definition

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/flow"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

const (
	// MaxSpecBytes is the most bytes of a declaration in its protobuf form: 1 MiB.
	MaxSpecBytes = 1 << 20
	// maxFaults is how many faults are named; more of them tell an author nothing new, and an error must fit in a header.
	maxFaults = 100
)

// Check reads a declaration. It answers with the workflow, every default filled in, or with every fault (the first hundred), each with its path in the
// request ("spec.tasks[2].parents[0]"). A task takes a field that it leaves out from spec.defaults, else it has the default that the proto states.
func Check(spec *registryv1.WorkflowSpec) (*flow.Workflow, []flow.Fault) {
	c := read(spec)
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	return c.plan.Workflow, nil
}

// checker collects what is made of one declaration.
type checker struct {
	faults []flow.Fault
	plan   *flow.Plan
	schema *Schema
}

func (c *checker) faultf(path, format string, args ...any) {
	switch {
	case len(c.faults) < maxFaults:
		c.faults = append(c.faults, flow.Fault{Path: path, Message: fmt.Sprintf(format, args...)})
	case len(c.faults) == maxFaults:
		c.faults = append(c.faults, flow.Fault{Path: "spec", Message: fmt.Sprintf("there are more than %d faults: the others are not listed", maxFaults)})
	}
}

func read(spec *registryv1.WorkflowSpec) *checker {
	c := &checker{}
	if spec == nil {
		c.faultf("spec", "the declaration is missing")
		return c
	}
	if size := proto.Size(spec); size > MaxSpecBytes {
		c.faultf("spec", "the declaration has %d bytes, at most %d are allowed: split the workflow", size, MaxSpecBytes)
		return c
	}
	w := &flow.Workflow{
		Name: spec.GetName(), Description: spec.GetDescription(), InputSchema: spec.GetInputSchemaJson(),
		RunTimeout: c.timeout("spec.run_timeout", spec.GetRunTimeout(), 0), Priority: flow.DefaultPriority, Class: c.class(spec.GetRetention()),
	}
	c.name("spec.name", w.Name, "the workflow's name")
	if n := utf8.RuneCountInString(w.Description); n > flow.MaxDescription {
		c.faultf("spec.description", "has %d characters, at most %d are allowed", n, flow.MaxDescription)
	}
	c.text("spec.description", w.Description)
	if spec.DefaultPriority != nil {
		if p := spec.GetDefaultPriority(); p < 0 || p > flow.MaxPriority {
			c.faultf("spec.default_priority", "is %d, it must be between 0 and %d", p, flow.MaxPriority)
		}
		w.Priority = int(spec.GetDefaultPriority())
	}
	var faults []flow.Fault
	c.schema, faults = CompileSchema(w.InputSchema)
	for _, f := range faults {
		c.faultf(join("spec.input_schema_json", f.Path), "%s", f.Message)
	}
	c.tasks(spec, w)
	return c
}

// tasks reads the tasks and plans them.
func (c *checker) tasks(spec *registryv1.WorkflowSpec, w *flow.Workflow) {
	inherited := c.defaults(spec.GetDefaults(), w.Name)
	switch n := len(spec.GetTasks()); {
	case n == 0:
		c.faultf("spec.tasks", "a workflow needs at least one task")
		return
	case n > flow.MaxTasks:
		// The tasks are not looked at one by one: a caller that sends too many may send very many.
		c.faultf("spec.tasks", "has %d tasks, at most %d are allowed: start child runs for a fan-out", n, flow.MaxTasks)
		return
	}
	tooManyParents := false
	for i, t := range spec.GetTasks() {
		w.Tasks = append(w.Tasks, c.task(fmt.Sprintf("spec.tasks[%d]", i), t, inherited))
		if n := len(t.GetParents()); n > flow.MaxTasks {
			c.faultf(fmt.Sprintf("spec.tasks[%d].parents", i), "has %d names, at most %d are allowed", n, flow.MaxTasks)
			tooManyParents = true
		}
	}
	if tooManyParents {
		return
	}
	plan, faults := flow.NewPlan(w)
	for _, f := range faults {
		c.faultf("spec."+f.Path, "%s", f.Message)
	}
	c.plan = plan
}

// defaults reads what tasks inherit, where the declaration says nothing the built-in defaults.
func (c *checker) defaults(d *registryv1.TaskDefaults, workflow string) flow.Task {
	t := flow.Task{Queue: workflow, ExecutionTimeout: flow.DefaultExecution, MaxLost: flow.DefaultMaxLost, Retry: builtinRetry()}
	return c.override("spec.defaults", t, d)
}

func (c *checker) task(path string, spec *registryv1.TaskSpec, inherited flow.Task) flow.Task {
	t := c.override(path, inherited, spec)
	t.Name = spec.GetName()
	t.Parents = spec.GetParents()
	c.name(path+".name", t.Name, "a task's name")
	return t
}

// settings are the fields that a task may inherit: TaskSpec and TaskDefaults have the same.
type settings interface {
	GetQueue() string
	GetRetry() *registryv1.RetryPolicy
	GetScheduleTimeout() *durationpb.Duration
	GetExecutionTimeout() *durationpb.Duration
	GetMaxLost() int32
}

// override puts what s says in the place of what t has inherited.
func (c *checker) override(path string, t flow.Task, s settings) flow.Task {
	if queue := s.GetQueue(); queue != "" {
		c.name(path+".queue", queue, "a queue's name")
		t.Queue = queue
	}
	if retry := s.GetRetry(); retry != nil {
		t.Retry = c.retry(path+".retry", retry)
	}
	t.ScheduleTimeout = c.timeout(path+".schedule_timeout", s.GetScheduleTimeout(), t.ScheduleTimeout)
	t.ExecutionTimeout = c.timeout(path+".execution_timeout", s.GetExecutionTimeout(), t.ExecutionTimeout)
	if lost, ok := maxLost(s); ok {
		if lost < 0 || lost > flow.MaxLostLimit {
			c.faultf(path+".max_lost", "is %d, it must be between 0 and %d", lost, flow.MaxLostLimit)
		}
		t.MaxLost = int(lost)
	}
	return t
}

// maxLost tells an explicit zero from a field left out.
func maxLost(s settings) (int32, bool) {
	switch s := s.(type) {
	case *registryv1.TaskSpec:
		return s.GetMaxLost(), s != nil && s.MaxLost != nil
	case *registryv1.TaskDefaults:
		return s.GetMaxLost(), s != nil && s.MaxLost != nil
	default:
		return 0, false
	}
}

// name checks a name's letters. Workflows, tasks and queues share the rule.
func (c *checker) name(path, name, what string) {
	switch {
	case name == "":
		c.faultf(path, "%s is missing", what)
	case len(name) > flow.MaxNameLen:
		c.faultf(path, "%s has %d bytes, at most %d are allowed", what, len(name), flow.MaxNameLen)
	case !IsName(name):
		c.faultf(path, "%s %q must begin with a letter and have only a-z A-Z 0-9 . _ and -", what, name)
	}
}

// IsName tells whether a text can name a workflow, a task or a queue: 1 to 100 of a-z A-Z 0-9 . _ and -, a letter first.
func IsName(name string) bool {
	if name == "" || len(name) > flow.MaxNameLen {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		other := '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return true
}

// text refuses what Postgres and protobuf refuse. Over the wire the decoder has looked already; a caller in Go may not have.
func (c *checker) text(path, s string) {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		c.faultf(path, "must be UTF-8 text without NUL characters")
	}
}

func (c *checker) timeout(path string, d *durationpb.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return c.duration(path, d, flow.MinTimeout, flow.MaxTimeout)
}

func (c *checker) duration(path string, d *durationpb.Duration, least, most time.Duration) time.Duration {
	if err := d.CheckValid(); err != nil {
		c.faultf(path, "is not a valid duration: seconds and nanos must have one sign and be in range")
		return 0
	}
	value := d.AsDuration()
	if value < least || value > most {
		c.faultf(path, "is %s, it must be between %s and %s", value, human(least), human(most))
	}
	return value
}

// human writes a limit as people say it.
func human(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == day:
		return "1 day"
	case d > day && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	default:
		return d.String()
	}
}

func (c *checker) class(r registryv1.Retention) flow.Class {
	switch r {
	case registryv1.Retention_RETENTION_UNSPECIFIED, registryv1.Retention_RETENTION_STANDARD:
		return flow.Standard
	case registryv1.Retention_RETENTION_SHORT:
		return flow.Short
	case registryv1.Retention_RETENTION_LONG:
		return flow.Long
	default:
		c.faultf("spec.retention", "is %d, which is no retention class: use RETENTION_SHORT, RETENTION_STANDARD or RETENTION_LONG", r)
		return flow.Standard
	}
}
