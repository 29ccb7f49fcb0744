package progress

import (
	"slices"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Branch is a task in its place: a task hangs below the one of its parents that stands deepest, and names the others.
type Branch struct {
	Task *runsv1.Task
	// Lead are the lines that lead to it: "│  └─ ".
	Lead string
	// After are its parents but the one that it hangs below.
	After []string
}

// Tree orders a run's tasks from parents to children, depth first, siblings as they were declared. A terminal has no room for crossing lines, so a
// task with several parents hangs below one of them.
func Tree(tasks []*runsv1.Task) []Branch {
	byName := make(map[string]*runsv1.Task, len(tasks))
	for _, task := range tasks {
		byName[task.GetName()] = task
	}
	depths := make(map[string]int, len(tasks))
	var depth func(name string) int
	depth = func(name string) int {
		if known, ok := depths[name]; ok {
			return known
		}
		depths[name] = 0 // the server admits no cycle; were there one, it would end here
		deepest := 0
		for _, parent := range byName[name].GetParents() {
			if byName[parent] != nil {
				deepest = max(deepest, depth(parent)+1)
			}
		}
		depths[name] = deepest
		return deepest
	}
	children := make(map[string][]*runsv1.Task)
	after := make(map[string][]string)
	for _, task := range tasks {
		above := ""
		for _, parent := range task.GetParents() {
			if byName[parent] != nil && (above == "" || depth(parent) > depth(above)) {
				above = parent
			}
		}
		children[above] = append(children[above], task)
		after[task.GetName()] = slices.DeleteFunc(slices.Clone(task.GetParents()), func(p string) bool { return p == above })
	}
	out := make([]Branch, 0, len(tasks))
	var hang func(above, indent string)
	hang = func(above, indent string) {
		for i, task := range children[above] {
			lead, below := indent+"├─ ", indent+"│  "
			if i == len(children[above])-1 {
				lead, below = indent+"└─ ", indent+"   "
			}
			if above == "" {
				lead, below = "", ""
			}
			out = append(out, Branch{task, lead, after[task.GetName()]})
			hang(task.GetName(), below)
		}
	}
	hang("", "")
	return out
}
