package pages

import (
	"fmt"
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

// Labelled is the filter for all runs with one label, from the newest on.
func Labelled(label string) Filter { return Filter{Labels: []string{label}} }

// without is the same filter with one label less, from the newest on.
func (f Filter) without(label string) Filter {
	f.Labels = slices.DeleteFunc(slices.Clone(f.Labels), func(one string) bool { return one == label })
	return f.At("")
}
