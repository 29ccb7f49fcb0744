// Package figures turns measurements into what is printed: medians, quantiles, ratios and the line of a scenario. It does no I/O; the bench's
// other packages import it.
package figures

import (
	"math"
	"slices"
	"time"
)

// Median is the middle of the values, or the mean of the two in the middle; 0 for none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Quantile is the smallest sample that at least the share q of them does not exceed (nearest rank); 0 for no samples.
func Quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Better says which way a unit is good.
type Better int

const (
	// Higher is better: rates.
	Higher Better = iota
	// Lower is better: latencies.
	Lower
)

// Ratio tells how many times better ours is than theirs; 0 where one of them is missing.
func Ratio(ours, theirs float64, better Better) float64 {
	if ours <= 0 || theirs <= 0 {
		return 0
	}
	if better == Lower {
		return theirs / ours
	}
	return ours / theirs
}

// Round keeps three digits behind the point for small numbers, none for large ones: what a noisy machine can tell at most.
func Round(value float64) float64 {
	const large = 1000
	if math.Abs(value) >= large {
		return math.Round(value)
	}
	return math.Round(value*large) / large
}

// Milliseconds of a duration.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
