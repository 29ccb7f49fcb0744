package dispatcher

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

func line(o *busv1.OrderedAssignment, sequence int64, message string) *workersv1.LogEntry {
	return &workersv1.LogEntry{
		AssignmentId: o.GetAssignmentId(), RunId: typeid.Format(typeid.Run, id(o.GetRunId())), TaskNo: o.GetTaskNo(), Generation: o.GetGeneration(), Attempt: o.GetAttempt(),
		Sequence: sequence, Time: timestamppb.Now(), Level: runsv1.LogLevel_LOG_LEVEL_WARN, Message: message, FieldsJson: `{"a":1}`,
	}
}

func (h *house) log(worker string, entries ...*workersv1.LogEntry) *workersv1.LogResponse {
	h.t.Helper()
	response, err := h.Log(h.t.Context(), h.caller, &workersv1.LogRequest{WorkerId: worker, Entries: entries})
	must(h.t, err)
	return response
}

func (h *house) countLogs() (count int) {
	h.t.Helper()
	must(h.t, h.pool.QueryRow(h.t.Context(), "select count(*) from logs where tenant_id = $1", h.caller.TenantID).Scan(&count))
	return count
}

func TestLogStoresALineOnce(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	o := ordered()
	h.assign(l, o)
	first, second := line(o, 1, "one"), line(o, 2, "two\x00")
	for range 2 {
		if got := h.log(l.worker, first, second, first); got.GetAccepted() != 3 || got.GetRefused() != 0 {
			t.Errorf("the answer is %v", got)
		}
	}
	if n := h.countLogs(); n != 2 {
		t.Errorf("%d lines are stored, want 2", n)
	}
	var class, level int16
	var at int64
	var message, fields string
	must(t, h.pool.QueryRow(t.Context(), "select class, level, logged_at, message, convert_from(fields, 'UTF8') from logs where sequence = 2 and run_id = $1", id(o.GetRunId())).
		Scan(&class, &level, &at, &message, &fields))
	if class != int16(flow.Standard) || level != 3 || at != second.GetTime().AsTime().UnixMicro() || message != "two\uFFFD" || fields != `{"a":1}` {
		t.Errorf("stored %d %d %d %q %q", class, level, at, message, fields)
	}
}

func TestLogTakesLateLinesOfAnEndedTask(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	o := ordered()
	h.assign(l, o)
	l.report(completed(o, "1"))
	if got := h.log(l.worker, line(o, 1, "late")); got.GetAccepted() != 1 {
		t.Errorf("the answer is %v", got)
	}
	h.expire(h.clock.advance(rememberFor + time.Second))
	if got := h.log(l.worker, line(o, 2, "much too late")); got.GetRefused() != 1 {
		t.Errorf("the answer is %v", got)
	}
}

func TestLogRefusesWhatIsNotTheWorkers(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	o := ordered()
	h.assign(l, o)
	noObject, noJSON, noTime := line(o, 1, "a"), line(o, 2, "b"), line(o, 3, "c")
	noObject.FieldsJson, noJSON.FieldsJson, noTime.Time = "[1]", "{", nil
	if got := h.log(l.worker, noObject, noJSON, noTime, line(ordered(), 1, "whose?"), line(o, 4, "good")); got.GetAccepted() != 1 || got.GetRefused() != 4 {
		t.Errorf("the answer is %v", got)
	}
	response, err := h.Register(t.Context(), h.caller, &workersv1.RegisterRequest{Actions: []string{"flow/task"}, Slots: 1})
	must(t, err)
	if got := h.log(response.GetWorkerId(), line(o, 5, "a neighbour's")); got.GetRefused() != 1 {
		t.Errorf("the answer is %v", got)
	}
}

func TestLogCutsAndClamps(t *testing.T) {
	t.Parallel()
	now := time.Now()
	o := ordered()
	long := line(o, 1, strings.Repeat("é", MaxLogText))
	long.Time = timestamppb.New(now.Add(-48 * time.Hour))
	got, ok := readLine(newAssignment(o), long, now)
	if !ok || len(got.message) > MaxLogText || !strings.HasSuffix(got.message, cutMark) || got.at != now.Add(-24*time.Hour).UnixMicro() {
		t.Errorf("message of %d bytes at %d", len(got.message), got.at)
	}
	early := line(o, 1, "")
	early.Time = timestamppb.New(now.Add(48 * time.Hour))
	if got, _ := readLine(newAssignment(o), early, now); got.at != now.Add(time.Hour).UnixMicro() {
		t.Errorf("a line of the future stands at %d", got.at)
	}
}

// liveRow records an assignment, as an owner does when it lasts. It is written as a single-task run's row.
func (h *house) liveRow(worker string, o *busv1.OrderedAssignment, input flow.ID) {
	h.t.Helper()
	zero := flow.ID{}
	_, err := h.pool.Exec(h.t.Context(), `insert into live (tenant_id, run_id, task_no, single, class, workflow_id, workflow_version, state, generation, attempt, lost,
		priority, lane, rank, due_at, deadline_at, created_at, queued_at, started_at, ended_at, assignment_id, worker_id, worker_session, stop_reason, request_hash,
		parent_run_id, parent_task_no, parent_generation, child_key, child_runs, traceparent, input_ref, output_ref, revision)
		values ($1, $2, 0, true, 3, 1, 1, 'running', 1, 1, 0, 4, 0, 0, 0, 0, 1, 1, 1, 0, $3, $4, 1, 0, '', $5, 0, 0, '', 0, '', $6, $5, 1)`,
		h.caller.TenantID, id(o.GetRunId()), id(o.GetAssignmentId()), id(workerID(h.t, worker)), zero, input)
	must(h.t, err)
}

func TestLogAfterARestartGoesByTheRows(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	recorded, claimed := ordered(), ordered()
	h.assign(l, recorded)
	h.liveRow(l.worker, recorded, flow.ID{})
	h.start()
	h.listen(l.worker, 2, held(recorded), held(claimed))
	if got := h.log(l.worker, line(recorded, 1, "mine"), line(claimed, 1, "not mine")); got.GetAccepted() != 1 || got.GetRefused() != 1 {
		t.Errorf("the answer is %v, want only the recorded assignment's line taken", got)
	}
	var class int16
	must(t, h.pool.QueryRow(t.Context(), "select class from logs where run_id = $1", id(recorded.GetRunId())).Scan(&class))
	if class != int16(flow.Long) {
		t.Errorf("the line is of class %d, want its run's", class)
	}
}
