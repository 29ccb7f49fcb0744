package show

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Colour is what a piece of text is painted with on a terminal.
type Colour string

// The colours, as ANSI codes: those that every terminal maps to its theme.
const (
	Plain  Colour = ""
	Dim    Colour = "2"
	Bold   Colour = "1"
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
	Blue   Colour = "34"
)

// Paint puts text into a colour, if colours are on.
func Paint(on bool, colour Colour, text string) string {
	if !on || colour == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(colour) + "m" + text + "\x1b[0m"
}

// Cell is a text of a table.
type Cell struct {
	Text   string
	Colour Colour
}

// Text makes cells without a colour.
func Text(texts ...string) []Cell {
	cells := make([]Cell, len(texts))
	for i, text := range texts {
		cells[i].Text = text
	}
	return cells
}

// Rows is a table: columns as wide as their widest text, two blanks apart, the last one as long as it likes.
type Rows struct {
	heads []string
	rows  [][]Cell
}

// NewRows makes an empty table. Without heads it has no head line.
func NewRows(heads ...string) *Rows { return &Rows{heads: heads} }

// Add appends a row.
func (t *Rows) Add(cells ...Cell) { t.rows = append(t.rows, cells) }

// Len is the number of rows.
func (t *Rows) Len() int { return len(t.rows) }

// Write writes the table; an empty text stands as "-", so that columns can be counted.
func (t *Rows) Write(w io.Writer, colours bool) error {
	rows := t.rows
	if len(t.heads) > 0 {
		head := make([]Cell, len(t.heads))
		for i, text := range t.heads {
			head[i] = Cell{first(text, " "), Dim}
		}
		rows = append([][]Cell{head}, rows...)
	}
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(shown(cell)))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			text := shown(cell)
			out.WriteString(Paint(colours, cell.Colour, text))
			if i < len(row)-1 {
				out.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+2))
			}
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func first(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func shown(cell Cell) string {
	if cell.Text == "" {
		return "-"
	}
	return OneLine(cell.Text)
}

// OneLine makes a text fit for a line of a terminal: line breaks and other control characters, which could paint or move, become blanks.
func OneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, text)
}

// Lines is OneLine for a text of several lines: its line feeds and tabs stay.
func Lines(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, text)
}

// Clip cuts a text to so many characters, the last one an ellipsis when something was cut.
func Clip(text string, most int) string {
	if most < 1 || utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
