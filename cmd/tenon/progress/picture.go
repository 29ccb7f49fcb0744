package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Room is what a picture may take, and how it is painted.
type Room struct {
	// Width and Height are in characters; 0 is as much as is needed.
	Width, Height int
	Colours       bool
}

// piece is a part of a line in one colour.
type piece struct {
	text   string
	colour show.Colour
}

// Picture gives the lines that show a run at an instant. A run with more tasks than the room has lines shows those that matter now, and counts the rest.
func Picture(run *runsv1.Run, now time.Time, room Room) []string {
	branches := Tree(run.GetTasks())
	const headLines = 2 // the head and the cursor's own line
	var rest []*runsv1.Task
	if room.Height > 0 && len(branches)+headLines > room.Height {
		branches, rest = matter(branches, max(1, room.Height-headLines-1))
	}
	lines := []string{join(head(run, now), room)}
	for _, cells := range align(branches, now) {
		lines = append(lines, join(cells, room))
	}
	if len(rest) > 0 {
		lines = append(lines, join([]piece{{fmt.Sprintf("  … %d more: %s", len(rest), counts(rest)), show.Dim}}, room))
	}
	return lines
}

func head(run *runsv1.Run, now time.Time) []piece {
	from := run.GetStartTime()
	if from == nil {
		from = run.GetCreateTime()
	}
	ended := 0
	for _, task := range run.GetTasks() {
		if Ended(task.GetStatus()) {
			ended++
		}
	}
	line := []piece{
		{run.GetWorkflow(), show.Bold},
		{fmt.Sprintf(" v%d  %s  ", run.GetWorkflowVersion(), run.GetId()), show.Dim},
		{RunStatus(run.GetStatus()), RunColour(run.GetStatus())},
		{fmt.Sprintf("  %s  %d of %s", show.Between(from, run.GetEndTime(), now), ended, plural(len(run.GetTasks()), "task")), show.Plain},
	}
	if run.GetGeneration() > 1 {
		line = append(line, piece{fmt.Sprintf("  generation %d", run.GetGeneration()), show.Dim})
	}
	if n := run.GetChildRuns(); n > 0 {
		line = append(line, piece{"  " + plural(int(n), "child run"), show.Dim})
	}
	return line
}

// align gives each task's line, states and times below each other.
func align(branches []Branch, now time.Time) [][]piece {
	name, state := 0, 0
	for _, b := range branches {
		name = max(name, utf8.RuneCountInString(b.Lead+b.Task.GetName()))
		state = max(state, len(TaskStatus(b.Task.GetStatus())))
	}
	const times = 6
	lines := make([][]piece, len(branches))
	for i, b := range branches {
		status := b.Task.GetStatus()
		pad := strings.Repeat(" ", name-utf8.RuneCountInString(b.Lead+b.Task.GetName()))
		lines[i] = []piece{
			{"  " + b.Lead, show.Dim},
			{mark(status) + " ", TaskColour(status)},
			{b.Task.GetName() + pad + "  ", show.Plain},
			{fmt.Sprintf("%-*s", state, TaskStatus(status)), TaskColour(status)},
			{fmt.Sprintf("  %*s", times, show.Between(b.Task.GetStartTime(), b.Task.GetEndTime(), now)), show.Plain},
			{remark(b, now), show.Dim},
		}
	}
	return lines
}

// remark is what else there is to know of a task.
func remark(b Branch, now time.Time) string {
	var parts []string
	task := b.Task
	if task.GetAttempt() > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", task.GetAttempt()))
	}
	if n := task.GetLostAttempts(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d lost with their worker", n))
	}
	if task.GetStatus() == runsv1.TaskStatus_TASK_STATUS_BACKING_OFF && task.GetRetryTime() != nil {
		parts = append(parts, "again in "+show.Duration(max(0, task.GetRetryTime().AsTime().Sub(now))))
	}
	if len(b.After) > 0 && !Ended(task.GetStatus()) {
		parts = append(parts, "also after "+strings.Join(b.After, ", "))
	}
	if task.GetError() != nil {
		parts = append(parts, show.OneLine(task.GetError().GetKind()+": "+task.GetError().GetMessage()))
	}
	if len(parts) == 0 {
		return ""
	}
	return "  " + strings.Join(parts, ", ")
}

// matter picks the tasks to show where there is room for a few: what went wrong and what is under way, then what comes next, then the last to end.
func matter(branches []Branch, room int) (shown []Branch, rest []*runsv1.Task) {
	rank := func(b Branch) int {
		switch s := b.Task.GetStatus(); {
		case s == runsv1.TaskStatus_TASK_STATUS_FAILED || s == runsv1.TaskStatus_TASK_STATUS_TIMED_OUT:
			return 0
		case s == runsv1.TaskStatus_TASK_STATUS_BLOCKED:
			return 3
		case s == runsv1.TaskStatus_TASK_STATUS_QUEUED:
			return 2
		case Ended(s):
			return 4
		default:
			return 1
		}
	}
	order := make([]int, len(branches))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return rank(branches[a]) - rank(branches[b]) })
	kept := slices.Sorted(slices.Values(order[:min(room, len(order))]))
	for i, b := range branches {
		if _, found := slices.BinarySearch(kept, i); found {
			b.Lead = "" // the lines would lead to tasks that are not shown
			shown = append(shown, b)
		} else {
			rest = append(rest, b.Task)
		}
	}
	return shown, rest
}

func counts(tasks []*runsv1.Task) string {
	number := make(map[runsv1.TaskStatus]int)
	for _, task := range tasks {
		number[task.GetStatus()]++
	}
	var parts []string
	for status := range runsv1.TaskStatus(len(runsv1.TaskStatus_name)) {
		if number[status] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", number[status], TaskStatus(status)))
		}
	}
	return strings.Join(parts, ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// join paints a line's pieces and cuts the line to the room's width, since a line that wraps would not be redrawn in its place.
func join(pieces []piece, room Room) string {
	var out strings.Builder
	left := room.Width
	for _, p := range pieces {
		text := p.text
		if room.Width > 0 {
			text = show.Clip(text, left)
			if left <= 0 {
				break
			}
			left -= utf8.RuneCountInString(text)
		}
		out.WriteString(show.Paint(room.Colours, p.colour, text))
	}
	return strings.TrimRight(out.String(), " ")
}
