package pages

import registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"

// TriggerForm starts a run, as its form shows it again after a refusal.
type TriggerForm struct {
	// Workflow is what to start; nil lets the viewer choose among Workflows first.
	Workflow  *registryv1.Workflow
	Workflows []*registryv1.Workflow
	Fields    []Field
	// Input is raw JSON, which wins over the fields.
	Input    string
	Priority string
	// Labels are written as key=value, each on a line of its own.
	Labels string
	Error  string
}

func priorities() []Choice {
	return []Choice{
		{"", "As the workflow says"}, {"9", "9, most urgent"}, {"8", "8"}, {"7", "7"}, {"6", "6"}, {"5", "5"}, {"4", "4, usual"}, {"3", "3"}, {"2", "2"}, {"1", "1"}, {"0", "0, least"},
	}
}
