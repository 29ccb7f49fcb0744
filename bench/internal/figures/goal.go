package figures

import (
	"fmt"
	"strings"
)

// Goal is a bound of one of a line's figures.
type Goal struct {
	// Figure is the field's name in JSON, one of Also's names, or ratio_floor_p99, P99 over FloorP99.
	Figure string
	// Below says that the figure must stay under Bound; otherwise it must reach it.
	Below bool
	Bound float64
}

func (g Goal) String() string {
	if g.Below {
		return fmt.Sprintf("%s < %v", g.Figure, g.Bound)
	}
	return fmt.Sprintf("%s >= %v", g.Figure, g.Bound)
}

// Judge writes the goals and whether all of them are met into the line. A figure that was not measured meets nothing.
func (l *Line) Judge(goals []Goal) {
	if len(goals) == 0 {
		return
	}
	met := true
	texts := make([]string, len(goals))
	for i, g := range goals {
		texts[i] = g.String()
		value, measured := l.figure(g.Figure)
		met = met && measured && (g.Below && value < g.Bound || !g.Below && value >= g.Bound)
	}
	l.Goal, l.Met = strings.Join(texts, ", "), &met
}

func (l *Line) figure(name string) (value float64, measured bool) {
	if value, measured = l.Also[name]; measured {
		return value, true
	}
	switch name {
	case "tenon":
		value = l.Tenon
	case "ratio":
		value = l.Ratio
	case "ratio_floor":
		value = l.RatioFloor
	case "ratio_floor_p99":
		if l.FloorP99 > 0 {
			value = l.P99 / l.FloorP99
		}
	case "ratio_echo":
		value = l.RatioEcho
	}
	return value, value > 0
}
