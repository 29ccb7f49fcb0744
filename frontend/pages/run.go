package pages

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/frontend/graph"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// RunView is one run with its tasks at the instant Now.
type RunView struct {
	Run *runsv1.Run
	// Attempts are those of all generations, oldest first.
	Attempts []*runsv1.Attempt
	// Children are the newest child runs.
	Children []*runsv1.Run
	// Chosen is the task that the panel shows; empty shows the run.
	Chosen string
	Now    time.Time
}

// Final reports whether the run has ended.
func (v RunView) Final() bool { return finalRun(v.Run.GetStatus()) }

func finalRun(s runsv1.RunStatus) bool {
	return s != runsv1.RunStatus_RUN_STATUS_QUEUED && s != runsv1.RunStatus_RUN_STATUS_RUNNING && s != runsv1.RunStatus_RUN_STATUS_UNSPECIFIED
}

// Task is the chosen task, nil when none is, or when the run has none of that name.
func (v RunView) Task() *runsv1.Task {
	for _, t := range v.Run.GetTasks() {
		if t.GetName() == v.Chosen {
			return t
		}
	}
	return nil
}

func (v RunView) link(s Shell, task string) templ.SafeURL {
	return with(s.At("runs", v.Run.GetId()), "task", task)
}

func (v RunView) panelLink(s Shell, task string) string {
	return string(with(s.At("runs", v.Run.GetId(), "panel"), "task", task))
}

// attempts of a task in this generation, oldest first.
func (v RunView) attempts(task string) []*runsv1.Attempt {
	var out []*runsv1.Attempt
	for _, a := range v.Attempts {
		if a.GetTask() == task {
			out = append(out, a)
		}
	}
	return out
}

// endOf is when a task stopped running: one that backs off does not run, and its newest attempt says since when.
func (v RunView) endOf(t *runsv1.Task) *timestamppb.Timestamp {
	end := t.GetEndTime()
	if t.GetStatus() == runsv1.TaskStatus_TASK_STATUS_BACKING_OFF {
		for _, a := range v.attempts(t.GetName()) {
			end = a.GetEndTime()
		}
	}
	return end
}

// queued is how long the run has waited for its first task to start.
func (v RunView) queued() string {
	if v.Run.GetStartTime() == nil && v.Final() {
		return "–"
	}
	return elapsed(v.Run.GetCreateTime(), v.Run.GetStartTime(), v.Now)
}

// inputOf is what a task has been given: the run's input, or its parents' outputs by their names.
func (v RunView) inputOf(t *runsv1.Task) string {
	if len(t.GetParents()) == 0 {
		return v.Run.GetInputJson()
	}
	var parts []string
	for _, name := range t.GetParents() {
		for _, parent := range v.Run.GetTasks() {
			if parent.GetName() == name && parent.GetOutputJson() != "" {
				parts = append(parts, strconv.Quote(name)+":"+parent.GetOutputJson())
			}
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// picture is the run's tasks laid out.
func (v RunView) picture() graph.Layout {
	tasks := make([]graph.Task, len(v.Run.GetTasks()))
	for i, t := range v.Run.GetTasks() {
		tasks[i] = graph.Task{Name: t.GetName(), Parents: t.GetParents()}
	}
	return graph.Lay(tasks)
}

// node is a box of a picture with what it says.
type node struct {
	graph.Node
	graph.Layout

	status Status
	glyph  string
	note   string
	small  bool
}

func (v RunView) nodes(l graph.Layout) []node {
	out := make([]node, len(l.Nodes))
	for i, n := range l.Nodes {
		t := v.Run.GetTasks()[i]
		out[i] = node{Node: n, Layout: l, status: taskStatus(t.GetStatus()), glyph: glyph(t.GetStatus()), note: v.note(t), small: l.NodeHeight < smallNode}
	}
	return out
}

// smallNode is the height below which a box has one line.
const smallNode = 40

// note is the second line of a task's box.
func (v RunView) note(t *runsv1.Task) string {
	status := taskStatus(t.GetStatus()).Label
	switch {
	case t.GetStatus() == runsv1.TaskStatus_TASK_STATUS_COMPLETED:
		return elapsed(t.GetStartTime(), t.GetEndTime(), v.Now)
	case t.GetAttempt() > 1:
		return fmt.Sprintf("%s · attempt %d", status, t.GetAttempt())
	default:
		return status
	}
}

// fit cuts a name that its box has no room for.
func (n node) fit() string {
	const wide, narrow = 15, 14 // characters
	most := wide
	if n.small {
		most = narrow
	}
	if runes := []rune(n.Name); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return n.Name
}

// graphHeight is the class of the room that a picture gets: it is known before the picture is drawn, so that nothing moves.
func graphHeight(l graph.Layout) string {
	const low, middle = 140, 300
	// What is wider than its room is drawn smaller.
	const room = 720
	height := l.Height * min(room, l.Width) / max(l.Width, 1)
	switch {
	case height <= low:
		return "low"
	case height <= middle:
		return "middle"
	default:
		return "high"
	}
}

// curve draws an edge: bends and level parts in turns.
func curve(e graph.Edge) string {
	var d strings.Builder
	fmt.Fprintf(&d, "M%d %d", e.Points[0].X, e.Points[0].Y)
	for i, to := range e.Points[1:] {
		from := e.Points[i]
		if i%2 == 1 {
			fmt.Fprintf(&d, "H%d", to.X)
			continue
		}
		half := (to.X - from.X) / 2 //nolint:mnd // the middle
		fmt.Fprintf(&d, "C%d %d %d %d %d %d", from.X+half, from.Y, to.X-half, to.Y, to.X, to.Y)
	}
	return d.String()
}

func translate(x, y int) string { return fmt.Sprintf("translate(%d %d)", x, y) }

// edgeTone says whether what runs along an edge has arrived: the child has started, or the parent has ended.
func (v RunView) edgeTone(e graph.Edge) string {
	for _, t := range v.Run.GetTasks() {
		if t.GetName() == e.From && t.GetStatus() == runsv1.TaskStatus_TASK_STATUS_COMPLETED {
			return "edge done"
		}
	}
	return "edge"
}

// span is a stretch of a task's line in the timeline, in thousandths of the whole; open ones grow until the run says more.
type span struct {
	kind       string // wait or a tone
	title      string
	from, to   int64 // milliseconds since the run was made
	open       bool
	x, width   float64
	Start, End *timestamppb.Timestamp
}

// line is a task in the timeline.
type line struct {
	task   *runsv1.Task
	status Status
	spans  []span
}

// thinnest is how wide a bar is at least: what took no time is seen too.
const timelineWidth, thinnest = 1000, 4

// scale is how many milliseconds the timeline covers.
func (v RunView) scale() int64 {
	end := v.Now
	if v.Final() && v.Run.GetEndTime() != nil {
		end = v.Run.GetEndTime().AsTime()
	}
	return max(end.Sub(v.Run.GetCreateTime().AsTime()).Milliseconds(), 1)
}

// since is an instant in milliseconds from the run's creation on.
func (v RunView) since(t time.Time) int64 {
	return max(t.Sub(v.Run.GetCreateTime().AsTime()).Milliseconds(), 0)
}

// timeline tells the time in which a task waited apart from the time in which it ran, attempt by attempt.
func (v RunView) timeline() []line {
	scale := float64(v.scale())
	lines := make([]line, 0, len(v.Run.GetTasks()))
	for _, t := range v.Run.GetTasks() {
		l := line{task: t, status: taskStatus(t.GetStatus())}
		var last *timestamppb.Timestamp
		for _, a := range v.attempts(t.GetName()) {
			if a.GetGeneration() != v.Run.GetGeneration() || a.GetStartTime() == nil || a.GetEndTime() == nil {
				continue
			}
			if a.GetStartTime().AsTime().Equal(t.GetStartTime().AsTime()) && t.GetStatus() != runsv1.TaskStatus_TASK_STATUS_BACKING_OFF {
				continue // the task itself says it
			}
			outcome := outcomeStatus(a.GetOutcome())
			l.spans = append(l.spans, v.span(outcome.Tone, fmt.Sprintf("Attempt %d: %s after", a.GetNumber(), strings.ToLower(outcome.Label)), a.GetStartTime(), a.GetEndTime()))
			last = a.GetEndTime()
		}
		l.spans = append(l.spans, v.latest(t, last)...)
		for i := range l.spans {
			s := &l.spans[i]
			s.x = float64(s.from) / scale * timelineWidth
			s.width = max(float64(s.to-s.from)/scale*timelineWidth, thinnest)
			s.x = min(s.x, timelineWidth-s.width)
		}
		slices.SortStableFunc(l.spans, func(a, b span) int { return int(a.from - b.from) })
		lines = append(lines, l)
	}
	return lines
}

// latest are the spans of a task's newest attempt: its wait, and its run.
func (v RunView) latest(t *runsv1.Task, last *timestamppb.Timestamp) []span {
	var out []span
	queue, start := t.GetQueueTime(), t.GetStartTime()
	if queue != nil && last != nil && last.AsTime().After(queue.AsTime()) && last.AsTime().Before(start.AsTime()) {
		queue = last // the time before is the earlier attempts'
	}
	switch {
	case queue != nil && start != nil && start.AsTime().After(queue.AsTime()):
		out = append(out, v.span("wait", "Waited", queue, start))
	case queue != nil && start == nil && t.GetEndTime() == nil && !v.Final():
		out = append(out, v.span("wait", "Waiting for", queue, nil))
	}
	if start != nil {
		status := taskStatus(t.GetStatus())
		if t.GetStatus() == runsv1.TaskStatus_TASK_STATUS_BACKING_OFF {
			if last == nil {
				return out
			}
			return append(out, v.span("wait", "Backing off for", last, nil)) // the attempts say how long it ran
		}
		out = append(out, v.span(status.Tone, status.Label+" for", start, t.GetEndTime()))
	}
	return out
}

func (v RunView) span(kind, title string, start, end *timestamppb.Timestamp) span {
	s := span{kind: kind, title: title + " " + elapsed(start, end, v.Now), from: v.since(start.AsTime()), open: end == nil, Start: start, End: end}
	if s.to = v.since(v.Now); end != nil {
		s.to = v.since(end.AsTime())
	}
	s.to = max(s.to, s.from)
	return s
}

// ticks are the labels below the timeline.
func (v RunView) ticks() []string {
	const parts = 3
	out := make([]string, 0, parts+1)
	for i := range parts + 1 {
		if i == 0 {
			out = append(out, "0")
			continue
		}
		out = append(out, duration(time.Duration(v.scale())*time.Millisecond*time.Duration(i)/parts))
	}
	return out
}

func tenths(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// Unsuccessful are the tasks that ended without completing, by name.
func Unsuccessful(run *runsv1.Run) []string {
	var names []string
	for _, t := range run.GetTasks() {
		if badTask(t.GetStatus()) {
			names = append(names, t.GetName())
		}
	}
	return names
}

func (v RunView) unsuccessful() int { return len(Unsuccessful(v.Run)) }

func badTask(s runsv1.TaskStatus) bool {
	return s == runsv1.TaskStatus_TASK_STATUS_FAILED || s == runsv1.TaskStatus_TASK_STATUS_TIMED_OUT || s == runsv1.TaskStatus_TASK_STATUS_CANCELLED
}
