package dispatcher

import (
	"testing"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

func TestWithdrawalOfALostOrderIsAnsweredHere(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(1), 1)
	o := ordered()
	h.order(l, 1, &busv1.SessionOrder{Withdrawals: [][]byte{o.GetAssignmentId()}})
	item := h.owner.hearReports().GetItems()[0]
	if item.GetKind() != busv1.ReportKind_REPORT_KIND_WITHDRAWN || id(item.GetAssignmentId()) != id(o.GetAssignmentId()) {
		t.Errorf("the owner heard %v", item)
	}
}

func TestWithdrawalOfAnUndeliveredAssignmentTakesItBack(t *testing.T) {
	t.Parallel()
	w := &worker{slots: 2, sent: make(map[flow.ID]*assignment)}
	ses := &session{worker: w, epoch: 1}
	o, other := ordered(), ordered()
	never := ses.apply(&busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{o, other}, Withdrawals: [][]byte{o.GetAssignmentId()}})
	if len(never) != 1 || never[0].run != id(o.GetRunId()) || len(ses.out.assignments) != 1 || len(ses.out.withdrawals) != 0 || len(w.sent) != 1 {
		t.Errorf("never left: %v, outbox %v", never, ses.out)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	t.Parallel()
	w := &worker{slots: 2, sent: make(map[flow.ID]*assignment)}
	ses := &session{worker: w, epoch: 1}
	for range 1000 {
		ses.apply(&busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{ordered()}})
	}
	if len(ses.out.assignments) != 20 || len(w.sent) != 20 {
		t.Errorf("%d assignments wait and %d are noted, want 20 for two slots", len(ses.out.assignments), len(w.sent))
	}
}

func TestCancelOfAnAssignmentThatIsNotHereIsAnsweredHere(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(1), 1)
	o := ordered()
	h.order(l, 1, &busv1.SessionOrder{Cancels: []*busv1.OrderedCancel{{AssignmentId: o.GetAssignmentId(), Reason: 1}}})
	item := h.owner.hearReports().GetItems()[0]
	if item.GetKind() != busv1.ReportKind_REPORT_KIND_WITHDRAWN || id(item.GetAssignmentId()) != id(o.GetAssignmentId()) {
		t.Errorf("the owner heard %v", item)
	}
}
