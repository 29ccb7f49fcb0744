package pages

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/frontend/graph"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// WorkflowsView is the tenant's workflows by name, at the instant Now.
type WorkflowsView struct {
	Workflows []*registryv1.Workflow
	// Health tells of those that ran lately, by name, how they did.
	Health map[string]*runsv1.GetWorkflowHealthResponse
	Next   string
	Now    time.Time
	First  FirstSteps
}

// WorkflowView is one workflow in one of its versions.
type WorkflowView struct {
	Workflow *registryv1.Workflow
	// Versions are the newest ones, newest first.
	Versions []*registryv1.WorkflowVersion
	// Before is the version that the shown one is told apart from; nil for the first.
	Before *registryv1.WorkflowVersion
	Recent []*runsv1.Run
	Health *runsv1.GetWorkflowHealthResponse
	Now    time.Time
}

func (v WorkflowView) shown() *registryv1.WorkflowVersion { return v.Workflow.GetVersion() }

func (v WorkflowView) newest() bool {
	return len(v.Versions) == 0 || v.Versions[0].GetNumber() == v.shown().GetNumber()
}

func (v WorkflowView) picture() graph.Layout {
	tasks := make([]graph.Task, len(v.shown().GetSpec().GetTasks()))
	for i, t := range v.shown().GetSpec().GetTasks() {
		tasks[i] = graph.Task{Name: t.GetName(), Parents: t.GetParents()}
	}
	return graph.Lay(tasks)
}

func (v WorkflowView) nodes(l graph.Layout) []node {
	out := make([]node, len(l.Nodes))
	for i, n := range l.Nodes {
		t := v.shown().GetSpec().GetTasks()[i]
		out[i] = node{Node: n, Layout: l, status: Status{"", "plain"}, note: v.timeout(t) + ", retries: " + v.retries(t), small: l.NodeHeight < smallNode}
	}
	return out
}

func (v WorkflowView) queue(t *registryv1.TaskSpec) string {
	for _, name := range []string{t.GetQueue(), v.shown().GetSpec().GetDefaults().GetQueue()} {
		if name != "" {
			return name
		}
	}
	return v.Workflow.GetName()
}

func (v WorkflowView) retries(t *registryv1.TaskSpec) string {
	policy := t.GetRetry()
	if policy == nil {
		policy = v.shown().GetSpec().GetDefaults().GetRetry()
	}
	if policy.GetMaxRetries() == 0 {
		return "none"
	}
	return strconv.Itoa(int(policy.GetMaxRetries()))
}

func (v WorkflowView) timeout(t *registryv1.TaskSpec) string {
	return span0(t.GetExecutionTimeout(), v.shown().GetSpec().GetDefaults().GetExecutionTimeout(), "5 m")
}

func (v WorkflowView) scheduleTimeout(t *registryv1.TaskSpec) string {
	return span0(t.GetScheduleTimeout(), v.shown().GetSpec().GetDefaults().GetScheduleTimeout(), "none")
}

// span0 is a span as the task has it, else its workflow, else as it is without both.
func span0(own, inherited *durationpb.Duration, standard string) string {
	for _, d := range []*durationpb.Duration{own, inherited} {
		if d != nil {
			return duration(d.AsDuration())
		}
	}
	return standard
}

func (v WorkflowView) priority() string {
	const standard = 4
	if p := v.shown().GetSpec(); p.DefaultPriority != nil {
		return strconv.Itoa(int(p.GetDefaultPriority()))
	}
	return strconv.Itoa(standard)
}

func retention(r registryv1.Retention) string {
	switch r {
	case registryv1.Retention_RETENTION_SHORT:
		return "2 days"
	case registryv1.Retention_RETENTION_LONG:
		return "365 days"
	default:
		return "30 days"
	}
}

// changes tells the shown version apart from the one before.
func (v WorkflowView) changes() []change {
	if v.Before == nil {
		return nil
	}
	return difference(specText(v.Before.GetSpec()), specText(v.shown().GetSpec()))
}

// specText is a declaration with a line for each value.
func specText(spec *registryv1.WorkflowSpec) string {
	text, err := protojson.Marshal(spec)
	if err != nil {
		return err.Error()
	}
	var plain map[string]any
	if err := json.Unmarshal(text, &plain); err != nil {
		return err.Error()
	}
	// The schema is a text within a text: as it is, all of it would be one line.
	if schema, ok := plain["inputSchemaJson"].(string); ok {
		plain["inputSchema"] = json.RawMessage(schema)
		delete(plain, "inputSchemaJson")
	}
	out, err := json.MarshalIndent(plain, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// firstLine is what a description says first.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func digest(hex string) string {
	const shown = 12
	return hex[:min(shown, len(hex))]
}

// successRate is the share of runs that completed, cut so that only all is 100 %.
func successRate(health *runsv1.GetWorkflowHealthResponse) string {
	if health == nil || health.SuccessRate == nil {
		return "–"
	}
	const tenthsOfPercent = 1000
	return strconv.FormatFloat(math.Floor(health.GetSuccessRate()*tenthsOfPercent)/10, 'f', -1, 64) + " %" //nolint:mnd // of a thousand to percent
}

func healthTone(health *runsv1.GetWorkflowHealthResponse) string {
	switch ended := health.GetEnded(); {
	case ended.GetFailed()+ended.GetTimedOut() > 0:
		return "bad"
	case ended.GetCompleted() == 0:
		return "idle"
	default:
		return "ok"
	}
}

// sample says which runs the health is about.
func sample(health *runsv1.GetWorkflowHealthResponse) string {
	ended := health.GetEnded()
	n := ended.GetCompleted() + ended.GetFailed() + ended.GetTimedOut()
	if health.GetSampled() {
		return "of the newest " + thousands(n)
	}
	return "of " + thousands(n) + " in 24 h"
}

func half(d *durationpb.Duration) string {
	if d == nil {
		return "–"
	}
	return duration(d.AsDuration())
}
