// Package chart draws lines over time as an SVG: one panel below the other, on one axis of minutes. It does no I/O; the bench's scenarios import it.
package chart

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Panel is one drawing with its own upright axis, which begins at 0.
type Panel struct {
	Title string
	Lines []Line
}

// Line is one curve; it has a value for each instant of the chart, NaN where it has none.
type Line struct {
	Name   string
	Values []float64
}

// Band is a stretch of time with a name.
type Band struct {
	Name     string
	From, To float64 // minutes
}

const (
	width, left, right = 960.0, 70.0, 190.0
	height, gap, top   = 130.0, 40.0, 40.0
)

// Draw draws the panels over the instants, in minutes, with the bands behind them.
func Draw(title string, minutes []float64, bands []Band, panels []Panel) []byte {
	var out strings.Builder
	total := top + float64(len(panels))*(height+gap) + gap
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">`+"\n", width, total)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" fill="white"/><text x="%.0f" y="22" font-size="15">%s</text>`+"\n", left, html.EscapeString(title))
	end := 1e-9
	for _, at := range minutes {
		end = max(end, at)
	}
	x := func(minute float64) float64 { return left + minute/end*(width-left-right) }
	for i, p := range panels {
		p.draw(&out, top+gap/2+float64(i)*(height+gap), minutes, bands, x)
	}
	const ticks = 6
	for i := range ticks + 1 {
		minute := end * float64(i) / ticks
		fmt.Fprintf(&out, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#555">%.3g min</text>`+"\n", x(minute), total-gap/2, minute)
	}
	out.WriteString("</svg>\n")
	return []byte(out.String())
}

func (p Panel) draw(out *strings.Builder, y0 float64, minutes []float64, bands []Band, x func(float64) float64) {
	colours := []string{"#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df"}
	most := 0.0
	for _, l := range p.Lines {
		for _, v := range l.Values {
			if !math.IsNaN(v) {
				most = max(most, v)
			}
		}
	}
	most = nice(most)
	y := func(v float64) float64 { return y0 + height - v/most*height }
	for _, b := range bands {
		fmt.Fprintf(out, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.0f" fill="#f2efe4"><title>%s</title></rect>`+"\n",
			x(b.From), y0, max(1, x(b.To)-x(b.From)), height, html.EscapeString(b.Name))
		fmt.Fprintf(out, `<text x="%.1f" y="%.1f" fill="#777">%s</text>`+"\n", x(b.From)+2, y0+height-3, html.EscapeString(b.Name))
	}
	fmt.Fprintf(out, `<text x="%.0f" y="%.1f" font-weight="bold">%s</text>`+"\n", left, y0-5, html.EscapeString(p.Title))
	for _, share := range []float64{0, 0.5, 1} {
		fmt.Fprintf(out, `<path d="M%.0f %.1fH%.0f" stroke="#ddd"/><text x="%.0f" y="%.1f" text-anchor="end" fill="#555">%.4g</text>`+"\n",
			left, y(most*share), width-right, left-5, y(most*share)+4, most*share)
	}
	for i, l := range p.Lines {
		colour := colours[i%len(colours)]
		fmt.Fprintf(out, `<path fill="none" stroke="%s" stroke-width="1.4" d="%s"/>`+"\n", colour, path(minutes, l.Values, x, y))
		fmt.Fprintf(out, `<text x="%.0f" y="%.1f" fill="%s">%s</text>`+"\n", width-right+8, y0+12+float64(i)*14, colour, html.EscapeString(l.Name))
	}
}

// path is a line's way, with a hole where a value is missing.
func path(minutes, values []float64, x, y func(float64) float64) string {
	var out strings.Builder
	pen := "M"
	for i, v := range values {
		if math.IsNaN(v) || i >= len(minutes) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&out, "%s%.1f %.1f", pen, x(minutes[i]), y(v))
		pen = "L"
	}
	return out.String()
}

// nice rounds up to 1, 2 or 5 times a power of ten.
func nice(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 5} {
		if v <= step*power {
			return step * power
		}
	}
	return 10 * power
}
