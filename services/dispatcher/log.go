package dispatcher

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/dispatcherq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/payload"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// Times of lines are clamped to this window around now.
const (
	logOldest = 24 * time.Hour
	logNewest = time.Hour
)

// logLine is a line that is fit to be stored.
type logLine struct {
	*assignment
	class    int16
	at       int64
	sequence int64
	level    int16
	message  string
	fields   []byte
}

// Log stores lines of assignments that the worker was sent. A line sent twice is stored once. Lines of other assignments, without a time or
// with fields that are no JSON object are refused; a long message is cut and marked.
func (s *Service) Log(ctx context.Context, caller Caller, request *workersv1.LogRequest) (*workersv1.LogResponse, error) {
	w, err := s.worker(ctx, caller.TenantID, request.GetWorkerId())
	if err != nil {
		return nil, err
	}
	known, err := s.assignmentsOf(ctx, w, request.GetEntries())
	if err != nil {
		return nil, err
	}
	lines := make([]logLine, 0, len(request.GetEntries()))
	now := s.cfg.Now()
	for _, entry := range request.GetEntries() {
		a := known[id(entry.GetAssignmentId())]
		if a == nil {
			continue
		}
		if line, ok := readLine(a, entry, now); ok {
			lines = append(lines, line)
		}
	}
	if len(lines) > 0 {
		if err := s.queries.InsertLogs(ctx, logRows(w.tenant, lines)); err != nil {
			return nil, pg.Fault(err)
		}
		s.noticeLogs(w.tenant, lines)
	}
	refused := len(request.GetEntries()) - len(lines)
	if refused > 0 {
		s.cfg.Log.Debug("dispatcher: log lines were refused", "tenant", w.tenant, "worker", w.publicID(), "refused", refused)
	}
	return &workersv1.LogResponse{Accepted: int32(len(lines)), Refused: int32(refused)}, nil //nolint:gosec // at most 10,000
}

// noticeLogs tells whoever tails the logs of these runs that there is more. Lines are sorted by run and time.
func (s *Service) noticeLogs(tenant int64, lines []logLine) {
	said := &busv1.LogNotices{}
	for i := range lines {
		if i > 0 && lines[i].run == lines[i-1].run {
			continue
		}
		said.Runs = append(said.Runs, &busv1.LogNotice{RunId: lines[i].run[:], From: lines[i].at})
	}
	data, err := proto.Marshal(said)
	if err == nil {
		err = s.cfg.Bus.Publish(SubjectLogs+strconv.FormatInt(tenant, 10), data)
	}
	if err != nil {
		// A tail that misses the hint reads again before long.
		s.cfg.Log.Debug("dispatcher: notice of log lines not sent", "tenant", tenant, "error", err)
	}
}

// assignmentsOf finds which of the entries' assignments the worker was sent: in its table, among those that ended lately, and, for those
// from before this process, in the database.
func (s *Service) assignmentsOf(ctx context.Context, w *worker, entries []*workersv1.LogEntry) (map[flow.ID]*assignment, error) {
	known := make(map[flow.ID]*assignment)
	open := make(map[flow.ID]*assignment)
	w.mu.Lock()
	for _, entry := range entries {
		key := id(entry.GetAssignmentId())
		if a := w.sent[key]; a != nil && a.proven {
			known[key] = a
		}
	}
	w.mu.Unlock()
	lookup := dispatcherq.RecordedAssignmentsParams{TenantID: w.tenant, WorkerID: w.id}
	for _, entry := range entries {
		key := id(entry.GetAssignmentId())
		if key.IsZero() || known[key] != nil || open[key] != nil {
			continue
		}
		if a := s.finished.get(w, key); a != nil {
			known[key] = a
			continue
		}
		run, err := typeid.Parse(typeid.Run, entry.GetRunId())
		if err != nil {
			continue
		}
		open[key] = &assignment{
			id: key, run: run, taskNo: entry.GetTaskNo(), generation: entry.GetGeneration(), attempt: entry.GetAttempt(),
			brought: true, proven: true,
		}
		lookup.RunIds, lookup.AssignmentIds = append(lookup.RunIds, run), append(lookup.AssignmentIds, key)
	}
	if len(open) == 0 {
		return known, nil
	}
	rows, err := s.queries.RecordedAssignments(ctx, lookup)
	if err != nil {
		return nil, pg.Fault(err)
	}
	for _, row := range rows {
		a := open[row.AssignmentID]
		if a == nil || a.run != row.RunID {
			continue
		}
		a.class = row.Class
		known[a.id] = s.proven(w, a)
	}
	return known, nil
}

// proven notes what the database knows of an assignment, so that it is asked once.
func (s *Service) proven(w *worker, a *assignment) *assignment {
	w.mu.Lock()
	if held := w.sent[a.id]; held != nil {
		held.class, held.proven = a.class, true
		w.mu.Unlock()
		return held
	}
	w.mu.Unlock()
	s.finished.add(w, a, s.cfg.Now())
	return a
}

// readLevel takes what is no level it knows for information.
func readLevel(level runsv1.LogLevel) int16 {
	if level < runsv1.LogLevel_LOG_LEVEL_DEBUG || level > runsv1.LogLevel_LOG_LEVEL_ERROR {
		level = runsv1.LogLevel_LOG_LEVEL_INFO
	}
	return int16(level) //nolint:gosec // one of four
}

func readLine(a *assignment, entry *workersv1.LogEntry, now time.Time) (logLine, bool) {
	line := logLine{assignment: a, class: a.class, sequence: entry.GetSequence(), level: readLevel(entry.GetLevel())}
	if !entry.GetTime().IsValid() || entry.GetSequence() < 1 {
		return line, false
	}
	if fields := entry.GetFieldsJson(); fields != "" {
		trimmed := bytes.TrimSpace([]byte(fields))
		if len(trimmed) == 0 || trimmed[0] != '{' || payload.Check(trimmed, MaxLogText) != nil {
			return line, false
		}
		line.fields = trimmed
	}
	line.at = min(max(entry.GetTime().AsTime().UnixMicro(), now.Add(-logOldest).UnixMicro()), now.Add(logNewest).UnixMicro())
	line.message = cutMarked(storable(entry.GetMessage()), MaxLogText)
	return line, true
}

// logRows lays the lines out for one statement, sorted by the table's key.
func logRows(tenantID int64, lines []logLine) dispatcherq.InsertLogsParams {
	slices.SortFunc(lines, func(a, b logLine) int {
		return cmp.Or(cmp.Compare(a.class, b.class), bytes.Compare(a.run[:], b.run[:]), cmp.Compare(a.at, b.at), bytes.Compare(a.id[:], b.id[:]),
			cmp.Compare(a.sequence, b.sequence))
	})
	rows := dispatcherq.InsertLogsParams{TenantID: tenantID}
	for _, line := range lines {
		rows.Classes = append(rows.Classes, line.class)
		rows.RunIds = append(rows.RunIds, line.run)
		rows.LoggedAt = append(rows.LoggedAt, line.at)
		rows.AssignmentIds = append(rows.AssignmentIds, line.id)
		rows.Sequences = append(rows.Sequences, line.sequence)
		rows.TaskNos = append(rows.TaskNos, int16(line.taskNo)) //nolint:gosec // At most 300: the message's own rules say so.
		rows.Generations = append(rows.Generations, line.generation)
		rows.Attempts = append(rows.Attempts, line.attempt)
		rows.Levels = append(rows.Levels, line.level)
		rows.Messages = append(rows.Messages, line.message)
		rows.Fields = append(rows.Fields, line.fields)
	}
	return rows
}
