package graph

import (
	"cmp"
	"math"
	"slices"
)

// Task is a node of the picture, known by its name. Parents that are not among the tasks are left out.
type Task struct {
	Name    string
	Parents []string
}

// Layout is where everything lies, in pixels from the top left corner.
type Layout struct {
	Width, Height         int
	NodeWidth, NodeHeight int
	// Nodes are in the order of the tasks.
	Nodes []Node
	Edges []Edge
}

// Node is a task's box by its top left corner. Layer counts from 0: the longest way from a task without parents.
type Node struct {
	Name  string
	Layer int
	X, Y  int
}

// Edge is a line from a parent's right side to a child's left side. It bends in the gaps between columns of boxes, and runs level past the columns
// between its ends: from Points[0] to Points[1] it bends, from there to Points[2] it is level, and so on in turns.
type Edge struct {
	From, To string
	Points   []Point
}

// Point is a place in the picture.
type Point struct{ X, Y int }

// size is how large boxes and the gaps between them are.
type size struct{ width, height, gapX, gapY, column int }

const (
	margin = 12
	// manyTasks is from how many tasks on the boxes are drawn small.
	manyTasks = 40
	// tallest is how many boxes stand below each other before a layer is broken into several columns.
	tallest = 12
	sweeps  = 4
)

// Lay places the tasks. A cycle, which registration refuses, is broken where it is met first.
func Lay(tasks []Task) Layout {
	s := size{width: 140, height: 40, gapX: 32, gapY: 16, column: 16}
	if len(tasks) >= manyTasks {
		s = size{width: 136, height: 26, gapX: 56, gapY: 8, column: 10}
	}
	g := read(tasks)
	layers := g.layers()
	g.untangle(layers)
	return g.place(layers, s)
}

// dag is the tasks by number.
type dag struct {
	tasks             []Task
	parents, children [][]int
	layer             []int
	// order is a task's place within its layer.
	order []float64
}

func read(tasks []Task) *dag {
	number := make(map[string]int, len(tasks))
	for i, t := range tasks {
		number[t.Name] = i
	}
	g := &dag{tasks: tasks, parents: make([][]int, len(tasks)), children: make([][]int, len(tasks)), layer: make([]int, len(tasks)), order: make([]float64, len(tasks))}
	for i, t := range tasks {
		for _, name := range t.Parents {
			if p, known := number[name]; known && p != i && !slices.Contains(g.parents[i], p) {
				g.parents[i] = append(g.parents[i], p)
				g.children[p] = append(g.children[p], i)
			}
		}
	}
	return g
}

// layers puts each task one layer behind the last of its parents.
func (g *dag) layers() [][]int {
	const unseen, open, done = 0, 1, 2
	state := make([]int, len(g.tasks))
	var visit func(i int) int
	visit = func(i int) int {
		if state[i] == unseen {
			state[i] = open
			for _, p := range g.parents[i] {
				if state[p] != open {
					g.layer[i] = max(g.layer[i], visit(p)+1)
				}
			}
			state[i] = done
		}
		return g.layer[i]
	}
	var layers [][]int
	for i := range g.tasks {
		for visit(i) >= len(layers) {
			layers = append(layers, nil)
		}
	}
	for i := range g.tasks {
		layers[g.layer[i]] = append(layers[g.layer[i]], i)
	}
	return layers
}

// untangle orders each layer by where its neighbours lie, forwards and back, which takes most crossings away.
func (g *dag) untangle(layers [][]int) {
	for _, layer := range layers {
		g.number(layer)
	}
	for range sweeps {
		for _, layer := range layers {
			g.sort(layer, g.parents)
		}
		for i := range layers {
			g.sort(layers[len(layers)-1-i], g.children)
		}
	}
}

func (g *dag) number(layer []int) {
	// Centred, so that layers of different sizes compare.
	for place, i := range layer {
		g.order[i] = float64(place) - float64(len(layer)-1)/2
	}
}

func (g *dag) sort(layer []int, neighbours [][]int) {
	weight := make(map[int]float64, len(layer))
	for _, i := range layer {
		weight[i] = g.order[i]
		if near := neighbours[i]; len(near) > 0 {
			sum := 0.0
			for _, n := range near {
				sum += g.order[n]
			}
			weight[i] = sum / float64(len(near))
		}
	}
	slices.SortStableFunc(layer, func(a, b int) int { return cmp.Compare(weight[a], weight[b]) })
	g.number(layer)
}

// place turns layers into pixels, each centred on the same line. A tall layer becomes a block of columns.
func (g *dag) place(layers [][]int, s size) Layout {
	out := Layout{NodeWidth: s.width, NodeHeight: s.height, Nodes: make([]Node, len(g.tasks))}
	rowsOf := func(layer []int) int {
		if len(layer) <= tallest {
			return len(layer)
		}
		// As wide as it is high, a box being about three times as wide as high.
		const shape = 3
		return max(tallest, int(math.Ceil(math.Sqrt(float64(len(layer))*shape))))
	}
	tall := 0
	for _, layer := range layers {
		tall = max(tall, rowsOf(layer))
	}
	out.Height = 2*margin + max(0, tall*(s.height+s.gapY)-s.gapY)
	var columns []column
	columnOf := make([]int, len(g.tasks))
	x := margin
	for number, layer := range layers {
		rows := rowsOf(layer)
		top := (out.Height - rows*(s.height+s.gapY) + s.gapY) / 2 //nolint:mnd // half
		for part := range slices.Chunk(layer, max(rows, 1)) {
			for place, i := range part {
				out.Nodes[i] = Node{Name: g.tasks[i].Name, Layer: number, X: x, Y: top + place*(s.height+s.gapY)}
				columnOf[i] = len(columns)
			}
			columns = append(columns, column{x: x, top: top, boxes: len(part)})
			x += s.width + s.column
		}
		x += s.gapX - s.column
	}
	out.Width = max(x-s.gapX, margin) + margin
	g.route(&out, columns, columnOf, s)
	return out
}
