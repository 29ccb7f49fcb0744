package pages

import (
	"fmt"
	"slices"
	"time"

	"github.com/a-h/templ"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// RunsView is the list of runs at the instant Now.
type RunsView struct {
	Filter Filter
	Runs   []*runsv1.Run
	// Workflows are the names to choose from.
	Workflows []string
	Stats     *runsv1.GetRunStatsResponse
	// Next is the token of the page with older runs; empty on the last.
	Next  string
	Now   time.Time
	Error string
	// Plain is a list within another page, without selection.
	Plain bool
	// First is shown when there is no run yet.
	First FirstSteps
}

// Filter is the part of the list that an address names.
type Filter struct {
	Status, Workflow, Range, ID, Parent, Page string
	// Labels are written as key=value.
	Labels []string
}

// IsZero reports whether all runs are shown from the newest on.
func (f Filter) IsZero() bool {
	return f.Status+f.Workflow+f.Range+f.ID+f.Parent+f.Page == "" && len(f.Labels) == 0
}

// At is the same filter on another page.
func (f Filter) At(page string) Filter {
	f.Page = page
	return f
}

// In is the same filter for runs in another state, from the newest on.
func (f Filter) In(status string) Filter {
	f.Status, f.Page = status, ""
	return f
}

// Query is the filter as an address has it, for the page and for its live stream.
func (f Filter) query(address templ.SafeURL) templ.SafeURL {
	pairs := []string{"status", f.Status, "workflow", f.Workflow, "range", f.Range, "id", f.ID, "parent", f.Parent, "page_token", f.Page}
	for _, label := range f.Labels {
		pairs = append(pairs, "label", label)
	}
	return with(address, pairs...)
}

// Link is the address of the list with this filter.
func (f Filter) Link(s Shell) templ.SafeURL { return f.query(s.At("runs")) }

// ranges are the spans of time that a list may be narrowed to.
var ranges = []struct {
	Choice
	span time.Duration
}{
	{Choice{"1h", "Last hour"}, time.Hour},
	{Choice{"6h", "Last 6 hours"}, 6 * time.Hour},
	{Choice{"24h", "Last 24 hours"}, 24 * time.Hour},
	{Choice{"7d", "Last 7 days"}, 7 * 24 * time.Hour},
	{Choice{"30d", "Last 30 days"}, 30 * 24 * time.Hour},
}

// Since is the instant from which on runs are shown; zero is from the first.
func (f Filter) Since(now time.Time) time.Time {
	for _, known := range ranges {
		if known.Value == f.Range {
			return now.Add(-known.span)
		}
	}
	return time.Time{}
}

// Window is the span of time that the counts and the picture above the list are about.
func (f Filter) Window() time.Duration {
	const longest = 7 * 24 * time.Hour // that the API counts over
	for _, known := range ranges {
		if known.Value == f.Range {
			return min(known.span, longest)
		}
	}
	return time.Hour
}

// windowLabel is the window as the end of a sentence.
func (f Filter) windowLabel() string {
	switch window := f.Window(); window {
	case time.Hour:
		return "the last hour"
	case 7 * 24 * time.Hour:
		return "the last 7 days"
	default:
		return fmt.Sprintf("the last %d hours", window/time.Hour)
	}
}

// chip is a state with its number of runs, to choose it.
type chip struct {
	Choice
	Status
	count string
}

func (v RunsView) chips() []chip {
	chips := []chip{{Choice: Choice{"", "All"}, Status: Status{"All", "none"}}}
	for _, known := range runStatuses {
		chips = append(chips, chip{Choice{known.value, known.Label}, known.Status, v.counted(known.status)})
	}
	return chips
}

// counted is how many runs of a state there are: open ones now, ended ones within the window.
func (v RunsView) counted(status runsv1.RunStatus) string {
	if v.Stats == nil {
		return ""
	}
	more := ""
	if v.Stats.GetOpenLowerBound() {
		more = "+"
	}
	ended := v.Stats.GetEnded()
	switch status {
	case runsv1.RunStatus_RUN_STATUS_QUEUED:
		return thousands(v.Stats.GetQueued()) + more
	case runsv1.RunStatus_RUN_STATUS_RUNNING:
		return thousands(v.Stats.GetRunning()) + more
	case runsv1.RunStatus_RUN_STATUS_COMPLETED:
		return thousands(ended.GetCompleted())
	case runsv1.RunStatus_RUN_STATUS_FAILED:
		return thousands(ended.GetFailed())
	case runsv1.RunStatus_RUN_STATUS_CANCELLED:
		return thousands(ended.GetCancelled())
	default:
		return thousands(ended.GetTimedOut())
	}
}

// thousands writes a number in groups of three digits.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// bar is a step of the sparkline: what ended well stands on the ground, what did not on top of it.
type bar struct{ x, good, bad, top float64 }

const (
	sparkWidth  = 600
	sparkHeight = 36
	sparkBars   = 60
)

// spark is the throughput of the window, and how many a step its highest bar is.
func spark(stats *runsv1.GetRunStatsResponse) ([]bar, int64) {
	points := stats.GetPoints()
	if len(points) == 0 {
		return nil, 0
	}
	// Several points make a bar where there are more points than room.
	group := max((len(points)+sparkBars-1)/sparkBars, 1)
	type sum struct{ good, bad int64 }
	var sums []sum
	for chunk := range slices.Chunk(points, group) {
		var s sum
		for _, p := range chunk {
			s.good += p.GetEnded().GetCompleted() + p.GetEnded().GetCancelled()
			s.bad += p.GetEnded().GetFailed() + p.GetEnded().GetTimedOut()
		}
		sums = append(sums, s)
	}
	highest := int64(0)
	for _, s := range sums {
		highest = max(highest, s.good+s.bad)
	}
	scale := float64(sparkHeight) / float64(max(highest, 1))
	bars := make([]bar, len(sums))
	for i, s := range sums {
		b := bar{x: float64(i) * sparkWidth / float64(len(sums)), good: float64(s.good) * scale, bad: float64(s.bad) * scale}
		if s.bad > 0 {
			b.bad = max(b.bad, 2) //nolint:mnd // a failure among thousands is seen too
		}
		b.top = sparkHeight - b.good
		bars[i] = b
	}
	return bars, highest
}

// outcome is a sentence about what ended within the window.
func (v RunsView) outcome() string {
	ended := v.Stats.GetEnded()
	bad := ended.GetFailed() + ended.GetTimedOut()
	all := bad + ended.GetCompleted() + ended.GetCancelled()
	return fmt.Sprintf("%s ended in %s, %s of them failed or timed out", thousands(all), v.Filter.windowLabel(), thousands(bad))
}

// selectable reports whether the viewer may choose runs to cancel or replay; lists on other pages have no next page and no filters.
func (v RunsView) selectable(s Shell) bool { return s.May.Run && !v.Plain }

// names are the workflows to choose from, the chosen one always among them.
func (v RunsView) names() []string {
	if v.Filter.Workflow == "" || slices.Contains(v.Workflows, v.Filter.Workflow) {
		return v.Workflows
	}
	return append([]string{v.Filter.Workflow}, v.Workflows...)
}
