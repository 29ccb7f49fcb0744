package chart_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/tenon-run/tenon/bench/internal/chart"
)

func TestDraw(t *testing.T) {
	t.Parallel()
	svg := string(chart.Draw("a & b", []float64{0, 1, 2, 3}, []chart.Band{{Name: "pinned <snapshot>", From: 1, To: 2}}, []chart.Panel{
		{Title: "first", Lines: []chart.Line{{Name: "line", Values: []float64{0, 50, math.NaN(), 100}}}},
		{Title: "empty", Lines: []chart.Line{{Name: "nothing", Values: nil}}},
	}))
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("no XML: %v\n%s", err, svg)
		}
	}
	// From the left edge at 0 over the middle of the panel; a hole; then its top at the right edge.
	for _, want := range []string{"a &amp; b", "pinned &lt;snapshot&gt;", `d="M70.0 190.0L303.3 125.0M770.0 60.0"`} {
		if !strings.Contains(svg, want) {
			t.Errorf("%s is missing in\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error("a number that no browser draws")
	}
}
