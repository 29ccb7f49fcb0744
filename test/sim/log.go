package sim

import (
	"context"
	"log/slog"
	"strings"
)

// ear hears what a scheduler logs. It stands in the trace, and an engine that fails is a breach whatever comes of it.
type ear struct{ s *scheduling }

func (e ear) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (e ear) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		text.WriteString(" " + a.String())
		return true
	})
	e.s.w.notef("%s says: %s", e.s.name, text.String())
	if strings.Contains(r.Message, "engine of a shard failed") {
		e.s.w.failf("P2: %s: %s", e.s.name, text.String())
	}
	return nil
}

func (e ear) WithAttrs([]slog.Attr) slog.Handler { return e }

func (e ear) WithGroup(string) slog.Handler { return e }
