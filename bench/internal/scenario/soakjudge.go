package scenario

import (
	"fmt"
	"math"

	"github.com/tenon-run/tenon/bench/internal/chart"
	"github.com/tenon-run/tenon/bench/internal/figures"
)

// soakGoals say when a soak has gone well.
var soakGoals = []figures.Goal{
	{Figure: "rate_share", Bound: 0.99},                         // of the rate asked for, over all of the time
	{Figure: "p99_growth", Below: true, Bound: 1.5},             // the last fifth over the first
	{Figure: "statement_growth", Below: true, Bound: 1.5},       // time of statements for each task, as above
	{Figure: "dead_growth", Below: true, Bound: 2},              // dead rows in live, as above
	{Figure: "live_growth", Below: true, Bound: 1.5},            // size of live until the snapshot, last sample over the first fifth's largest
	{Figure: "live_growth_after", Below: true, Bound: 1.2},      // and after the snapshot, the last fifth's largest over that of the tenth that follows the snapshot
	{Figure: "pinned_p99_ratio", Below: true, Bound: 2},         // with the snapshot over before it
	{Figure: "partition_pause_ms", Below: true, Bound: 100},     // longest time without a start around a change
	{Figure: "payload_p99_ratio", Below: true, Bound: 2},        // small runs' p99 with large ones beside them over before
	{Figure: "pinned_statement_ratio", Below: true, Bound: 1.5}, // time of statements for each task with the snapshot over before it
}

// judge makes a turn's figures of the samples.
func (s *soak) judge() figures.Turn {
	list := s.samples
	fifth := max(1, len(list)/5)
	// The first samples see caches, connections and partitions for the first time.
	first, last := list[min(2, fifth-1):fifth], list[len(list)-fifth:]
	starts := 0.0
	before := 0.0
	for _, one := range list {
		starts += one.Rate * (one.Minute - before)
		before = one.Minute
	}
	rate := starts / before
	p99 := func(one Sample) float64 { return one.P99 }
	time := func(one Sample) float64 { return one.StatementTime }
	dead := func(one Sample) float64 { return float64(one.LiveDead) }
	size := func(one Sample) float64 { return one.LiveMB + one.LiveIndexMB }
	calm, pinned := around(list, phasePinned)
	small, large := around(list, phasePayloads)
	after := list[indexAfter(list, phasePinned):]
	after = after[:min(len(after), max(1, len(list)/10))]
	also := map[string]float64{
		"rate_share": rate / s.cfg.Sizes.SoakRate, "p99_first": middle(first, p99), "p99_last": middle(last, p99), "p99_growth": over(middle(last, p99), middle(first, p99)),
		"statement_us_first": middle(first, time), "statement_growth": over(middle(last, time), middle(first, time)),
		"dead_first": middle(first, dead), "dead_most": largest(list, dead), "dead_growth": over(middle(last, dead), middle(first, dead)),
		"live_mb_first": largest(first, size), "live_growth": over(size(calm[len(calm)-1]), largest(first, size)),
		"live_mb_most": largest(list, size), "live_growth_after": over(largest(last, size), largest(after, size)),
		"pinned_p99": middle(pinned, p99), "pinned_p99_ratio": over(middle(pinned, p99), middle(calm, p99)),
		"pinned_statement_ratio": over(middle(pinned, time), middle(calm, time)),
		"partition_pause_ms":     s.pause, "partition_calm_ms": s.noPause,
		"payload_p99": middle(large, p99), "payload_p99_ratio": over(middle(large, p99), middle(small, p99)),
		"runs": float64(s.runs), "minutes": s.cfg.Sizes.Soak.Minutes(),
	}
	return figures.Turn{Rate: rate, Also: also}
}

// around gives a phase's samples, and as many from before it.
func around(list []Sample, phase string) (before, during []Sample) {
	from, to := indexOf(list, phase), indexAfter(list, phase)
	return list[max(0, from-max(3, to-from)):from], list[from:to]
}

func indexOf(list []Sample, phase string) int {
	for i, one := range list {
		if one.Phase == phase {
			return i
		}
	}
	return len(list) - 1
}

// indexAfter is the first sample after a phase, or the last one.
func indexAfter(list []Sample, phase string) int {
	at := indexOf(list, phase)
	for at < len(list)-1 && list[at].Phase == phase {
		at++
	}
	return at
}

func middle(list []Sample, of func(Sample) float64) float64 {
	var values []float64
	for _, one := range list {
		if one.Rate > 0 { // where nothing started there is no latency; the next start has it
			values = append(values, of(one))
		}
	}
	return figures.Median(values)
}

func largest(list []Sample, of func(Sample) float64) float64 {
	most := 0.0
	for _, one := range list {
		most = max(most, of(one))
	}
	return most
}

// over is a growth; from next to nothing there is none.
func over(now, before float64) float64 {
	if before <= 0 {
		return 1
	}
	return now / before
}

// drawSoak draws the samples.
func drawSoak(rate float64, list []Sample) []byte {
	minutes := make([]float64, len(list))
	var bands []chart.Band
	for i, one := range list {
		minutes[i] = one.Minute
		if one.Phase == "" || i == 0 {
			continue
		}
		if n := len(bands); n > 0 && bands[n-1].Name == one.Phase {
			bands[n-1].To = one.Minute
		} else {
			bands = append(bands, chart.Band{Name: one.Phase, From: list[i-1].Minute, To: one.Minute})
		}
	}
	line := func(name string, of func(Sample) float64) chart.Line {
		out := chart.Line{Name: name, Values: make([]float64, len(list))}
		for i, one := range list {
			out.Values[i] = of(one)
		}
		return out
	}
	statement := func(name string) chart.Line {
		return line(name, func(one Sample) float64 {
			if ms, ok := one.Statements[name]; ok {
				return ms
			}
			return math.NaN()
		})
	}
	return chart.Draw(fmt.Sprintf("%.0f tasks/s for %.3g minutes", rate, minutes[len(minutes)-1]), minutes, bands, []chart.Panel{
		{Title: "starts a second", Lines: []chart.Line{line("starts/s", func(one Sample) float64 { return one.Rate })}},
		{Title: "from the trigger's due time to the start, ms", Lines: []chart.Line{
			line("p99", func(one Sample) float64 { return one.P99 }), line("p50", func(one Sample) float64 { return one.P50 }),
		}},
		{Title: "dead rows", Lines: []chart.Line{
			line("live", func(one Sample) float64 { return float64(one.LiveDead) }), line("all others", func(one Sample) float64 { return float64(one.OtherDead) }),
		}},
		{Title: "live, MB", Lines: []chart.Line{
			line("table", func(one Sample) float64 { return one.LiveMB }), line("indexes", func(one Sample) float64 { return one.LiveIndexMB }),
		}},
		{Title: "all other tables, MB", Lines: []chart.Line{
			line("tables", func(one Sample) float64 { return one.OtherMB }), line("indexes", func(one Sample) float64 { return one.OtherIndexMB }),
		}},
		{Title: "mean time of a statement, ms", Lines: []chart.Line{statement("InsertLive"), statement("FinishRuns"), statement("UpdateLive"), statement("CountRuns")}},
		{Title: "statements' time for each task, µs", Lines: []chart.Line{line("µs", func(one Sample) float64 { return one.StatementTime })}},
		{Title: "server's memory, MB", Lines: []chart.Line{line("resident", func(one Sample) float64 { return one.ServerMB })}},
	})
}
