package scheduler

import (
	"context"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// survey asks a tenant's owner for what it knows beyond the rows. Without an owner there is nothing beyond them.
func (s *Service) survey(ctx context.Context, tenant int64, what *busv1.SurveyTenant) *busv1.SurveyTenantReply {
	const most = time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	reply, _, err := s.caller.Call(ctx, tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Survey{Survey: what}})
	if err != nil {
		s.log.Debug("scheduler: rows shown without their owner's view", "error", err)
	}
	return reply.GetSurvey()
}

// begun are the runs that have begun while their rows do not say so yet; workflow 0 means all.
func (s *Service) begun(ctx context.Context, tenant, workflow int64) []flow.ID {
	ids := []flow.ID{}
	for _, r := range s.survey(ctx, tenant, &busv1.SurveyTenant{Runs: true}).GetRuns() {
		if id, err := flow.IDFromBytes(r.GetRunId()); err == nil && (workflow == 0 || r.GetWorkflowId() == workflow) {
			ids = append(ids, id)
		}
	}
	return ids
}

func surveyReply(replies []engine.Effect) *busv1.ShardReply {
	out := &busv1.SurveyTenantReply{}
	if r, ok := replies[0].(*engine.SurveyReply); ok {
		out.Epoch, out.Number = r.Epoch, r.Notices
		for i := range r.Runs {
			out.Runs = append(out.Runs, &busv1.BegunRun{RunId: r.Runs[i].ID[:], WorkflowId: r.Runs[i].WorkflowID})
		}
		for i := range r.Workers {
			out.Workers = append(out.Workers, surveyedWorker(&r.Workers[i]))
		}
		for i := range r.Queues {
			out.Queues = append(out.Queues, surveyedQueue(&r.Queues[i]))
		}
	}
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Survey{Survey: out}}
}

func surveyedWorker(w *engine.WorkerView) *busv1.SurveyedWorker {
	out := &busv1.SurveyedWorker{
		WorkerId: w.Worker[:], Session: w.Session, Dispatcher: w.Dispatcher, Slots: int32(w.Slots), SlotsUsed: int32(w.Used), //nolint:gosec // at most 10,000
		Draining: w.Draining, Paused: w.Paused, Lost: w.Lost, LostTime: w.LostAt, Assignments: int32(w.Assignments), //nolint:gosec // at most some 10,000
	}
	for i := range w.Held {
		h := &w.Held[i]
		out.Held = append(out.Held, &busv1.SurveyedAssignment{
			RunId: h.Run[:], Workflow: h.Plan.Workflow.Name, Task: h.Plan.Workflow.Tasks[h.TaskNo-1].Name, Attempt: h.Attempt, Status: string(h.State),
			StartTime: h.StartedAt, QueueTime: h.QueuedAt,
		})
	}
	return out
}

func surveyedQueue(q *engine.QueueView) *busv1.SurveyedQueue {
	out := &busv1.SurveyedQueue{
		Name: q.Name, Waiting: int64(q.Waiting), More: q.More, OldestQueueTime: q.QueuedAt, Workers: int32(q.Workers), FreeSlots: int32(q.Free), //nolint:gosec // bounded by the workers' slots
	}
	if q.Plan != nil {
		out.OldestRunId, out.OldestWorkflow, out.OldestTask = q.Oldest[:], q.Plan.Workflow.Name, q.Plan.Workflow.Tasks[q.TaskNo-1].Name
	}
	return out
}
