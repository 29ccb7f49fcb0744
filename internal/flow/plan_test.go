package flow_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenon-run/tenon/internal/flow"
)

// tasks makes a workflow from "name: parent parent" lines.
func tasks(lines ...string) *flow.Workflow {
	w := &flow.Workflow{Name: "w"}
	for _, line := range lines {
		name, parents, _ := strings.Cut(line, ":")
		w.Tasks = append(w.Tasks, flow.Task{Name: name, Queue: "q", Parents: strings.Fields(parents)})
	}
	return w
}

func TestPlan(t *testing.T) {
	t.Parallel()
	w := tasks("d: b c", "a:", "b: a", "c: a", "e:")
	p, faults := flow.NewPlan(w)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if diff := cmp.Diff([][]int{{2, 3}, nil, {1}, {1}, nil}, p.Parents); diff != "" {
		t.Error("parents", diff)
	}
	if diff := cmp.Diff([][]int{nil, {2, 3}, {0}, {0}, nil}, p.Children); diff != "" {
		t.Error("children", diff)
	}
	if diff := cmp.Diff([]int{0, 4}, p.Leaves); diff != "" {
		t.Error("leaves", diff)
	}
	if diff := cmp.Diff([]string{"w/d", "w/a", "w/b", "w/c", "w/e"}, p.Actions); diff != "" {
		t.Error("actions", diff)
	}
	for i, task := range w.Tasks {
		if got, ok := p.Task(task.Name); !ok || got != i || p.Lanes[i] != flow.LaneKey("q", p.Actions[i]) {
			t.Errorf("task %s: %d, %v, lane %d", task.Name, got, ok, p.Lanes[i])
		}
	}
	if _, ok := p.Task("f"); ok || p.Single() {
		t.Error("the plan has a task that was not declared, or thinks that it is single")
	}
	if single, _ := flow.NewPlan(tasks("a")); !single.Single() {
		t.Error("one task is not single")
	}
}

func TestPlanFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lines []string
		want  []string
	}{
		"name twice":     {[]string{"a", "a", "a"}, []string{`tasks[1].name: task name "a" is already used by tasks[0]`, `tasks[2].name: task name "a" is already used by tasks[0]`}},
		"unknown parent": {[]string{"a: x", "b: a y"}, []string{`tasks[0].parents[0]: there is no task "x" in this workflow`, `tasks[1].parents[1]: there is no task "y" in this workflow`}},
		"itself":         {[]string{"a: a"}, []string{`tasks[0].parents[0]: task "a" names itself as a parent`}},
		"parent twice":   {[]string{"a", "b: a a"}, []string{`tasks[1].parents[1]: parent "a" is named twice`}},
		"all of them": {[]string{"a: b", "a", "b: b a a"}, []string{
			`tasks[1].name: task name "a" is already used by tasks[0]`, `tasks[2].parents[0]: task "b" names itself as a parent`, `tasks[2].parents[2]: parent "a" is named twice`,
		}},
		"two":           {[]string{"a: b", "b: a"}, []string{"tasks[0].parents: tasks form a cycle: a -> b -> a"}},
		"three":         {[]string{"x", "a: c x", "b: a", "c: b"}, []string{"tasks[1].parents: tasks form a cycle: a -> b -> c -> a"}},
		"behind it":     {[]string{"z: a", "a: b", "b: a"}, []string{"tasks[1].parents: tasks form a cycle: a -> b -> a"}},
		"two cycles":    {[]string{"a: b", "b: a", "c: d", "d: c"}, []string{"tasks[0].parents: tasks form a cycle: a -> b -> a", "tasks[2].parents: tasks form a cycle: c -> d -> c"}},
		"joined cycles": {[]string{"a: b", "b: a", "c: d b", "d: c"}, []string{"tasks[0].parents: tasks form a cycle: a -> b -> a", "tasks[2].parents: tasks form a cycle: c -> d -> c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, faults := flow.NewPlan(tasks(test.lines...))
			var got []string
			for _, f := range faults {
				got = append(got, f.Path+": "+f.Message)
			}
			if diff := cmp.Diff(test.want, got); p != nil || diff != "" {
				t.Errorf("plan %v, faults %s", p, diff)
			}
		})
	}
}

// A message about a long cycle stays short.
func TestPlanLongCycle(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("t%d: t%d", i, (i+299)%300))
	}
	_, faults := flow.NewPlan(tasks(lines...))
	if len(faults) != 1 || faults[0].Path != "tasks[0].parents" {
		t.Fatal(faults)
	}
	if want := "t9 -> t10 -> (289 more) -> t0"; !strings.HasSuffix(faults[0].Message, want) {
		t.Errorf("message %q, want its end to be %q", faults[0].Message, want)
	}
}

// A plan finds a cycle exactly where there is one, and what it names is one.
func TestPlanFindsCycles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "tasks")
		w := &flow.Workflow{Name: "w"}
		reach := make([][]bool, n) // reach[a][b]: a leads to b along parents
		for i := range n {
			reach[i] = make([]bool, n)
			task := flow.Task{Name: fmt.Sprintf("t%d", i)}
			others := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 0, min(n-1, 3), rapid.ID[int]).Draw(t, "parents")
			for _, j := range others {
				if j != i {
					task.Parents = append(task.Parents, fmt.Sprintf("t%d", j))
					reach[i][j] = true
				}
			}
			w.Tasks = append(w.Tasks, task)
		}
		for via := range n {
			for from := range n {
				for to := range n {
					reach[from][to] = reach[from][to] || reach[from][via] && reach[via][to]
				}
			}
		}
		cyclic := false
		for i := range n {
			cyclic = cyclic || reach[i][i]
		}
		p, faults := flow.NewPlan(w)
		if (p == nil) != cyclic || (len(faults) > 0) != cyclic {
			t.Fatalf("plan %v, faults %v, but cyclic is %v", p, faults, cyclic)
		}
		for _, f := range faults {
			checkCycle(t, w, f)
		}
		if p != nil {
			checkPlan(t, p)
		}
	})
}

// checkCycle walks what the message says: each name must be a parent of the next one.
func checkCycle(t *rapid.T, w *flow.Workflow, f flow.Fault) {
	_, list, _ := strings.Cut(f.Message, ": ")
	names := strings.Split(list, " -> ")
	if len(names) < 3 || names[0] != names[len(names)-1] {
		t.Fatalf("%q is no cycle", f.Message)
	}
	for i, name := range names[1:] {
		at := slices.IndexFunc(w.Tasks, func(task flow.Task) bool { return task.Name == name })
		if !slices.Contains(w.Tasks[at].Parents, names[i]) {
			t.Fatalf("%q: %s is no parent of %s", f.Message, names[i], name)
		}
	}
	if first := slices.IndexFunc(w.Tasks, func(task flow.Task) bool { return task.Name == names[0] }); f.Path != fmt.Sprintf("tasks[%d].parents", first) {
		t.Fatalf("path %s for %q", f.Path, f.Message)
	}
}

// checkPlan sees that parents and children say the same, and that leaves are what has no children.
func checkPlan(t *rapid.T, p *flow.Plan) {
	for i := range p.Parents {
		for _, parent := range p.Parents[i] {
			if !slices.Contains(p.Children[parent], i) {
				t.Fatalf("task %d has the parent %d, which does not have it as a child", i, parent)
			}
		}
		for _, child := range p.Children[i] {
			if !slices.Contains(p.Parents[child], i) {
				t.Fatalf("task %d has the child %d, which does not have it as a parent", i, child)
			}
		}
		if slices.Contains(p.Leaves, i) != (len(p.Children[i]) == 0) {
			t.Fatalf("task %d with %d children, leaves %v", i, len(p.Children[i]), p.Leaves)
		}
	}
}

func TestLaneKey(t *testing.T) {
	t.Parallel()
	keys := map[uint64]string{}
	for _, lane := range [][2]string{{"q", "w/a"}, {"q", "w/b"}, {"r", "w/a"}, {"qw", "/a"}, {"", "qw/a"}} {
		key := flow.LaneKey(lane[0], lane[1])
		if twin, taken := keys[key]; taken || key == 0 {
			t.Errorf("lane %q has key %d, as %s", lane, key, twin)
		}
		keys[key] = fmt.Sprint(lane)
	}
}
