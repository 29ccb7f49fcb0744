package graph

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func diamond() []Task {
	return []Task{{Name: "fetch"}, {Name: "left", Parents: []string{"fetch"}}, {Name: "right", Parents: []string{"fetch"}}, {Name: "join", Parents: []string{"right", "left"}}}
}

// mesh has layers of width tasks, each behind two of the layer before.
func mesh(layers, width int) []Task {
	var tasks []Task
	for l := range layers {
		for i := range width {
			t := Task{Name: fmt.Sprintf("t%d-%d", l, i)}
			if l > 0 {
				t.Parents = []string{fmt.Sprintf("t%d-%d", l-1, i), fmt.Sprintf("t%d-%d", l-1, (i*7+3)%width)}
			}
			tasks = append(tasks, t)
		}
	}
	return tasks
}

func fan(width int) []Task {
	tasks := []Task{{Name: "split"}}
	join := Task{Name: "join"}
	for i := range width {
		name := fmt.Sprintf("part-%d", i)
		tasks = append(tasks, Task{Name: name, Parents: []string{"split"}})
		join.Parents = append(join.Parents, name)
	}
	return append(tasks, join)
}

func TestThreeTasksInARow(t *testing.T) {
	got := Lay([]Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}, {Name: "c", Parents: []string{"b"}}})
	want := Layout{
		Width: 508, Height: 64, NodeWidth: 140, NodeHeight: 40,
		Nodes: []Node{{"a", 0, 12, 12}, {"b", 1, 184, 12}, {"c", 2, 356, 12}},
		Edges: []Edge{{"a", "b", []Point{{152, 32}, {184, 32}}}, {"b", "c", []Point{{324, 32}, {356, 32}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever the shape: every parent lies to the left of its children, no two boxes touch, all is within the picture, and it is the same each time.
func TestPicturesAreSound(t *testing.T) {
	for name, tasks := range map[string][]Task{
		"none": nil, "one": {{Name: "only"}}, "diamond": diamond(), "mesh of 300": mesh(30, 10), "wide mesh of 300": mesh(5, 60), "fan of 300": fan(298), "300 alone": mesh(1, 300),
		"skips": skips(12, 3), "skips of 300": skips(30, 10), "skips of wide layers": skips(4, 75), "all behind the first": star(40),
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			got := Lay(tasks)
			if took := time.Since(begin); took > time.Second {
				t.Errorf("the layout took %v", took)
			}
			for _, e := range got.Edges {
				checkEdge(t, got, e)
			}
			for i, a := range got.Nodes {
				if a.X < 0 || a.Y < 0 || a.X+got.NodeWidth > got.Width || a.Y+got.NodeHeight > got.Height {
					t.Errorf("%s at %d, %d is outside of %d x %d", a.Name, a.X, a.Y, got.Width, got.Height)
				}
				for _, b := range got.Nodes[:i] {
					if abs(a.X-b.X) < got.NodeWidth && abs(a.Y-b.Y) < got.NodeHeight {
						t.Errorf("%s and %s overlap", a.Name, b.Name)
					}
				}
			}
			if diff := cmp.Diff(got, Lay(tasks)); diff != "" {
				t.Errorf("two layouts of the same tasks differ: %s", diff)
			}
		})
	}
}

// checkEdge looks at the boxes around an edge's parts. A bend stays within the rectangle of its ends, so that no part that is clear of boxes by its
// rectangle passes behind one.
func checkEdge(t *testing.T, l Layout, e Edge) {
	t.Helper()
	box := func(name string) Node {
		return l.Nodes[slices.IndexFunc(l.Nodes, func(n Node) bool { return n.Name == name })]
	}
	from, to := box(e.From), box(e.To)
	if first, last := e.Points[0], e.Points[len(e.Points)-1]; first != (Point{from.X + l.NodeWidth, from.Y + l.NodeHeight/2}) || last != (Point{to.X, to.Y + l.NodeHeight/2}) {
		t.Errorf("the edge from %s to %s goes from %v to %v", e.From, e.To, first, last)
	}
	if len(e.Points)%2 != 0 {
		t.Errorf("the edge from %s to %s ends in a level part: %v", e.From, e.To, e.Points)
	}
	for i := 1; i < len(e.Points); i++ {
		a, b := e.Points[i-1], e.Points[i]
		if a.X >= b.X || i%2 == 0 && a.Y != b.Y || a.Y < 0 || a.Y > l.Height {
			t.Errorf("the edge from %s to %s goes from %v to %v", e.From, e.To, a, b)
		}
		for _, n := range l.Nodes {
			if a.X < n.X+l.NodeWidth && b.X > n.X && min(a.Y, b.Y) < n.Y+l.NodeHeight && max(a.Y, b.Y) > n.Y {
				t.Errorf("the edge from %s to %s passes behind %s: from %v to %v", e.From, e.To, n.Name, a, b)
			}
		}
	}
}

// skips is a mesh in which each task also waits for one of each layer before it.
func skips(layers, width int) []Task {
	tasks := mesh(layers, width)
	for l := range layers {
		for i := range width {
			for above := range max(l-1, 0) {
				task := &tasks[l*width+i]
				task.Parents = append(task.Parents, fmt.Sprintf("t%d-%d", above, (i+above)%width))
			}
		}
	}
	return tasks
}

// star is a chain in which each task also waits for the first.
func star(length int) []Task {
	tasks := []Task{{Name: "t0"}}
	for i := 1; i < length; i++ {
		tasks = append(tasks, Task{Name: fmt.Sprintf("t%d", i), Parents: []string{fmt.Sprintf("t%d", i-1), "t0"}})
	}
	return tasks
}

// A line that skips a task of a chain goes around its box, and the chain stays straight.
func TestASkippingEdgeGoesAround(t *testing.T) {
	got := Lay([]Task{{Name: "a"}, {Name: "b", Parents: []string{"a"}}, {Name: "c", Parents: []string{"b", "a"}}})
	want := []Edge{
		{"a", "b", []Point{{152, 32}, {184, 32}}},
		{"b", "c", []Point{{324, 32}, {356, 32}}},
		{"a", "c", []Point{{152, 32}, {184, 8}, {324, 8}, {356, 32}}},
	}
	if diff := cmp.Diff(want, got.Edges); diff != "" {
		t.Error(diff)
	}
}

// Lines of several tasks through the same gap do not lie on each other.
func TestLinesThroughAGapAreApart(t *testing.T) {
	got := Lay([]Task{{Name: "a"}, {Name: "b"}, {Name: "x", Parents: []string{"a", "b"}}, {Name: "end", Parents: []string{"x", "a", "b"}}})
	level := map[int]string{}
	for _, e := range got.Edges {
		if len(e.Points) > 2 {
			level[e.Points[1].Y] = e.From
		}
	}
	if len(level) != 2 {
		t.Errorf("the lines around x: %v", level)
	}
}

// A wide layer is broken into columns, so that the whole fits a window without becoming a thread.
func TestWideLayersStayInShape(t *testing.T) {
	got := Lay(fan(298))
	if ratio := float64(got.Width) / float64(got.Height); ratio < 0.8 || ratio > 5 {
		t.Errorf("the picture is %d x %d", got.Width, got.Height)
	}
}

// Two chains that were declared crosswise are drawn side by side.
func TestCrossingsAreTakenAway(t *testing.T) {
	got := Lay([]Task{{Name: "a"}, {Name: "b"}, {Name: "b2", Parents: []string{"b"}}, {Name: "a2", Parents: []string{"a"}}})
	at := func(name string) int {
		return got.Nodes[slices.IndexFunc(got.Nodes, func(n Node) bool { return n.Name == name })].Y
	}
	if at("a") != at("a2") || at("b") != at("b2") {
		t.Errorf("the chains cross: %v", got.Nodes)
	}
}

// Registration refuses these; a picture of them must end all the same.
func TestBadParentsAreLeftOut(t *testing.T) {
	got := Lay([]Task{{Name: "a", Parents: []string{"b", "a", "gone"}}, {Name: "b", Parents: []string{"a", "a"}}})
	if len(got.Nodes) != 2 {
		t.Errorf("got %v", got)
	}
}

func abs(n int) int { return max(n, -n) }
