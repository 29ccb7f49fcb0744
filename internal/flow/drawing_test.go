package flow_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-run/tenon/internal/flow"
)

var update = flag.Bool("update", false, "write docs/state-machine.md") //nolint:gochecknoglobals // a flag

const drawing = "../../docs/state-machine.md"

// The page is written from the tables, so that a change of a move is seen in review as a change of the drawing.
func TestDrawing(t *testing.T) {
	t.Parallel()
	got := page()
	if *update {
		if err := os.WriteFile(drawing, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(drawing)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the tables have changed; look at the difference, then run the test with -update\n--- want\n%s\n--- got\n%s", want, got)
	}
}

// Each move is one arrow of the drawing, and one line of the table below it.
func TestDrawingHasEveryMove(t *testing.T) {
	t.Parallel()
	_, tasks, _ := strings.Cut(page(), "## A task")
	lines := strings.Split(tasks, "\n")
	count := func(line string) int {
		return len(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l != line }))
	}
	for _, m := range flow.TaskMoves() {
		if arrow := fmt.Sprintf("    %s --> %s", m.From, m.To); !m.From.Final() && count(arrow) != 1 {
			t.Errorf("the drawing has %q %d times", arrow, count(arrow))
		}
		if row := fmt.Sprintf("| %s | %s | %s |", m.From, m.To, m.Why); count(row) != 1 {
			t.Errorf("the table has %q %d times", row, count(row))
		}
	}
}

// runMoves follow from the tasks' moves: a run is running from its first task's start on, and ends from where its last task ends.
func runMoves() []flow.Move {
	moves := []flow.Move{{From: flow.Queued, To: flow.Running}}
	for _, m := range flow.TaskMoves() {
		if m.From == flow.Queued && m.To.Final() {
			moves = append(moves, flow.Move{From: flow.Queued, To: m.To})
		}
	}
	for _, s := range flow.RunStates() {
		if s.Final() {
			moves = append(moves, flow.Move{From: flow.Running, To: s})
		}
	}
	return moves
}

// page is docs/state-machine.md. The moves of a replay lead from every final state to the same two: one arrow stands for them, or nothing else could be seen.
func page() string {
	var out strings.Builder
	out.WriteString("# States\n\nWritten from `internal/flow/state.go` by `go test ./internal/flow -update`; a CHECK in the schema repeats the states.\n\n" +
		"## A run\n\nA run is final when all its tasks are; failed beats timed_out beats cancelled beats completed, and a skipped task is no failure.\n" +
		"It runs from its first task's start on, between attempts too; it ends from queued when it is cancelled or times out before, or when a result comes after a\n" +
		"take-over whose owner had not heard of the start. A replay makes it queued again.\n\n" +
		"```mermaid\nstateDiagram-v2\n    [*] --> queued\n")
	for _, m := range runMoves() {
		fmt.Fprintf(&out, "    %s --> %s\n", m.From, m.To)
	}
	for _, s := range flow.RunStates() {
		if s.Final() {
			fmt.Fprintf(&out, "    %s --> [*]\n", s)
		}
	}
	out.WriteString("```\n\n## A task\n\nA replay leads from every final state back to queued, or to blocked for a task behind the replayed one; the drawing leaves these moves out.\n\n" +
		"```mermaid\nstateDiagram-v2\n    [*] --> blocked\n    [*] --> queued\n")
	for _, m := range flow.TaskMoves() {
		if !m.From.Final() {
			fmt.Fprintf(&out, "    %s --> %s\n", m.From, m.To)
		}
	}
	for _, s := range flow.TaskStates() {
		if s.Final() {
			fmt.Fprintf(&out, "    %s --> [*]\n", s)
		}
	}
	out.WriteString("```\n\n| from | to | why |\n|---|---|---|\n")
	for _, m := range flow.TaskMoves() {
		fmt.Fprintf(&out, "| %s | %s | %s |\n", m.From, m.To, m.Why)
	}
	return out.String()
}
