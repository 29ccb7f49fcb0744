package show

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Instant writes an instant for people, in their zone, to the second; an unset one is empty.
func Instant(at *timestamppb.Timestamp, zone *time.Location) string {
	if at == nil {
		return ""
	}
	return at.AsTime().In(zone).Format(time.DateTime)
}

// Between writes the time from one instant to another, or to now where the other is unset; empty without the first.
func Between(from, to *timestamppb.Timestamp, now time.Time) string {
	if from == nil {
		return ""
	}
	end := now
	if to != nil {
		end = to.AsTime()
	}
	// The server's clock may be ahead of ours.
	return Duration(max(0, end.Sub(from.AsTime())))
}

// Duration writes a duration in its two largest units, which is what one compares by: 12ms, 3.4s, 2m05s, 1h02m, 3d04h.
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	const percent = 100
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%d.%02ds", d/time.Second, d%time.Second/(time.Second/percent))
	case d < time.Minute:
		return fmt.Sprintf("%d.%ds", d/time.Second, d%time.Second/(time.Second/10))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
	}
}

// Setting writes a duration of a workflow's declaration exactly; an unset one is empty.
func Setting(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return d.AsDuration().String()
}
