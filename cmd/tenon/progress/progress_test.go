package progress_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }

// order is a run in the middle of everything that a task can be in.
func order() *runsv1.Run {
	const s, ms = time.Second, time.Millisecond
	return &runsv1.Run{
		Id: "run_01jd8x0c2hf6vts6q3n5m0k4rz", Workflow: "order", WorkflowVersion: 3, Status: runsv1.RunStatus_RUN_STATUS_RUNNING, Generation: 2, ChildRuns: 1,
		CreateTime: at(0), StartTime: at(10 * ms), Revision: 9,
		Tasks: []*runsv1.Task{
			{Name: "reserve", Status: runsv1.TaskStatus_TASK_STATUS_COMPLETED, Attempt: 1, StartTime: at(10 * ms), EndTime: at(1234 * ms)},
			{Name: "charge", Parents: []string{"reserve"}, Status: runsv1.TaskStatus_TASK_STATUS_BACKING_OFF, Attempt: 2, RetryTime: at(9 * s), Error: &runsv1.TaskError{Kind: "declined", Message: "no\nmoney"}},
			{Name: "pack", Parents: []string{"reserve"}, Status: runsv1.TaskStatus_TASK_STATUS_RUNNING, Attempt: 1, LostAttempts: 1, StartTime: at(2 * s)},
			{Name: "label", Parents: []string{"pack"}, Status: runsv1.TaskStatus_TASK_STATUS_BLOCKED},
			{Name: "ship", Parents: []string{"charge", "label"}, Status: runsv1.TaskStatus_TASK_STATUS_BLOCKED},
			{Name: "mail", Status: runsv1.TaskStatus_TASK_STATUS_QUEUED, QueueTime: at(20 * ms)},
		},
	}
}

func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	path, got := filepath.Join("testdata", name+".golden"), strings.Join(lines, "\n")+"\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-was +is:\n%s", diff)
	}
}

func TestPicture(t *testing.T) {
	t.Parallel()
	now := noon.Add(5 * time.Second)
	golden(t, "wide", progress.Picture(order(), now, progress.Room{}))
	golden(t, "narrow", progress.Picture(order(), now, progress.Room{Width: 40}))
	golden(t, "low", progress.Picture(order(), now, progress.Room{Height: 6}))
	golden(t, "colours", progress.Picture(order(), now, progress.Room{Colours: true}))
}

// Every line fits, whatever the room: one that wrapped would not be redrawn in its place.
func TestPictureFits(t *testing.T) {
	t.Parallel()
	run := order()
	for i := range 300 {
		run.Tasks = append(run.Tasks, &runsv1.Task{Name: fmt.Sprintf("resize-%d", i), Parents: []string{"pack"}, Status: runsv1.TaskStatus(i%12 + 1)})
	}
	for width := 1; width <= 120; width += 7 {
		for _, height := range []int{1, 5, 24, 500} {
			lines := progress.Picture(run, noon.Add(time.Minute), progress.Room{Width: width, Height: height})
			if height >= 5 && len(lines) >= height {
				t.Errorf("%d lines in %d", len(lines), height)
			}
			for _, line := range lines {
				if utf8.RuneCountInString(line) > width {
					t.Errorf("a line of %d characters in %d: %q", utf8.RuneCountInString(line), width, line)
				}
			}
		}
	}
}

// A task hangs below its deepest parent, siblings as they were declared; a cycle, which the server refuses, does not hang the tool.
func TestTree(t *testing.T) {
	t.Parallel()
	names := func(tasks ...*runsv1.Task) string {
		var out []string
		for _, b := range progress.Tree(tasks) {
			out = append(out, b.Lead+b.Task.GetName()+fmt.Sprint(b.After))
		}
		return strings.Join(out, "\n")
	}
	task := func(name string, parents ...string) *runsv1.Task { return &runsv1.Task{Name: name, Parents: parents} }
	if got, want := names(task("d", "a", "c"), task("a"), task("b", "a"), task("c", "b"), task("e")), "a[]\n└─ b[]\n   └─ c[]\n      └─ d[a]\ne[]"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := names(task("a", "missing")); got != "a[missing]" {
		t.Errorf("got %s", got)
	}
	names(task("a", "b"), task("b", "a"))
}

func TestLines(t *testing.T) {
	t.Parallel()
	lines := progress.Lines{Zone: time.UTC}
	run := order()
	var all []string
	step := func() { all = append(all, append(lines.Next(run, noon.Add(7*time.Second)), "--")...) }
	step()
	step() // nothing has changed
	run.Tasks[1].Status, run.Tasks[1].Attempt, run.Tasks[1].StartTime, run.Tasks[1].Error = runsv1.TaskStatus_TASK_STATUS_ASSIGNED, 3, nil, nil
	step()
	run.Tasks[1].Status, run.Tasks[1].StartTime = runsv1.TaskStatus_TASK_STATUS_RUNNING, at(6*time.Second)
	step()
	run.Tasks[1].Status, run.Tasks[1].EndTime = runsv1.TaskStatus_TASK_STATUS_FAILED, at(6500*time.Millisecond)
	run.Tasks[1].Error = &runsv1.TaskError{Kind: "declined", Message: "no"}
	run.Tasks[3].Status, run.Tasks[4].Status = runsv1.TaskStatus_TASK_STATUS_CANCELLED, runsv1.TaskStatus_TASK_STATUS_SKIPPED
	run.Status, run.EndTime = runsv1.RunStatus_RUN_STATUS_FAILED, at(6600*time.Millisecond)
	step()
	golden(t, "lines", all)
}

func TestScreen(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	screen := progress.NewScreen(&out)
	if err := screen.Leave(); err != nil || out.String() != "" {
		t.Errorf("a screen that nothing was drawn on wrote %q: %v", out.String(), err)
	}
	for _, lines := range [][]string{{"a", "b"}, {"c"}} {
		if err := screen.Draw(lines); err != nil {
			t.Fatal(err)
		}
	}
	if err := screen.Leave(); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[?25la\x1b[K\nb\x1b[K\n\x1b[2A\rc\x1b[K\n\x1b[J\x1b[?25h"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
