package dispatcher

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

const (
	accepted   = workersv1.ReportVerdict_REPORT_VERDICT_ACCEPTED
	superseded = workersv1.ReportVerdict_REPORT_VERDICT_SUPERSEDED
	refused    = workersv1.ReportVerdict_REPORT_VERDICT_REFUSED
	retry      = workersv1.ReportVerdict_REPORT_VERDICT_RETRY
)

func verdicts(answers []*workersv1.ReportAnswer) []workersv1.ReportVerdict {
	list := make([]workersv1.ReportVerdict, len(answers))
	for i, a := range answers {
		list[i] = a.GetVerdict()
	}
	return list
}

func TestReportPassesNewsOn(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	o, failing := ordered(), ordered()
	h.assign(l, o)
	h.assign(l, failing)
	failed := about(failing)
	failed.News = &workersv1.Report_Failed{Failed: &workersv1.Failed{
		Error: &runsv1.TaskError{Message: strings.Repeat("é", maxErrorMessage)}, NeverRetry: true, RetryAfter: durationpb.New(2 * time.Second),
	}}
	got := l.report(started(o), completed(o, ""), failed)
	if !slices.Equal(verdicts(got), []workersv1.ReportVerdict{accepted, accepted, accepted}) {
		t.Errorf("verdicts are %v", got)
	}
	heard := h.owner.hearReports()
	items := heard.GetItems()
	if heard.GetSession() != 1 || len(items) != 3 || items[0].GetKind() != busv1.ReportKind_REPORT_KIND_STARTED || string(items[1].GetOutput().GetJson()) != "null" {
		t.Fatalf("the owner heard %v", heard)
	}
	if e := items[2]; e.GetError().GetKind() != flow.KindError || len(e.GetError().GetMessage()) > maxErrorMessage || !e.GetNeverRetry() || e.GetRetryAfter() != 2_000_000 {
		t.Errorf("the failure is %d bytes of kind %q, retry after %d", len(e.GetError().GetMessage()), e.GetError().GetKind(), e.GetRetryAfter())
	}
	w := h.find(h.caller.TenantID, id(workerID(t, l.worker)))
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) != 0 {
		t.Errorf("%d assignments are still noted as unfinished", len(w.sent))
	}
}

// A doubled report, one from an older session and one after a restart reach the owner, who alone knows.
func TestDoubledAndLateReportsAreTheOwnersToJudge(t *testing.T) {
	h := setup(t)
	worker := h.register(4)
	older := h.listen(worker, 1)
	o := ordered()
	h.assign(older, o)
	h.listen(worker, 2, held(o))
	answers := map[int]workersv1.ReportVerdict{0: accepted, 1: accepted, 2: superseded}
	heard := 0
	h.owner.script(func(r *busv1.ShardRequest) *busv1.ShardReply {
		if r.GetReports() == nil {
			return nil
		}
		heard++
		return &busv1.ShardReply{Kind: &busv1.ShardReply_Reports{Reports: &busv1.ReportsReply{Verdicts: []int32{int32(answers[heard-1])}}}}
	})
	for i := range 2 {
		if got := older.report(completed(o, "1")); got[0].GetVerdict() != accepted {
			t.Errorf("report %d got %v", i+1, got)
		}
		items := h.owner.hearReports()
		if items.GetSession() != 1 || id(items.GetItems()[0].GetRunId()) != id(o.GetRunId()) {
			t.Errorf("the owner heard %v", items)
		}
	}
	h.start()
	if got := older.report(completed(o, "1")); got[0].GetVerdict() != superseded {
		t.Errorf("after the restart: %v", got)
	}
}

func TestBadOutputFailsItsAttempt(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	bad, large, good := ordered(), ordered(), ordered()
	nothing := about(ordered())
	noRun := completed(ordered(), "1")
	noRun.RunId = "run_x"
	got := l.report(completed(bad, "{"), nothing, completed(large, `"`+strings.Repeat("x", payloadLimit)+`"`), noRun, completed(good, "1"))
	if !slices.Equal(verdicts(got), []workersv1.ReportVerdict{refused, refused, refused, refused, accepted}) {
		t.Fatalf("verdicts are %v", got)
	}
	if f := got[0].GetError().GetField(); f != "reports[0].completed.output_json" {
		t.Errorf("the field is %q", f)
	}
	if f := got[3].GetError().GetField(); f != "reports[3].run_id" {
		t.Errorf("the field is %q", f)
	}
	items := h.owner.hearReports().GetItems()
	if len(items) != 3 || items[0].GetKind() != busv1.ReportKind_REPORT_KIND_FAILED || items[0].GetError().GetKind() != flow.KindRefused ||
		items[1].GetError().GetKind() != flow.KindRefused || items[2].GetKind() != busv1.ReportKind_REPORT_KIND_COMPLETED {
		t.Errorf("the owner heard %v", items)
	}
}

func TestLargeOutputIsStoredFirst(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	o := ordered()
	o.Class = int32(flow.Long)
	h.assign(l, o)
	output := `"` + strings.Repeat("y", MaxInline) + `"`
	if got := l.report(completed(o, output)); got[0].GetVerdict() != accepted {
		t.Fatalf("verdict is %v", got)
	}
	payload := h.owner.hearReports().GetItems()[0].GetOutput()
	if len(payload.GetJson()) != 0 || payload.GetSize() != int64(len(output)) {
		t.Errorf("the owner got %d bytes inline, size %d", len(payload.GetJson()), payload.GetSize())
	}
	var body string
	must(t, h.pool.QueryRow(t.Context(), "select convert_from(body, 'UTF8') from payloads where tenant_id = $1 and class = 3 and id = $2", h.caller.TenantID, payload.GetRef()).Scan(&body))
	if body != output {
		t.Error("what is stored is not what was reported")
	}
	// Nothing is known of this one here: it is stored all the same.
	if got := l.report(completed(ordered(), output)); got[0].GetVerdict() != accepted {
		t.Errorf("verdict is %v", got)
	}
}

func TestManyReportsAreCutIntoRequests(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	output := `"` + strings.Repeat("z", 30<<10) + `"`
	reports := make([]*workersv1.Report, 40)
	for i := range reports {
		reports[i] = completed(ordered(), output)
	}
	for i, v := range verdicts(l.report(reports...)) {
		if v != accepted {
			t.Fatalf("report %d got %v", i, v)
		}
	}
	for at := 0; at < len(reports); {
		for _, item := range h.owner.hearReports().GetItems() {
			if id(item.GetAssignmentId()) != id(reports[at].GetAssignmentId()) {
				t.Fatalf("report %d is out of order", at)
			}
			at++
		}
	}
}

func TestReportWithoutAnOwnerIsToBeSentAgain(t *testing.T) {
	h := setup(t, func(c *Config) { c.CallTimeout = 200 * time.Millisecond })
	l := h.listen(h.register(4), 1)
	o := ordered()
	h.assign(l, o)
	h.owner.stop()
	got := l.report(completed(o, "1"), completed(ordered(), "{"))
	if !slices.Equal(verdicts(got), []workersv1.ReportVerdict{retry, retry}) {
		t.Errorf("verdicts are %v, want retry: a refused result's attempt has not failed yet either", got)
	}
	h.owner.takeOver(2)
	h.census(2)
	if open := h.owner.hearOpen(); len(open.GetHeld()) == 0 {
		open = h.owner.hearOpen() // The first one heard may be of the beginning.
		if len(open.GetHeld()) != 1 {
			t.Errorf("the new owner heard %v, want the unfinished assignment", open)
		}
	}
}

func TestAWorkerMayDisownWhatItDoesNotKnow(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(8), 1)
	o := ordered()
	h.assign(l, o)
	disowned := func(assignment []byte) *workersv1.Report {
		return &workersv1.Report{AssignmentId: assignment, News: &workersv1.Report_Withdrawn{Withdrawn: &workersv1.Withdrawn{}}}
	}
	never := newID(time.Now())
	answers := l.report(disowned(o.GetAssignmentId()), disowned(never[:]))
	if v := answers[0].GetVerdict(); v != workersv1.ReportVerdict_REPORT_VERDICT_ACCEPTED {
		t.Errorf("what the dispatcher knows was answered with %v", v)
	}
	if item := h.owner.hearReports().GetItems()[0]; id(item.GetRunId()) != id(o.GetRunId()) || item.GetTaskNo() != 1 {
		t.Errorf("the owner heard %v", item)
	}
	if answers[1].GetVerdict() != workersv1.ReportVerdict_REPORT_VERDICT_REFUSED || answers[1].GetError().GetField() != "reports[1].run_id" {
		t.Errorf("what nobody knows was answered with %v", answers[1])
	}
}
