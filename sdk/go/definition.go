package tenon

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

// Workflow is a declared workflow that takes an In and gives an Out: the output of its only task without children.
// (With several such tasks the output is an object of their outputs by task name, so let Out be a struct or map of them.)
type Workflow[In, Out any] struct {
	def *definition
}

// Task is a task of a workflow, with the type of its output. [AddTask] makes it; [WithParents] and [ParentOutput] take it.
type Task[Out any] struct {
	workflow *definition
	name     string
}

// Definition is a workflow of any type, for [WithWorkflows].
type Definition interface {
	// Name is the workflow's name, unique in the tenant.
	Name() string
	definition() *definition
}

// Parent is a task of any output type, for [WithParents].
type Parent interface {
	parent() (*definition, string)
}

// handler is a task's code behind JSON.
type handler func(ctx Context, input []byte) ([]byte, error)

type definition struct {
	spec     *registryv1.WorkflowSpec
	handlers map[string]handler
	faults   []error
}

// NewWorkflow declares a workflow; [AddTask] adds its tasks. The server checks the declaration when a worker puts it.
// Options of tasks given here are the defaults of its tasks.
func NewWorkflow[In, Out any](name string, opts ...WorkflowOption) *Workflow[In, Out] {
	def := &definition{spec: &registryv1.WorkflowSpec{Name: name}, handlers: map[string]handler{}}
	for _, opt := range opts {
		opt.applyWorkflow(def)
	}
	return &Workflow[In, Out]{def: def}
}

// NewTask declares a workflow of a single task of the same name.
func NewTask[In, Out any](name string, fn func(Context, In) (Out, error), opts ...WorkflowOption) *Workflow[In, Out] {
	wf := NewWorkflow[In, Out](name, opts...)
	AddTask(wf, name, fn)
	return wf
}

// AddTask adds a task to a workflow. The task gets the workflow's input; what its parents gave it reads with [ParentOutput].
func AddTask[In, WorkflowOut, Out any](wf *Workflow[In, WorkflowOut], name string, fn func(Context, In) (Out, error), opts ...TaskOption) *Task[Out] {
	def := wf.def
	task := &registryv1.TaskSpec{Name: name}
	for _, opt := range opts {
		opt.applyTask(def, task)
	}
	switch {
	case fn == nil:
		def.faultf("task %q has no function", name)
	case def.handlers[name] != nil:
		def.faultf("task %q is declared twice", name)
	}
	def.spec.Tasks = append(def.spec.Tasks, task)
	def.handlers[name] = func(ctx Context, input []byte) ([]byte, error) {
		var in In
		if err := json.Unmarshal(input, &in); err != nil {
			return nil, NonRetryable(Errorf(KindBadInput, "input of task %q does not fit %T: %w", name, in, err))
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(out)
		if err != nil {
			return nil, NonRetryable(Errorf(KindBadOutput, "output of task %q can't be written as JSON: %w", name, err))
		}
		return text, nil
	}
	return &Task[Out]{workflow: def, name: name}
}

// ParentOutput gives what a parent of the running task gave. It is an error to ask for a task that is no parent of this one.
func ParentOutput[Out any](ctx Context, task *Task[Out]) (Out, error) {
	var out Out
	text, ok := ctx.task().parents[task.name]
	if !ok {
		return out, NonRetryable(fmt.Errorf("task %q has no output of %q: name it in tenon.WithParents", ctx.TaskName(), task.name))
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, NonRetryable(Errorf(KindBadInput, "output of parent %q does not fit %T: %w", task.name, out, err))
	}
	return out, nil
}

// Name is the workflow's name.
func (w *Workflow[In, Out]) Name() string { return w.def.spec.GetName() }

func (w *Workflow[In, Out]) definition() *definition { return w.def }

// Name is the task's name.
func (t *Task[Out]) Name() string { return t.name }

func (t *Task[Out]) parent() (*definition, string) { return t.workflow, t.name }

func (d *definition) faultf(format string, args ...any) {
	d.faults = append(d.faults, fmt.Errorf("workflow %q: "+format, append([]any{d.spec.GetName()}, args...)...))
}

func (d *definition) defaults() *registryv1.TaskDefaults {
	if d.spec.Defaults == nil {
		d.spec.Defaults = &registryv1.TaskDefaults{}
	}
	return d.spec.Defaults
}

// WorkflowOption is an option of [NewWorkflow] and [NewTask].
type WorkflowOption interface {
	applyWorkflow(def *definition)
}

// TaskOption is an option of [AddTask].
type TaskOption interface {
	applyTask(def *definition, task *registryv1.TaskSpec)
}

// Option is an option of a task that a workflow takes too, as the default of its tasks.
type Option interface {
	WorkflowOption
	TaskOption
}

type workflowOption func(*definition)

func (o workflowOption) applyWorkflow(def *definition) { o(def) }

type taskOption func(*definition, *registryv1.TaskSpec)

func (o taskOption) applyTask(def *definition, task *registryv1.TaskSpec) { o(def, task) }

// settings are the fields that a task and a workflow's defaults have in common.
type settings struct {
	queue             *string
	retry             **registryv1.RetryPolicy
	schedule, execute **durationpb.Duration
	maxLost           **int32
}

type option func(settings)

func (o option) applyWorkflow(def *definition) {
	d := def.defaults()
	o(settings{&d.Queue, &d.Retry, &d.ScheduleTimeout, &d.ExecutionTimeout, &d.MaxLost})
}

func (o option) applyTask(_ *definition, t *registryv1.TaskSpec) {
	o(settings{&t.Queue, &t.Retry, &t.ScheduleTimeout, &t.ExecutionTimeout, &t.MaxLost})
}

func retryOption(change func(*registryv1.RetryPolicy)) Option {
	return option(func(s settings) {
		if *s.retry == nil {
			*s.retry = &registryv1.RetryPolicy{}
		}
		change(*s.retry)
	})
}

// WithRetries sets how often a failed attempt is tried again after the first, 0 to 1,000. Default: not at all.
// Attempts lost with their worker don't count. A task that sets any part of its retry policy inherits no other part from the workflow.
func WithRetries(n int) Option {
	return retryOption(func(p *registryv1.RetryPolicy) { p.MaxRetries = int32(min(n, 1<<30)) })
}

// WithBackoff sets the wait before retry n (from 1): drawn evenly from 0 to min(most, first * factor^(n-1)).
// Defaults: 1 s, 2, 5 minutes. Limits: 1 day, 1 to 100, 30 days.
func WithBackoff(first time.Duration, factor float64, most time.Duration) Option {
	return retryOption(func(p *registryv1.RetryPolicy) {
		p.InitialBackoff, p.Factor, p.MaxBackoff = durationpb.New(first), factor, durationpb.New(most)
	})
}

// WithRetryOn retries only errors of these kinds. Default: every kind.
func WithRetryOn(kinds ...string) Option {
	return retryOption(func(p *registryv1.RetryPolicy) { p.RetryOn = append(p.RetryOn, kinds...) })
}

// WithNeverRetry never retries errors of these kinds; it wins over [WithRetryOn].
func WithNeverRetry(kinds ...string) Option {
	return retryOption(func(p *registryv1.RetryPolicy) { p.NeverRetry = append(p.NeverRetry, kinds...) })
}

// WithQueue names the queue that the task waits in. Default: the workflow's name.
func WithQueue(name string) Option {
	return option(func(s settings) { *s.queue = name })
}

// WithExecutionTimeout limits one attempt, from its start on a worker. Default 5 minutes; 1 ms to 365 days.
func WithExecutionTimeout(d time.Duration) Option {
	return option(func(s settings) { *s.execute = durationpb.New(d) })
}

// WithScheduleTimeout limits the wait for a worker; when it passes, the task ends as timed out. Default: none; 1 ms to 365 days.
func WithScheduleTimeout(d time.Duration) Option {
	return option(func(s settings) { *s.schedule = durationpb.New(d) })
}

// WithMaxLost sets how many attempts may be lost with their worker before the task fails with kind "worker_lost". Default 3; 0 to 100.
func WithMaxLost(n int) Option {
	return option(func(s settings) {
		lost := int32(min(n, 1<<30))
		*s.maxLost = &lost
	})
}

// WithParents names the tasks of the same workflow that must complete first.
func WithParents(parents ...Parent) TaskOption {
	return taskOption(func(def *definition, task *registryv1.TaskSpec) {
		for _, p := range parents {
			from, name := p.parent()
			if from != def {
				def.faultf("task %q has a parent %q of another workflow, %q", task.GetName(), name, from.spec.GetName())
			}
			if !slices.Contains(task.Parents, name) {
				task.Parents = append(task.Parents, name)
			}
		}
	})
}

// WithDescription sets a text for people, at most 1,000 characters.
func WithDescription(text string) WorkflowOption {
	return workflowOption(func(d *definition) { d.spec.Description = text })
}

// WithRunTimeout limits the whole run, from its admission. Default: none; 1 ms to 365 days.
func WithRunTimeout(d time.Duration) WorkflowOption {
	return workflowOption(func(def *definition) { def.spec.RunTimeout = durationpb.New(d) })
}

// WithInputSchema sets a JSON Schema (draft 2020-12) that every input must satisfy, at most 64 KiB.
func WithInputSchema(schema string) WorkflowOption {
	return workflowOption(func(d *definition) { d.spec.InputSchemaJson = schema })
}

// WithDefaultPriority sets the priority of runs that name none, 0 to 9, 9 most urgent. Default 4.
func WithDefaultPriority(p int) WorkflowOption {
	return workflowOption(func(d *definition) {
		priority := int32(min(p, 1<<30))
		d.spec.DefaultPriority = &priority
	})
}

// Retention is a class of how long finished runs are kept.
type Retention int32

// The classes of retention.
const (
	RetentionShort    = Retention(registryv1.Retention_RETENTION_SHORT)    // 2 days
	RetentionStandard = Retention(registryv1.Retention_RETENTION_STANDARD) // 30 days
	RetentionLong     = Retention(registryv1.Retention_RETENTION_LONG)     // 365 days
)

// WithRetention sets how long finished runs are kept. Default: standard, 30 days.
func WithRetention(class Retention) WorkflowOption {
	return workflowOption(func(d *definition) { d.spec.Retention = registryv1.Retention(class) })
}
