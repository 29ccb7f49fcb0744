package tenon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

const (
	// maxLogText is the server's limit of a line's message and of its fields, in bytes.
	maxLogText = 64 << 10
	// maxLogLines is how many lines wait for the server; beyond that new ones are dropped, with a warning.
	maxLogLines = 20_000
)

// logSender delivers the lines of running tasks in batches that form by themselves.
type logSender struct {
	w       *Worker
	lines   *gatherer[*workersv1.LogEntry]
	waiting atomic.Int64
	dropped atomic.Int64
	ctx     context.Context
	cancel  context.CancelFunc
}

func newLogSender(w *Worker) *logSender {
	s := &logSender{w: w}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.lines = &gatherer[*workersv1.LogEntry]{
		maxCalls: 1, maxItems: maxBatchItems, maxSize: 4 << 20,
		size: func(e *workersv1.LogEntry) int { return proto.Size(e) },
		send: s.send,
	}
	return s
}

func (s *logSender) put(e *workersv1.LogEntry) {
	if s.waiting.Add(1) > maxLogLines {
		s.waiting.Add(-1)
		if s.dropped.Add(1) == 1 {
			s.w.log.Warn("tenon worker drops log lines: the server takes them too slowly", "waiting", maxLogLines)
		}
		return
	}
	if !s.lines.add(e) {
		s.waiting.Add(-1)
	}
}

func (s *logSender) send(batch []*workersv1.LogEntry) {
	defer s.waiting.Add(-int64(len(batch)))
	err := retry(s.ctx, s.w.client.cfg.backoff, func() error {
		worker, _ := s.w.address()
		_, err := s.w.client.workers.Log(s.ctx, &workersv1.LogRequest{WorkerId: worker, Entries: batch})
		return err
	})
	if err != nil {
		s.w.log.Warn("tenon worker could not store log lines", "lines", len(batch), "error", err)
		return
	}
	if n := s.dropped.Swap(0); n > 0 {
		s.w.log.Warn("tenon worker dropped log lines", "lines", n)
	}
}

// close takes no more lines and gives those it has the time d to leave.
func (s *logSender) close(d time.Duration) {
	timer := time.AfterFunc(d, s.cancel)
	s.lines.close()
	timer.Stop()
	s.cancel()
}

// logHandler is the slog handler behind Context.Logger.
type logHandler struct {
	t      *task
	local  slog.Handler
	groups []string
	attrs  []groupedAttr
}

// groupedAttr is an attribute with the groups that were open when it was given.
type groupedAttr struct {
	groups []string
	attr   slog.Attr
}

func newLogHandler(t *task) *logHandler {
	a := t.assignment
	local := t.worker.log.With("run", a.GetRunId(), "task", a.GetTask(), "attempt", a.GetAttempt())
	return &logHandler{t: t, local: local.Handler()}
}

// Enabled stores every level from Debug on, whatever the local logger shows.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelDebug
}

// Handle sends the line to the server and to the local logger.
func (h *logHandler) Handle(ctx context.Context, rec slog.Record) error {
	fields := map[string]any{}
	for _, a := range h.attrs {
		addAttr(fields, a.groups, a.attr)
	}
	rec.Attrs(func(a slog.Attr) bool {
		addAttr(fields, h.groups, a)
		return true
	})
	entry := &workersv1.LogEntry{
		AssignmentId: h.t.assignment.GetAssignmentId(), RunId: h.t.assignment.GetRunId(), TaskNo: h.t.assignment.GetTaskNo(),
		Generation: h.t.assignment.GetGeneration(), Attempt: h.t.assignment.GetAttempt(), Sequence: h.t.lines.Add(1),
		Time: timestamppb.New(rec.Time), Level: logLevel(rec.Level), Message: clip(rec.Message, maxLogText),
	}
	if rec.Time.IsZero() {
		entry.Time = timestamppb.Now()
	}
	if len(fields) > 0 {
		entry.FieldsJson = fieldsJSON(fields)
	}
	h.t.worker.logs.put(entry)
	if h.local.Enabled(ctx, rec.Level) {
		return h.local.Handle(ctx, rec)
	}
	return nil
}

// WithAttrs adds attributes to every line.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.local = h.local.WithAttrs(attrs)
	next.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		next.attrs = append(next.attrs, groupedAttr{h.groups, a})
	}
	return &next
}

// WithGroup puts the attributes that follow into a group.
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.local = h.local.WithGroup(name)
	next.groups = append(slices.Clone(h.groups), name)
	return &next
}

func addAttr(fields map[string]any, groups []string, a slog.Attr) {
	a.Value = a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	for _, g := range groups {
		inner, ok := fields[g].(map[string]any)
		if !ok {
			inner = map[string]any{}
			fields[g] = inner
		}
		fields = inner
	}
	if a.Value.Kind() != slog.KindGroup {
		fields[a.Key] = plain(a.Value)
		return
	}
	var inside []string
	if a.Key != "" {
		inside = []string{a.Key}
	}
	for _, member := range a.Value.Group() {
		addAttr(fields, inside, member)
	}
}

// plain gives a value that encoding/json writes.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindFloat64:
		if _, err := json.Marshal(v.Float64()); err != nil {
			return fmt.Sprint(v.Float64()) // NaN and the infinities
		}
		return v.Float64()
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return err.Error()
		}
		if text, err := json.Marshal(v.Any()); err == nil {
			return json.RawMessage(text)
		}
		return fmt.Sprintf("%+v", v.Any())
	default:
		return v.Any()
	}
}

var errFieldsTooLarge = errors.New("fields over 64 KiB left out")

func fieldsJSON(fields map[string]any) string {
	text, err := json.Marshal(fields)
	if err == nil && len(text) > maxLogText {
		err = errFieldsTooLarge
	}
	if err != nil {
		text, _ = json.Marshal(map[string]string{"tenon_fault": err.Error()}) // a map of strings always can be written
	}
	return clip(string(text), maxLogText)
}

func logLevel(l slog.Level) runsv1.LogLevel {
	switch {
	case l < slog.LevelInfo:
		return runsv1.LogLevel_LOG_LEVEL_DEBUG
	case l < slog.LevelWarn:
		return runsv1.LogLevel_LOG_LEVEL_INFO
	case l < slog.LevelError:
		return runsv1.LogLevel_LOG_LEVEL_WARN
	default:
		return runsv1.LogLevel_LOG_LEVEL_ERROR
	}
}
