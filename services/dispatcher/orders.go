package dispatcher

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/bus"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// onOrder is called for each message from an owner, one at a time.
func (s *Service) onOrder(msg bus.Msg) {
	var order busv1.DispatcherOrder
	if err := proto.Unmarshal(msg.Data, &order); err != nil {
		s.cfg.Log.Warn("dispatcher: an order cannot be read", "error", err)
		return
	}
	for _, part := range order.GetSessions() {
		w := s.find(part.GetTenantId(), id(part.GetWorkerId()))
		if w == nil {
			s.cfg.Log.Debug("dispatcher: an order for a worker that is not here was dropped", "tenant", part.GetTenantId(), "epoch", order.GetEpoch())
			continue
		}
		s.deliver(w, order.GetEpoch(), part)
	}
}

// deliver hands an order to the session it is for. One from another epoch, for another session, or that follows an older list of what the worker has, is
// dropped without an answer: its sender no longer owns the shard, knows that the session has ended, or has found out from the newer list that it did not arrive.
func (s *Service) deliver(w *worker, epoch int64, order *busv1.SessionOrder) {
	w.mu.Lock()
	ses := w.session
	if ses == nil || ses.number != order.GetSession() || ses.openings != order.GetOpening() && !order.GetClose() {
		w.mu.Unlock()
		return
	}
	if ses.epoch == 0 {
		if ses.pendingNo+len(order.GetAssignments()) <= ses.roomFor() && len(ses.pending) < MaxHeld {
			ses.pending = append(ses.pending, pendingOrder{epoch, order})
			ses.pendingNo += len(order.GetAssignments())
		}
		w.mu.Unlock()
		return
	}
	if ses.epoch != epoch {
		attachedTo := ses.epoch
		w.mu.Unlock()
		s.cfg.Log.Info("dispatcher: an order of another epoch was refused", "tenant", w.tenant, "worker", w.publicID(), "epoch", epoch, "attached_to", attachedTo)
		return
	}
	never := ses.apply(order)
	ses.signal()
	w.mu.Unlock()
	s.neverLeft(w, ses.number, never)
	if order.GetClose() {
		s.close(ses, errSuperseded(ses))
	}
}

// apply puts an order into the outbox and the table. It returns the assignments that the owner wants back or ended and that are not here: the worker does not
// have them, or they never left. The worker's mutex is held.
func (ses *session) apply(order *busv1.SessionOrder) (never []*assignment) {
	w := ses.worker
	for _, o := range order.GetAssignments() {
		a := newAssignment(o)
		full := len(ses.out.assignments) >= ses.roomFor() || len(w.sent) >= MaxHeld || ses.out.bytes > maxQueuedBytes
		if a.id.IsZero() || w.sent[a.id] != nil || full {
			continue // Doubled, or more than there is room for; the owner withdraws what nobody acknowledges.
		}
		w.sent[a.id] = a
		wire := wireAssignment(o)
		ses.out.assignments = append(ses.out.assignments, wire)
		ses.out.bytes += proto.Size(wire)
	}
	for _, c := range order.GetCancels() {
		switch {
		case w.sent[id(c.GetAssignmentId())] == nil:
			never = append(never, &assignment{id: id(c.GetAssignmentId())})
		case len(ses.out.cancels) < MaxHeld:
			ses.out.cancels = append(ses.out.cancels, &workersv1.Cancel{AssignmentId: c.GetAssignmentId(), Reason: workersv1.CancelReason(c.GetReason())})
		}
	}
	for _, raw := range order.GetWithdrawals() {
		known := w.sent[id(raw)]
		switch {
		case known == nil:
			never = append(never, &assignment{id: id(raw)}) // Its order was lost on the way.
		case ses.out.remove(known.id):
			delete(w.sent, known.id)
			never = append(never, known)
		case len(ses.out.withdrawals) < MaxHeld:
			ses.out.withdrawals = append(ses.out.withdrawals, raw)
		}
	}
	return never
}

// neverLeft tells the owner that assignments can go back to the queue, for the worker has never seen them.
func (s *Service) neverLeft(w *worker, number int64, never []*assignment) {
	if len(never) == 0 {
		return
	}
	items := make([]*busv1.ReportItem, len(never))
	for i, a := range never {
		items[i] = &busv1.ReportItem{
			AssignmentId: a.id[:], RunId: a.run[:], TaskNo: a.taskNo, Generation: a.generation, Attempt: a.attempt,
			Kind: busv1.ReportKind_REPORT_KIND_WITHDRAWN,
		}
	}
	s.tell(w, &busv1.ShardRequest{TenantId: w.tenant, Kind: &busv1.ShardRequest_Reports{
		Reports: &busv1.Reports{WorkerId: w.id[:], Session: number, Items: items},
	}})
}

func newAssignment(o *busv1.OrderedAssignment) *assignment {
	a := &assignment{
		id: id(o.GetAssignmentId()), run: id(o.GetRunId()), taskNo: o.GetTaskNo(), generation: o.GetGeneration(), attempt: o.GetAttempt(),
		class: int16(o.GetClass()), proven: true, //nolint:gosec // 1 to 3
	}
	keep := func(p *busv1.Payload) {
		if ref := id(p.GetRef()); !ref.IsZero() {
			a.refs = append(a.refs, ref)
		}
	}
	keep(o.GetInput())
	for _, parent := range o.GetParents() {
		keep(parent.GetOutput())
	}
	return a
}

// wireAssignment is the order as workers read it.
func wireAssignment(o *busv1.OrderedAssignment) *workersv1.Assignment {
	a := &workersv1.Assignment{
		AssignmentId: o.GetAssignmentId(), RunId: typeid.Format(typeid.Run, id(o.GetRunId())), Workflow: o.GetWorkflow(),
		WorkflowVersion: o.GetWorkflowVersion(), Task: o.GetTask(), TaskNo: o.GetTaskNo(), Generation: o.GetGeneration(), Attempt: o.GetAttempt(),
		InputJson: string(o.GetInput().GetJson()), InputRef: o.GetInput().GetRef(), Traceparent: o.GetTraceparent(),
	}
	if o.GetExecutionTimeout() > 0 {
		a.ExecutionTimeout = durationpb.New(time.Duration(o.GetExecutionTimeout()) * time.Microsecond)
	}
	for _, parent := range o.GetParents() {
		a.Parents = append(a.Parents, &workersv1.ParentOutput{
			Task: parent.GetTask(), OutputJson: string(parent.GetOutput().GetJson()), OutputRef: parent.GetOutput().GetRef(),
		})
	}
	return a
}
