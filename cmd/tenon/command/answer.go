package command

import (
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/cmd/tenon/show"
)

// colours says whether a stream that is a terminal, or none, is painted.
func (c *cli) colours(terminal bool) bool {
	return terminal && c.host.Getenv("NO_COLOR") == "" && c.host.Getenv("TERM") != "dumb"
}

// answer writes a message for programs, or lets people draw it for people.
func (c *cli) answer(message proto.Message, people func() error) error {
	if c.format == show.Table {
		return people()
	}
	return show.Document(c.host.Out, c.format, message)
}

// rows writes a table.
func (c *cli) rows(table *show.Rows) error {
	return table.Write(c.host.Out, c.colours(c.host.OutTerminal))
}

// say writes a line for people.
func (c *cli) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c.host.Out, format+"\n", args...)
	return err
}

// notef writes a line beside the answer, so that it does not get into what a program reads.
func (c *cli) notef(format string, args ...any) {
	_, _ = fmt.Fprintf(c.host.Err, format+"\n", args...)
}

// hintf is a note for people who type, left out where nobody reads it.
func (c *cli) hintf(format string, args ...any) {
	if c.host.ErrTerminal {
		_, _ = fmt.Fprintf(c.host.Err, "%s %s\n", show.Paint(c.colours(true), show.Dim, "next: "), fmt.Sprintf(format, args...))
	}
}

// facts is a table of names and values, without those that have no value.
type facts struct{ rows *show.Rows }

func newFacts() facts { return facts{show.NewRows()} }

func (f facts) add(name, value string, colour ...show.Colour) {
	if value == "" {
		return
	}
	cell := show.Cell{Text: value}
	if len(colour) > 0 {
		cell.Colour = colour[0]
	}
	f.rows.Add(show.Cell{Text: name, Colour: show.Dim}, cell)
}

// readable is a file of the user's, for an error that names it.
func readable(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, badCall("%s", strings.TrimPrefix(err.Error(), "open "))
	}
	return text, nil
}
