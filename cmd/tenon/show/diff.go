package show

import (
	"io"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Diff gives the lines in which two texts differ, in the unified form; empty for equal texts.
func Diff(oldName, newName, before, after string) (string, error) {
	const context = 3
	return udiff.ToUnified(oldName, newName, before, udiff.Lines(before, after), context)
}

// WriteDiff writes a difference, what went in red and what came in green if colours are on.
func WriteDiff(w io.Writer, diff string, colours bool) error {
	var out strings.Builder
	for line := range strings.Lines(diff) {
		text := strings.TrimSuffix(line, "\n")
		colour := Plain
		switch {
		case strings.HasPrefix(text, "+++"), strings.HasPrefix(text, "---"):
			colour = Bold
		case strings.HasPrefix(text, "@@"):
			colour = Dim
		case strings.HasPrefix(text, "+"):
			colour = Green
		case strings.HasPrefix(text, "-"):
			colour = Red
		}
		out.WriteString(Paint(colours, colour, text) + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}
