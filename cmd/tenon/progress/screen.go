package progress

import (
	"fmt"
	"io"
	"strings"
)

// Screen redraws lines in place on a terminal.
type Screen struct {
	w     io.Writer
	drawn int // lines that stand there
}

const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"
)

// NewScreen takes the terminal from the cursor's line down. Call [Screen.Leave] in the end.
func NewScreen(w io.Writer) *Screen { return &Screen{w: w} }

// Draw puts lines in the place of those drawn before, in one write, so that nothing flickers.
func (s *Screen) Draw(lines []string) error {
	var out strings.Builder
	if s.drawn == 0 {
		out.WriteString(hideCursor)
	} else {
		fmt.Fprintf(&out, "\x1b[%dA\r", s.drawn)
	}
	for _, line := range lines {
		out.WriteString(line + clearLine + "\n")
	}
	if len(lines) < s.drawn {
		out.WriteString(clearBelow)
	}
	s.drawn = len(lines)
	_, err := io.WriteString(s.w, out.String())
	return err
}

// Leave leaves what is drawn and gives the cursor back.
func (s *Screen) Leave() error {
	if s.drawn == 0 {
		return nil
	}
	_, err := io.WriteString(s.w, showCursor)
	return err
}
