package flow

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// Fault is one thing wrong with a declaration, at the path of a field, for example "tasks[2].parents[0]".
type Fault struct {
	Path    string
	Message string
}

// Plan is a workflow's shape, ready for the engine: numbers instead of names.
type Plan struct {
	WorkflowID int64
	Version    int
	Workflow   *Workflow
	Parents    [][]int  // by task index, indices of its parents
	Children   [][]int  // by task index, indices of its children
	Leaves     []int    // tasks without children, in order
	Lanes      []uint64 // by task index
	Actions    []string // by task index
	byName     map[string]int
}

// Single tells whether a run of the workflow is one row.
func (p *Plan) Single() bool { return len(p.Workflow.Tasks) == 1 }

// Task finds a task's index by its name.
func (p *Plan) Task(name string) (int, bool) {
	i, ok := p.byName[name]
	return i, ok
}

// NewPlan numbers a declaration's tasks. It answers with every fault in names, parents and cycles.
func NewPlan(w *Workflow) (*Plan, []Fault) {
	n := len(w.Tasks)
	p := &Plan{
		Workflow: w, Parents: make([][]int, n), Children: make([][]int, n), Lanes: make([]uint64, n), Actions: make([]string, n),
		byName: make(map[string]int, n),
	}
	faults := p.index()
	faults = append(faults, p.link()...)
	if len(faults) == 0 {
		faults = p.cycles()
	}
	if len(faults) > 0 {
		return nil, faults
	}
	for i, children := range p.Children {
		if len(children) == 0 {
			p.Leaves = append(p.Leaves, i)
		}
	}
	return p, nil
}

func (p *Plan) index() []Fault {
	var faults []Fault
	for i, t := range p.Workflow.Tasks {
		if first, taken := p.byName[t.Name]; taken {
			faults = append(faults, Fault{fmt.Sprintf("tasks[%d].name", i), fmt.Sprintf("task name %q is already used by tasks[%d]", t.Name, first)})
			continue
		}
		p.byName[t.Name] = i
		p.Actions[i] = ActionName(p.Workflow.Name, t.Name)
		p.Lanes[i] = LaneKey(t.Queue, p.Actions[i])
	}
	return faults
}

func (p *Plan) link() []Fault {
	var faults []Fault
	for i, t := range p.Workflow.Tasks {
		for j, name := range t.Parents {
			path := fmt.Sprintf("tasks[%d].parents[%d]", i, j)
			parent, ok := p.byName[name]
			switch {
			case !ok:
				faults = append(faults, Fault{path, fmt.Sprintf("there is no task %q in this workflow", name)})
			case parent == i:
				faults = append(faults, Fault{path, fmt.Sprintf("task %q names itself as a parent", name)})
			case slices.Contains(t.Parents[:j], name):
				faults = append(faults, Fault{path, fmt.Sprintf("parent %q is named twice", name)})
			default:
				p.Parents[i] = append(p.Parents[i], parent)
				p.Children[parent] = append(p.Children[parent], i)
			}
		}
	}
	return faults
}

// cycles names the cycles: each walk along parents among the tasks that no topological order reaches ends in one, and each is named once.
func (p *Plan) cycles() []Fault {
	left := p.unreached()
	walked := make([]int, len(left)) // by task: the walk that came by, from 1
	var faults []Fault
	for start := range left {
		var path []int
		at := start
		for left[at] > 0 && walked[at] == 0 {
			walked[at] = start + 1
			path = append(path, at)
			at = p.Parents[at][slices.IndexFunc(p.Parents[at], func(q int) bool { return left[q] > 0 })]
		}
		if len(path) == 0 || walked[at] != start+1 {
			continue // reached, or led into a cycle that is named already
		}
		path = append(path[slices.Index(path, at):], at)
		slices.Reverse(path)
		faults = append(faults, p.cycle(path))
	}
	return faults
}

// unreached counts for each task the parents that come after it in every order: 0 for each task that can be put in order.
func (p *Plan) unreached() []int {
	left := make([]int, len(p.Parents))
	var ready []int
	for i, parents := range p.Parents {
		if left[i] = len(parents); left[i] == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		i := ready[0]
		ready = ready[1:]
		for _, c := range p.Children[i] {
			if left[c]--; left[c] == 0 {
				ready = append(ready, c)
			}
		}
	}
	return left
}

func (p *Plan) cycle(path []int) Fault {
	const most = 12 // names that a message lists
	var names []string
	for i, t := range path {
		if len(path) > most && i == most-1 {
			names = append(names, fmt.Sprintf("(%d more)", len(path)-most))
			t = path[len(path)-1]
			names = append(names, p.Workflow.Tasks[t].Name)
			break
		}
		names = append(names, p.Workflow.Tasks[t].Name)
	}
	return Fault{fmt.Sprintf("tasks[%d].parents", path[0]), "tasks form a cycle: " + strings.Join(names, " -> ")}
}

// LaneKey names the line that a queued task waits in: tasks of one lane can be served by the same workers. It is never 0, which says "no lane".
func LaneKey(queue, action string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(queue))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(action))
	return max(h.Sum64(), 1)
}
