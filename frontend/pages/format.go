package pages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/frontend/graph"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// unit is the word after a number: "run" or "runs".
func unit(n int32, one string) string {
	if n == 1 {
		return one
	}
	return one + "s"
}

// attempts counts what a task has used: "2", or "2 + 1 lost" when workers were lost.
func attempts(t *runsv1.Task) string {
	text := strconv.Itoa(int(t.GetAttempt()))
	if lost := t.GetLostAttempts(); lost > 0 {
		text += fmt.Sprintf(" + %d lost", lost)
	}
	return text
}

func clock(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.DateTime) }

func instant(t *timestamppb.Timestamp) string {
	return t.AsTime().UTC().Format("2006-01-02T15:04:05.000Z")
}

// ago says how long before now an instant was, in its largest unit; beyond 30 days its date.
func ago(t *timestamppb.Timestamp, now time.Time) string {
	const day = 24 * time.Hour
	switch d := now.Sub(t.AsTime()); {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d m ago", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	case d < 30*day: //nolint:mnd // said above
		return fmt.Sprintf("%d d ago", d/day)
	default:
		return t.AsTime().UTC().Format(time.DateOnly)
	}
}

// firstWords cuts a message that would fill the table.
func firstWords(message string) string {
	const most = 200 // characters
	if runes := []rune(message); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return message
}

// elapsed is the time from start to end, or to now while there is no end; a dash before the start.
func elapsed(start, end *timestamppb.Timestamp, now time.Time) string {
	if start == nil {
		return "–"
	}
	if end != nil {
		return duration(end.AsTime().Sub(start.AsTime()))
	}
	// What still runs is seen every other second: tenths of it would only flicker, and so would zero.
	return duration(max(now.Sub(start.AsTime()).Truncate(time.Second), time.Second))
}

// duration writes a span in its two largest units. The clocks of server and database may differ: below zero is zero.
func duration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute && d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Minute:
		// Cut, not rounded: 59.96 s must not read 60.0 s.
		return fmt.Sprintf("%.1f s", d.Truncate(time.Second/10).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d m %02d s", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%d h %02d m", d/time.Hour, d%time.Hour/time.Minute)
	}
}

// boolText is a truth value as attributes have it.
func boolText(is bool) string { return strconv.FormatBool(is) }

func count[N int | int32 | int64](n N) string { return strconv.FormatInt(int64(n), 10) }

// tidyJSON is a JSON text with a line for each value, cut where it would fill the page. Numbers keep all their digits.
func tidyJSON(text string) string {
	const most = 64 << 10 // bytes
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(text), "", "  "); err != nil {
		return text
	}
	if out.Len() > most {
		return strings.ToValidUTF8(string(out.Bytes()[:most]), "") + "\n… cut here: the raw JSON has the rest"
	}
	return out.String()
}

// short is the end of an id, which differs from its neighbours', behind its kind: "run_…q0v3vw".
func short(id string) string {
	const kept = 8
	kind, rest, ok := strings.Cut(id, "_")
	if !ok || len(rest) <= kept {
		return id
	}
	return kind + "_…" + rest[len(rest)-kept:]
}

// timeNow is the instant that a page is made for.
type timeNow = time.Time

// inTime says how long it is until an instant.
func inTime(t *timestamppb.Timestamp, now time.Time) string {
	const day = 24 * time.Hour
	switch d := t.AsTime().Sub(now); {
	case d < time.Second:
		return "now"
	case d < 2*day: //nolint:mnd // hours say more about less than two days
		return "in " + duration(d.Truncate(time.Second))
	default:
		return fmt.Sprintf("in %d d", d/day)
	}
}

func logClock(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format("15:04:05.000") }

func logLevel(l runsv1.LogLevel) string {
	switch l {
	case runsv1.LogLevel_LOG_LEVEL_DEBUG:
		return "debug"
	case runsv1.LogLevel_LOG_LEVEL_WARN:
		return "warn"
	case runsv1.LogLevel_LOG_LEVEL_ERROR:
		return "error"
	default:
		return "info"
	}
}

// logFields is a line's further fields; an empty object is nothing to show.
func logFields(text string) string {
	if text == "{}" || text == "null" {
		return ""
	}
	return text
}

func viewBox(l graph.Layout) string { return fmt.Sprintf("0 0 %d %d", l.Width, l.Height) }

// withArticle puts a role into a sentence: "an admin".
func withArticle(role string) string {
	if strings.ContainsAny(role[:min(1, len(role))], "aeiou") {
		return "an " + role
	}
	return "a " + role
}

// sentence is the API's text as a page says it: errors of the API begin small and end without a full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	if word, _, _ := strings.Cut(text, " "); !strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) { // else it is a field or a name
		first, size := utf8.DecodeRuneInString(text)
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if last, _ := utf8.DecodeLastRuneInString(text); !strings.ContainsRune(".!?…", last) {
		text += "."
	}
	return text
}
