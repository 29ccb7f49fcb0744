package faketenon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
)

type registry struct {
	registryv1connect.UnimplementedRegistryServiceHandler
	s *Server
}

func (h registry) PutWorkflow(_ context.Context, req *registryv1.PutWorkflowRequest) (*registryv1.PutWorkflowResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.s.seen.Specs[req.GetSpec().GetName()] = req.GetSpec()
	h.s.change()
	return &registryv1.PutWorkflowResponse{CreatedVersion: true}, nil
}

type runs struct {
	runsv1connect.UnimplementedRunServiceHandler
	s *Server
}

func (h runs) TriggerBulk(_ context.Context, req *runsv1.TriggerBulkRequest) (*runsv1.TriggerBulkResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.s.seen.Bulks = append(h.s.seen.Bulks, len(req.GetRuns()))
	res := &runsv1.TriggerBulkResponse{}
	for _, n := range req.GetRuns() {
		h.s.seen.Triggers = append(h.s.seen.Triggers, n)
		res.Results = append(res.Results, h.s.admit(n))
	}
	return res, nil
}

// TriggerAndWait is TriggerBulk of one run, and the wait for its end.
func (h runs) TriggerAndWait(ctx context.Context, req *runsv1.TriggerAndWaitRequest) (*runsv1.TriggerAndWaitResponse, error) {
	bulk, err := h.TriggerBulk(ctx, &runsv1.TriggerBulkRequest{Runs: []*runsv1.NewRun{req.GetRun()}})
	if err != nil {
		return nil, err
	}
	if refused := bulk.GetResults()[0].GetError(); refused != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New(refused.GetMessage()))
	}
	for {
		h.s.mu.Lock()
		run := proto.CloneOf(h.s.seen.Runs[bulk.GetResults()[0].GetRunId()])
		changed, closed := h.s.changed, h.s.closed
		h.s.mu.Unlock()
		if run.GetStatus() > runsv1.RunStatus_RUN_STATUS_RUNNING {
			return &runsv1.TriggerAndWaitResponse{Run: run}, nil
		}
		if err := wait(ctx, changed, closed); err != nil {
			return nil, err
		}
	}
}

func (h runs) AwaitRuns(ctx context.Context, req *runsv1.AwaitRunsRequest, out *connect.ServerStream[runsv1.AwaitRunsResponse]) error {
	s := h.s
	s.mu.Lock()
	s.seen.Awaits = append(s.seen.Awaits, req)
	for _, id := range req.GetRunIds() {
		if s.seen.Runs[id] == nil {
			s.mu.Unlock()
			return connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no run %s", id))
		}
	}
	st := s.stepOf(req.GetParent().GetAssignmentId())
	if st != nil {
		st.waiting++
		s.assign()
	}
	s.seen.Awaiting++
	s.change()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if st != nil {
			st.waiting = max(0, st.waiting-1)
		}
		s.seen.Awaiting--
		s.change()
	}()
	left := slices.Clone(req.GetRunIds())
	for len(left) > 0 {
		s.mu.Lock()
		var ended []*runsv1.Run
		left = slices.DeleteFunc(left, func(id string) bool {
			r := s.seen.Runs[id]
			if r == nil || r.GetStatus() <= runsv1.RunStatus_RUN_STATUS_RUNNING {
				return false
			}
			ended = append(ended, proto.CloneOf(r))
			return true
		})
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		if err := out.Send(&runsv1.AwaitRunsResponse{Runs: ended}); err != nil {
			return err
		}
		if len(left) == 0 {
			break
		}
		if err := wait(ctx, changed, closed); err != nil {
			return err
		}
	}
	return h.regain(ctx, st)
}

// regain waits until the awaiting task can have a slot again.
func (h runs) regain(ctx context.Context, st *step) error {
	for st != nil {
		h.s.mu.Lock()
		w := h.s.workers[st.worker]
		free := w == nil || st.assignment == nil || h.s.used(w) < int(w.req.GetSlots())
		if free {
			st.waiting = max(0, st.waiting-1)
		}
		changed, closed := h.s.changed, h.s.closed
		h.s.mu.Unlock()
		if free {
			return nil
		}
		if err := wait(ctx, changed, closed); err != nil {
			return err
		}
	}
	return nil
}

func wait(ctx context.Context, changed <-chan struct{}, closed bool) error {
	if closed {
		return connect.NewError(connect.CodeUnavailable, errors.New("the server ends"))
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h runs) GetRun(_ context.Context, req *runsv1.GetRunRequest) (*runsv1.GetRunResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	r := h.s.seen.Runs[req.GetRunId()]
	if r == nil {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no run %s", req.GetRunId()))
	}
	return &runsv1.GetRunResponse{Run: proto.CloneOf(r)}, nil
}

func (h runs) CancelRun(_ context.Context, req *runsv1.CancelRunRequest) (*runsv1.CancelRunResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	for _, r := range h.s.order {
		if r.GetId() != req.GetRunId() || r.final() {
			continue
		}
		for _, st := range r.steps {
			switch {
			case st.assignment != nil:
				st.stopping = true
				w := h.s.workers[st.worker]
				w.outbox = append(w.outbox, &workersv1.ListenResponse{Cancels: []*workersv1.Cancel{{
					AssignmentId: st.assignment, Reason: workersv1.CancelReason_CANCEL_REASON_CANCELLED,
				}}})
			case st.Status <= runsv1.TaskStatus_TASK_STATUS_QUEUED:
				st.Status = runsv1.TaskStatus_TASK_STATUS_CANCELLED
			}
		}
		r.advance()
	}
	h.s.change()
	r := h.s.seen.Runs[req.GetRunId()]
	if r == nil {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no run %s", req.GetRunId()))
	}
	return &runsv1.CancelRunResponse{Run: proto.CloneOf(r)}, nil
}

func (h runs) ReplayRun(_ context.Context, req *runsv1.ReplayRunRequest) (*runsv1.ReplayRunResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	for _, r := range h.s.order {
		if r.GetId() != req.GetRunId() || !r.final() {
			continue
		}
		r.Generation++
		r.Status = runsv1.RunStatus_RUN_STATUS_QUEUED
		for _, st := range r.steps {
			st.Status, st.Attempt, st.OutputJson, st.stopping = runsv1.TaskStatus_TASK_STATUS_BLOCKED, 1, "", false
		}
		r.advance()
		h.s.assign()
		return &runsv1.ReplayRunResponse{Run: proto.CloneOf(r.Run)}, nil
	}
	return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the run is not final"))
}

type workers struct {
	workersv1connect.UnimplementedWorkerServiceHandler
	s *Server
}

func (h workers) Register(_ context.Context, req *workersv1.RegisterRequest) (*workersv1.RegisterResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	w := &worker{id: fmt.Sprintf("wkr_%d", len(h.s.workers)+1), req: req}
	h.s.workers[w.id] = w
	return &workersv1.RegisterResponse{
		WorkerId: w.id, HeartbeatInterval: durationpb.New(h.s.Interval), Grace: durationpb.New(h.s.Grace), PayloadLimit: h.s.PayloadLimit,
	}, nil
}

func (h workers) Listen(ctx context.Context, req *workersv1.ListenRequest, out *connect.ServerStream[workersv1.ListenResponse]) error {
	s := h.s
	s.mu.Lock()
	s.seen.Listens = append(s.seen.Listens, req)
	w := s.workers[req.GetWorkerId()]
	if w == nil {
		s.mu.Unlock()
		return connect.NewError(connect.CodeNotFound, errors.New("there is no such worker"))
	}
	s.attach(w, req)
	s.mu.Unlock()
	for {
		s.mu.Lock()
		current := w.session == req.GetSession()
		var msgs []*workersv1.ListenResponse
		if current {
			msgs, w.outbox = w.outbox, nil
		}
		broken := !current || w.broken >= req.GetSession()
		if broken && current {
			w.open = false
		}
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		for _, msg := range msgs {
			if err := out.Send(msg); err != nil {
				return err
			}
		}
		if broken {
			return connect.NewError(connect.CodeUnavailable, errors.New("the session was broken off"))
		}
		if err := wait(ctx, changed, closed); err != nil {
			s.mu.Lock()
			w.open = w.open && w.session != req.GetSession()
			s.mu.Unlock()
			return err
		}
	}
}

func (h workers) Report(_ context.Context, req *workersv1.ReportRequest) (*workersv1.ReportResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.s.seen.Batches = append(h.s.seen.Batches, req.GetReports())
	h.s.change()
	res := &workersv1.ReportResponse{}
	for i, r := range req.GetReports() {
		if !validJSON(r.GetCompleted().GetOutputJson()) || r.GetTaskNo() < 1 {
			return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("reports[%d] is malformed", i))
		}
	}
	for _, r := range req.GetReports() {
		res.Answers = append(res.Answers, h.s.apply(r))
	}
	return res, nil
}

func (h workers) Heartbeat(_ context.Context, req *workersv1.HeartbeatRequest) (*workersv1.HeartbeatResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.s.seen.Beats = append(h.s.seen.Beats, req)
	if w := h.s.workers[req.GetWorkerId()]; w != nil {
		w.drain = w.drain || req.GetDraining()
	}
	h.s.change()
	return &workersv1.HeartbeatResponse{}, nil
}

func (h workers) Log(_ context.Context, req *workersv1.LogRequest) (*workersv1.LogResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	for _, e := range req.GetEntries() {
		key := fmt.Sprintf("%x/%d", e.GetAssignmentId(), e.GetSequence())
		if !h.s.logged[key] {
			h.s.logged[key] = true
			h.s.seen.Logs = append(h.s.seen.Logs, e)
		}
	}
	h.s.change()
	return &workersv1.LogResponse{Accepted: int32(len(req.GetEntries()))}, nil
}

func (h workers) GetPayloads(_ context.Context, req *workersv1.GetPayloadsRequest) (*workersv1.GetPayloadsResponse, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	// One at a time, as when no more fit in an answer.
	ref := req.GetRefs()[0]
	return &workersv1.GetPayloadsResponse{Payloads: []*workersv1.Payload{{Ref: ref, Json: h.s.payloads[string(ref)]}}}, nil
}
