package tenon

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

func reportOf(n int) *workersv1.Report {
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id, uint64(n)+1) //nolint:gosec // small
	return &workersv1.Report{AssignmentId: id, RunId: "run_01k8x3y5e4f7hbv4m1pq2r3s4t"}
}

func completedReport(n int) *workersv1.Report {
	r := reportOf(n)
	r.News = &workersv1.Report_Completed{Completed: &workersv1.Completed{OutputJson: "1"}}
	return r
}

// While many reports are under way another call leaves only when it is full, at most four do, and never two with news of one assignment.
func TestReportCallsLeaveFullOrAlone(t *testing.T) {
	t.Parallel()
	p := newReporter(&Worker{client: &Client{cfg: clientConfig{backoff: backoff{10 * time.Second, 10 * time.Second}}}})
	now := time.Now().Add(time.Second) // whatever has started has run for a while
	take := func(want int) []*pendingReport {
		t.Helper()
		batch, _ := p.take(now)
		if len(batch) != want {
			t.Fatalf("%d reports leave, want %d", len(batch), want)
		}
		return batch
	}
	p.put(started(reportOf(0)))
	take(0)
	p.open()
	first := take(1)
	for n := range fullReport {
		p.put(completedReport(n)) // the first is about what is under way
	}
	take(0)
	p.put(completedReport(fullReport))
	second := take(fullReport)
	for _, item := range second {
		if idOf(item.report.GetAssignmentId()) == idOf(first[0].report.GetAssignmentId()) {
			t.Error("two reports of one assignment are under way")
		}
	}
	p.finished(first, nil)
	take(0)
	p.finished(second, nil)
	if last := take(1); !final(last[0].report) {
		t.Error("the outcome of the first assignment was lost")
	}
	for n := range maxReportCalls * fullReport {
		p.put(completedReport(10_000 + n))
	}
	var calls [][]*pendingReport
	for range maxReportCalls - 1 {
		calls = append(calls, take(fullReport))
	}
	take(0)
	p.finished(calls[0], errors.New("away"))
	take(0)
	if batch, wait := p.take(now.Add(time.Minute)); len(batch) != fullReport || wait != 0 {
		t.Errorf("%d reports leave after the pause, wait %s", len(batch), wait)
	}
}

// While few reports are under way, the next ones leave beside them, each as soon as it is there, and never two of one assignment.
func TestFewReportsWaitForNone(t *testing.T) {
	t.Parallel()
	p := newReporter(&Worker{client: &Client{}})
	p.open()
	now := time.Now()
	take := func(want int) []*pendingReport {
		t.Helper()
		batch, _ := p.take(now)
		if len(batch) != want {
			t.Fatalf("%d reports leave, want %d", len(batch), want)
		}
		return batch
	}
	var first []*pendingReport
	for n := range fewReports - 1 {
		p.put(completedReport(n))
		select {
		case <-p.wake:
		default:
			t.Fatalf("nobody is woken for report %d", n)
		}
		if batch := take(1); n == 0 {
			first = batch
		}
	}
	p.put(completedReport(0))
	take(0) // its assignment has one under way
	p.put(completedReport(100))
	p.put(completedReport(101))
	take(0) // with both there would be more than few
	p.finished(first, nil)
	take(0)
	p.put(completedReport(102))
	take(0)
}

// A task's start is told once it has run for a while, and never when it ends before.
func TestShortTasksOnlyReportTheirEnd(t *testing.T) {
	t.Parallel()
	p := newReporter(&Worker{})
	p.open()
	now := time.Now()
	p.put(started(reportOf(1)))
	if batch, wait := p.take(now); len(batch) != 0 || wait <= 0 || wait > time.Second {
		t.Errorf("%d reports leave at once, the next after %s", len(batch), wait)
	}
	if batch, _ := p.take(now.Add(time.Second)); len(batch) != 1 {
		t.Errorf("%d reports leave after a while, want 1", len(batch))
	} else {
		p.finished(batch, nil)
	}
	p.put(started(reportOf(2)))
	p.put(completedReport(2))
	if batch, _ := p.take(now); len(batch) != 1 || !final(batch[0].report) {
		t.Errorf("of a short task leave %v, want its end", batch)
	}
}

// What a report is reckoned to need is never less than what it needs.
func TestReportSizeIsNotTooSmall(t *testing.T) {
	t.Parallel()
	long := make([]byte, 5000)
	for _, r := range []*workersv1.Report{
		reportOf(1), completedReport(2), failed(reportOf(3), "kind", string(long), string(long)),
		{News: &workersv1.Report_Failed{Failed: &workersv1.Failed{Error: &runsv1.TaskError{Message: "m"}}}},
	} {
		if got, need := sizeOf(r), proto.Size(r); got < need || got > need+256 {
			t.Errorf("reckoned %d bytes for a report of %d", got, need)
		}
	}
}
