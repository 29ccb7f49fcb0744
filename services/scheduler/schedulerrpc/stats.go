package schedulerrpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/services/scheduler"
)

func (s *server) GetRunStats(ctx context.Context, req *runsv1.GetRunStatsRequest) (*runsv1.GetRunStatsResponse, error) {
	var w scheduler.Window
	if t := req.GetFrom(); t != nil {
		w.From = t.AsTime()
	}
	if t := req.GetTo(); t != nil {
		w.To = t.AsTime()
	}
	if d := req.GetStep(); d != nil {
		w.Step = d.AsDuration()
	}
	stats, err := s.svc.Stats(ctx, req.GetWorkflow(), w)
	if err != nil {
		return nil, err
	}
	out := &runsv1.GetRunStatsResponse{
		Queued: stats.Queued, Running: stats.Running, OpenLowerBound: stats.LowerBound, Ended: wireCounts(stats.Ended),
		Points: make([]*runsv1.RunStatsPoint, len(stats.Points)),
	}
	for i, p := range stats.Points {
		out.Points[i] = &runsv1.RunStatsPoint{Time: timestamppb.New(stats.Window.From.Add(time.Duration(i) * stats.Window.Step)), Ended: wireCounts(p)}
	}
	return out, nil
}

func (s *server) GetWorkflowHealth(ctx context.Context, req *runsv1.GetWorkflowHealthRequest) (*runsv1.GetWorkflowHealthResponse, error) {
	h, err := s.svc.Health(ctx, req.GetWorkflow(), req.GetWindow().AsDuration())
	if err != nil {
		return nil, err
	}
	return wireHealth(h), nil
}

func (s *server) ListWorkflowHealth(ctx context.Context, req *runsv1.ListWorkflowHealthRequest) (*runsv1.ListWorkflowHealthResponse, error) {
	names, of, err := s.svc.Healths(ctx, req.GetWorkflows(), req.GetWindow().AsDuration())
	if err != nil {
		return nil, err
	}
	out := &runsv1.ListWorkflowHealthResponse{}
	for i, name := range names {
		out.Workflows = append(out.Workflows, &runsv1.WorkflowHealth{Workflow: name, Health: wireHealth(&of[i])})
	}
	return out, nil
}

func wireHealth(h *scheduler.Health) *runsv1.GetWorkflowHealthResponse {
	out := &runsv1.GetWorkflowHealthResponse{
		Ended: wireCounts(h.Ended), Sampled: h.Sampled, RunP50: wireSpan(h.RunP50), RunP95: wireSpan(h.RunP95), QueueP50: wireSpan(h.QueueP50),
		QueueP95: wireSpan(h.QueueP95),
	}
	if tried := h.Ended.Completed + h.Ended.Failed + h.Ended.TimedOut; tried > 0 {
		rate := float64(h.Ended.Completed) / float64(tried)
		out.SuccessRate = &rate
	}
	return out
}

func (s *server) ListQueues(ctx context.Context, req *runsv1.ListQueuesRequest) (*runsv1.ListQueuesResponse, error) {
	queues, err := s.svc.Queues(ctx, pageSize(req.GetPageSize(), defaultPage))
	if err != nil {
		return nil, err
	}
	out := &runsv1.ListQueuesResponse{}
	for i := range queues {
		q := &queues[i]
		wire := &runsv1.Queue{
			Name: q.Name, Waiting: q.Waiting, WaitingLowerBound: q.LowerBound, OldestWorkflow: q.Workflow, OldestTask: q.Task, OldestQueueTime: stamp(q.QueuedAt),
			Workers: q.Workers, FreeSlots: q.FreeSlots,
		}
		if !q.OldestRun.IsZero() {
			wire.OldestRunId = runID(q.OldestRun)
		}
		out.Queues = append(out.Queues, wire)
	}
	return out, nil
}

func wireCounts(c scheduler.Counts) *runsv1.RunCounts {
	return &runsv1.RunCounts{Completed: c.Completed, Failed: c.Failed, Cancelled: c.Cancelled, TimedOut: c.TimedOut}
}

func wireSpan(d time.Duration) *durationpb.Duration {
	if d < 0 {
		return nil
	}
	return durationpb.New(d)
}
