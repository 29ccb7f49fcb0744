package pages

import (
	"slices"
	"strings"
)

// change is a line of a difference: kept, gone or new.
type change struct{ kind, text string }

// difference tells two texts apart line by line, with a few lines kept around each change.
func difference(before, after string) []change {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	common := longest(a, b)
	var all []change
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, change{"kept", a[i]})
			i, j = i+1, j+1
		case j >= len(b) || (i < len(a) && common[i+1][j] >= common[i][j+1]):
			all = append(all, change{"gone", a[i]})
			i++
		default:
			all = append(all, change{"new", b[j]})
			j++
		}
	}
	return around(all)
}

// longest is the table of the longest common subsequences of what is left of both from each place on.
func longest(a, b []string) [][]int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i, left := range slices.Backward(a) {
		for j, right := range slices.Backward(b) {
			if left == right {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

// around leaves out what is far from any change.
func around(all []change) []change {
	const context = 3
	near := make([]bool, len(all))
	for i, c := range all {
		if c.kind != "kept" {
			for k := max(0, i-context); k <= min(len(all)-1, i+context); k++ {
				near[k] = true
			}
		}
	}
	var out []change
	for i, c := range all {
		switch {
		case near[i]:
			out = append(out, c)
		case i > 0 && near[i-1]:
			out = append(out, change{"cut", "…"})
		}
	}
	return out
}
