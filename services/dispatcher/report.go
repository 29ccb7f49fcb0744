package dispatcher

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/payload"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// Errors travel inline, so their parts are cut (in bytes).
const (
	maxErrorKind    = 100
	maxErrorMessage = 32 << 10
	maxErrorStack   = 64 << 10
)

// requestSlack is what a request has beside its items.
const requestSlack = 1 << 10

// reportItem is one report on its way to the owner.
type reportItem struct {
	index   int // in the request
	item    *busv1.ReportItem
	large   string // an output that is to be stored before the item leaves
	class   int16  // of the run, 0: not known
	refused *runsv1.ItemError
}

// Report passes news about assignments to the shard's owner and answers item by item. A session of any age may report: the assignment's
// id is the only fence. What the owner did not answer in time gets RETRY. A result that is itself at fault is REFUSED, and its
// attempt fails with the kind "refused", so that its run does not hang.
func (s *Service) Report(ctx context.Context, caller Caller, request *workersv1.ReportRequest) (*workersv1.ReportResponse, error) {
	w, err := s.worker(ctx, caller.TenantID, request.GetWorkerId())
	if err != nil {
		return nil, err
	}
	answers := make([]*workersv1.ReportAnswer, len(request.GetReports()))
	items := make([]*reportItem, 0, len(answers))
	for i, report := range request.GetReports() {
		answers[i] = &workersv1.ReportAnswer{Verdict: workersv1.ReportVerdict_REPORT_VERDICT_RETRY}
		item, refused := s.readReport(w, i, report)
		if item == nil {
			answers[i].Verdict, answers[i].Error = workersv1.ReportVerdict_REPORT_VERDICT_REFUSED, refused
			continue
		}
		items = append(items, item)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	if err := s.storeOutputs(ctx, w, items); err != nil {
		s.cfg.Log.Warn("dispatcher: outputs could not be stored, the worker sends them again", "tenant", w.tenant, "worker", w.publicID(), "error", fault.Detail(err))
		items = withoutLarge(items)
	}
	for len(items) > 0 {
		part := items[:countFitting(items)]
		items = items[len(part):]
		if err := s.forward(ctx, w, request.GetSession(), part, answers); err != nil {
			s.cfg.Log.Warn("dispatcher: the shard's owner did not take reports, the worker sends them again",
				"tenant", w.tenant, "worker", w.publicID(), "reports", len(part)+len(items), "error", fault.Detail(err))
			break // The others would only wait for the same owner, and overtake.
		}
	}
	return &workersv1.ReportResponse{Answers: answers}, nil
}

// forward sends one request's worth of items and writes the verdicts into their places. The owner commits results before it answers. Other news it may answer
// without a commit, and so may an owner whose time is over, or one that has not yet heard what the worker holds: such a verdict counts only if the session was
// attached to the owner that gave it, all the while. Else the worker says it again.
func (s *Service) forward(ctx context.Context, w *worker, session int64, items []*reportItem, answers []*workersv1.ReportAnswer) error {
	before := w.attachment()
	reports := &busv1.Reports{WorkerId: w.id[:], Session: session, Items: make([]*busv1.ReportItem, len(items))}
	for i, item := range items {
		reports.Items[i] = item.item
	}
	reply, epoch, err := s.cfg.Owners.Call(ctx, w.tenant, &busv1.ShardRequest{TenantId: w.tenant, Kind: &busv1.ShardRequest_Reports{Reports: reports}})
	if err != nil {
		return err
	}
	counts := before.epoch == epoch && w.attachment() == before
	s.detach(w, epoch) // Nothing, unless its session is attached to an earlier one.
	verdicts := reply.GetReports().GetVerdicts()
	if len(verdicts) != len(items) {
		return fault.Internal(fmt.Errorf("%d verdicts for %d reports", len(verdicts), len(items)), "read the owner's answer")
	}
	for i, item := range items {
		verdict := workersv1.ReportVerdict(verdicts[i])
		if verdict == workersv1.ReportVerdict_REPORT_VERDICT_UNSPECIFIED || !counts && !isResult(item.item) {
			verdict = workersv1.ReportVerdict_REPORT_VERDICT_RETRY
		}
		s.settle(w, item.item, verdict)
		if item.refused != nil && verdict != workersv1.ReportVerdict_REPORT_VERDICT_RETRY {
			answers[item.index].Error = item.refused
			verdict = workersv1.ReportVerdict_REPORT_VERDICT_REFUSED
		}
		answers[item.index].Verdict = verdict
	}
	return nil
}

func isResult(item *busv1.ReportItem) bool {
	return item.GetKind() == busv1.ReportKind_REPORT_KIND_COMPLETED || item.GetKind() == busv1.ReportKind_REPORT_KIND_FAILED
}

// settle brings the table up to date with what the owner has taken.
func (s *Service) settle(w *worker, item *busv1.ReportItem, verdict workersv1.ReportVerdict) {
	if verdict == workersv1.ReportVerdict_REPORT_VERDICT_RETRY {
		return
	}
	now := s.cfg.Now()
	w.mu.Lock()
	a := w.sent[id(item.GetAssignmentId())]
	ended := false
	switch {
	case a == nil:
	case item.GetKind() == busv1.ReportKind_REPORT_KIND_ACKNOWLEDGED:
	case item.GetKind() == busv1.ReportKind_REPORT_KIND_STARTED:
		if a.begun.IsZero() {
			a.begun = now
		}
	default:
		ended = true
		delete(w.sent, a.id)
	}
	w.mu.Unlock()
	if ended {
		s.finished.add(w, a, now)
	}
}

// readReport checks a report and makes the owner's item of it. Without an item, it is refused outright.
func (s *Service) readReport(w *worker, index int, report *workersv1.Report) (*reportItem, *runsv1.ItemError) {
	path := fmt.Sprintf("reports[%d]", index)
	assignmentID, err := flow.IDFromBytes(report.GetAssignmentId())
	if err != nil || assignmentID.IsZero() {
		return nil, refusal(path+".assignment_id", "must be the 16 bytes that the assignment came with")
	}
	item := &busv1.ReportItem{
		AssignmentId: assignmentID[:], TaskNo: report.GetTaskNo(), Generation: report.GetGeneration(), Attempt: report.GetAttempt(),
		Running: max(report.GetRunning().AsDuration().Microseconds(), 0),
	}
	made := &reportItem{index: index, item: item}
	w.mu.Lock()
	known := w.sent[assignmentID]
	if known != nil { // What we know ourselves is better than what we are told.
		item.RunId, item.TaskNo, item.Generation, item.Attempt = known.run[:], known.taskNo, known.generation, known.attempt
		made.class = known.class
	}
	w.mu.Unlock()
	if known == nil {
		run, err := typeid.Parse(typeid.Run, report.GetRunId())
		if err != nil {
			return nil, refusal(path+".run_id", err.Error())
		}
		if report.GetTaskNo() < 1 {
			return nil, refusal(path+".task_no", "must be at least 1, as the assignment gave it")
		}
		item.RunId = run[:]
	}
	if !s.readNews(made, path, report) {
		return nil, refusal(path, "says nothing: set acknowledged, started, completed, failed, stopped or withdrawn")
	}
	return made, nil
}

func (s *Service) readNews(made *reportItem, path string, report *workersv1.Report) bool {
	item := made.item
	switch news := report.GetNews().(type) {
	case *workersv1.Report_Acknowledged:
		item.Kind = busv1.ReportKind_REPORT_KIND_ACKNOWLEDGED
	case *workersv1.Report_Started:
		item.Kind = busv1.ReportKind_REPORT_KIND_STARTED
	case *workersv1.Report_Stopped:
		item.Kind = busv1.ReportKind_REPORT_KIND_STOPPED
	case *workersv1.Report_Withdrawn:
		item.Kind = busv1.ReportKind_REPORT_KIND_WITHDRAWN
	case *workersv1.Report_Completed:
		s.readOutput(made, path, news.Completed.GetOutputJson())
	case *workersv1.Report_Failed:
		item.Kind = busv1.ReportKind_REPORT_KIND_FAILED
		item.Error = readError(news.Failed.GetError())
		item.NeverRetry = news.Failed.GetNeverRetry()
		item.RetryAfter = max(news.Failed.GetRetryAfter().AsDuration().Microseconds(), 0)
	default:
		return false
	}
	return true
}

// readOutput takes a result, or makes a failure of one that is at fault.
func (s *Service) readOutput(made *reportItem, path, output string) {
	if output == "" {
		output = "null"
	}
	if err := payload.Check([]byte(output), int(s.cfg.PayloadLimit)); err != nil {
		public := fault.Of(err)
		made.refused = refusal(path+".completed.output_json", public.Error())
		made.item.Kind = busv1.ReportKind_REPORT_KIND_FAILED
		made.item.Error = &runsv1.TaskError{Kind: flow.KindRefused, Message: cutMarked("the task's output was refused: "+public.Error(), maxErrorMessage)}
		return
	}
	made.item.Kind = busv1.ReportKind_REPORT_KIND_COMPLETED
	made.item.Output = &busv1.Payload{Size: int64(len(output))}
	if len(output) > MaxInline {
		made.large = output
		return
	}
	made.item.Output.Json = []byte(output)
}

func readError(reported *runsv1.TaskError) *runsv1.TaskError {
	made := &runsv1.TaskError{
		Kind: cutBytes(reported.GetKind(), maxErrorKind), Message: cutMarked(reported.GetMessage(), maxErrorMessage),
		Stack: cutMarked(reported.GetStack(), maxErrorStack),
	}
	if made.GetKind() == "" {
		made.Kind = flow.KindError
	}
	return made
}

func refusal(field, message string) *runsv1.ItemError {
	return &runsv1.ItemError{Code: "invalid_argument", Reason: fault.ReasonInvalid, Message: message, Field: field}
}

// countFitting is how many of the items one request carries, at least one.
func countFitting(items []*reportItem) int {
	size := requestSlack
	for i, item := range items {
		size += proto.Size(item.item) + 8
		if i > 0 && size > MaxFrame {
			return i
		}
	}
	return len(items)
}

func withoutLarge(items []*reportItem) []*reportItem {
	kept := make([]*reportItem, 0, len(items))
	for _, item := range items {
		if item.large == "" {
			kept = append(kept, item)
		}
	}
	return kept
}
