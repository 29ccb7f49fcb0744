package pages

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ParseLabels reads labels as people write them, each as key=value. What keys and values may be the API tells.
func ParseLabels(texts []string) (map[string]string, error) {
	labels := make(map[string]string, len(texts))
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("“%s” is no label; write it as key=value", text)
		}
		if have, ok := labels[key]; ok && have != value {
			return nil, fmt.Errorf("a run has one value for “%s”, not both “%s” and “%s”", key, have, value)
		}
		labels[key] = value
	}
	return labels, nil
}

// LabelLines are the labels of a form's text, one a line.
func LabelLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// labelTexts are a run's labels as people write them.
func labelTexts(labels map[string]string) []string {
	out := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, key+"="+labels[key])
	}
	return out
}

// Labelled is the filter for all runs with one label, from the newest on.
func Labelled(label string) Filter { return Filter{Labels: []string{label}} }

// without is the same filter with one label less, from the newest on.
func (f Filter) without(label string) Filter {
	f.Labels = slices.DeleteFunc(slices.Clone(f.Labels), func(one string) bool { return one == label })
	return f.At("")
}

// fewLabels are the labels that a line of a list has room for, and how many it has not.
func fewLabels(labels map[string]string) (shown []string, more int) {
	const room = 2
	all := labelTexts(labels)
	shown = all[:min(room, len(all))]
	return shown, len(all) - len(shown)
}
