package scheduler

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// The walls between rows and the engine's types. Columns go to Postgres as parallel arrays.

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func insertParams(rows []engine.Row) schedulerq.InsertLiveParams {
	var p schedulerq.InsertLiveParams
	for i := range rows {
		r := &rows[i]
		p.TenantIds = append(p.TenantIds, r.Tenant)
		p.RunIds = append(p.RunIds, r.ID)
		p.TaskNos = append(p.TaskNos, r.TaskNo)
		p.Singles = append(p.Singles, r.Single)
		p.Classs = append(p.Classs, int16(r.Class))
		p.WorkflowIds = append(p.WorkflowIds, r.WorkflowID)
		p.WorkflowVersions = append(p.WorkflowVersions, r.Version)
		p.States = append(p.States, string(r.State))
		p.Generations = append(p.Generations, r.Generation)
		p.Attempts = append(p.Attempts, r.Attempt)
		p.Losts = append(p.Losts, r.Lost)
		p.Prioritys = append(p.Prioritys, r.Priority)
		p.Lanes = append(p.Lanes, int64(r.Lane)) //nolint:gosec // the hash's bits, read back the same way
		p.Ranks = append(p.Ranks, r.Rank)
		p.DueAts = append(p.DueAts, r.DueAt)
		p.DeadlineAts = append(p.DeadlineAts, r.DeadlineAt)
		p.CreatedAts = append(p.CreatedAts, r.CreatedAt)
		p.QueuedAts = append(p.QueuedAts, r.QueuedAt)
		p.StartedAts = append(p.StartedAts, r.StartedAt)
		p.EndedAts = append(p.EndedAts, r.EndedAt)
		p.AssignmentIds = append(p.AssignmentIds, r.AssignmentID)
		p.WorkerIds = append(p.WorkerIds, r.WorkerID)
		p.WorkerSessions = append(p.WorkerSessions, r.Session)
		p.StopReasons = append(p.StopReasons, int16(r.StopReason))
		p.RequestHashs = append(p.RequestHashs, notNil(r.RequestHash))
		p.ParentRunIds = append(p.ParentRunIds, r.ParentRun)
		p.ParentTaskNos = append(p.ParentTaskNos, r.ParentTask)
		p.ParentGenerations = append(p.ParentGenerations, r.ParentGeneration)
		p.ChildKeys = append(p.ChildKeys, r.ChildKey)
		p.ChildRunss = append(p.ChildRunss, r.ChildRuns)
		p.Traceparents = append(p.Traceparents, r.Traceparent)
		p.Inputs = append(p.Inputs, r.Input.Inline)
		p.InputRefs = append(p.InputRefs, r.Input.Ref)
		p.Outputs = append(p.Outputs, r.Output.Inline)
		p.OutputRefs = append(p.OutputRefs, r.Output.Ref)
		p.Errors = append(p.Errors, encodeError(r.Error))
		p.Revisions = append(p.Revisions, r.Revision)
	}
	return p
}

func updateParams(rows []engine.Row) schedulerq.UpdateLiveParams {
	var p schedulerq.UpdateLiveParams
	for i := range rows {
		r := &rows[i]
		p.TenantIds = append(p.TenantIds, r.Tenant)
		p.RunIds = append(p.RunIds, r.ID)
		p.TaskNos = append(p.TaskNos, r.TaskNo)
		p.States = append(p.States, string(r.State))
		p.Generations = append(p.Generations, r.Generation)
		p.Attempts = append(p.Attempts, r.Attempt)
		p.Losts = append(p.Losts, r.Lost)
		p.Lanes = append(p.Lanes, int64(r.Lane)) //nolint:gosec // the hash's bits, read back the same way
		p.Ranks = append(p.Ranks, r.Rank)
		p.DueAts = append(p.DueAts, r.DueAt)
		p.DeadlineAts = append(p.DeadlineAts, r.DeadlineAt)
		p.QueuedAts = append(p.QueuedAts, r.QueuedAt)
		p.StartedAts = append(p.StartedAts, r.StartedAt)
		p.EndedAts = append(p.EndedAts, r.EndedAt)
		p.AssignmentIds = append(p.AssignmentIds, r.AssignmentID)
		p.WorkerIds = append(p.WorkerIds, r.WorkerID)
		p.WorkerSessions = append(p.WorkerSessions, r.Session)
		p.StopReasons = append(p.StopReasons, int16(r.StopReason))
		p.ChildRunss = append(p.ChildRunss, r.ChildRuns)
		p.Outputs = append(p.Outputs, r.Output.Inline)
		p.OutputRefs = append(p.OutputRefs, r.Output.Ref)
		p.Errors = append(p.Errors, encodeError(r.Error))
		p.Revisions = append(p.Revisions, r.Revision)
	}
	return p
}

func finishParams(rows []engine.Row) schedulerq.FinishRunsParams {
	var p schedulerq.FinishRunsParams
	for i := range rows {
		r := &rows[i]
		p.TenantIds = append(p.TenantIds, r.Tenant)
		p.RunIds = append(p.RunIds, r.ID)
		p.TaskNos = append(p.TaskNos, r.TaskNo)
		p.States = append(p.States, string(r.State))
		p.Attempts = append(p.Attempts, r.Attempt)
		p.Losts = append(p.Losts, r.Lost)
		p.QueuedAts = append(p.QueuedAts, r.QueuedAt)
		p.StartedAts = append(p.StartedAts, r.StartedAt)
		p.EndedAts = append(p.EndedAts, r.EndedAt)
		p.AssignmentIds = append(p.AssignmentIds, r.AssignmentID)
		p.WorkerIds = append(p.WorkerIds, r.WorkerID)
		p.ChildRunss = append(p.ChildRunss, r.ChildRuns)
		p.Outputs = append(p.Outputs, r.Output.Inline)
		p.OutputRefs = append(p.OutputRefs, r.Output.Ref)
		p.Errors = append(p.Errors, encodeError(r.Error))
		p.Revisions = append(p.Revisions, r.Revision)
	}
	return p
}

func childParams(rows []engine.Row) schedulerq.InsertChildRunsParams {
	var p schedulerq.InsertChildRunsParams
	for i := range rows {
		if r := &rows[i]; !r.ParentRun.IsZero() {
			p.TenantIds, p.Classes = append(p.TenantIds, r.Tenant), append(p.Classes, int16(r.Class))
			p.ParentRunIds, p.RunIds = append(p.ParentRunIds, r.ParentRun), append(p.RunIds, r.ID)
		}
	}
	return p
}

func attemptParams(attempts []*engine.AddAttempt) schedulerq.InsertAttemptsParams {
	var p schedulerq.InsertAttemptsParams
	for _, a := range attempts {
		p.TenantIds, p.Classs, p.RunIds = append(p.TenantIds, a.Tenant), append(p.Classs, int16(a.Class)), append(p.RunIds, a.ID)
		p.Generations, p.TaskNos, p.EndedAts = append(p.Generations, a.Generation), append(p.TaskNos, a.TaskNo), append(p.EndedAts, a.EndedAt)
		p.Attempts, p.Outcomes, p.AssignmentIds = append(p.Attempts, a.Attempt), append(p.Outcomes, a.Outcome), append(p.AssignmentIds, a.Assignment)
		p.WorkerIds, p.StartedAts, p.Errors = append(p.WorkerIds, a.Worker), append(p.StartedAts, a.StartedAt), append(p.Errors, encodeError(a.Error))
	}
	return p
}

func fromLive(l *schedulerq.Live) engine.Row {
	return engine.Row{
		RunKey: engine.RunKey{Tenant: l.TenantID, ID: l.RunID}, TaskNo: l.TaskNo, Single: l.Single, Class: flow.Class(l.Class), WorkflowID: l.WorkflowID,
		Version: l.WorkflowVersion, State: flow.State(l.State), Generation: l.Generation, Attempt: l.Attempt, Lost: l.Lost, Priority: l.Priority,
		Lane: uint64(l.Lane), Rank: l.Rank, DueAt: l.DueAt, DeadlineAt: l.DeadlineAt, CreatedAt: l.CreatedAt, QueuedAt: l.QueuedAt, StartedAt: l.StartedAt, //nolint:gosec // the hash's bits
		EndedAt: l.EndedAt, AssignmentID: l.AssignmentID, WorkerID: l.WorkerID, Session: l.WorkerSession, StopReason: engine.StopReason(l.StopReason),
		RequestHash: l.RequestHash, ParentRun: l.ParentRunID, ParentTask: l.ParentTaskNo, ParentGeneration: l.ParentGeneration, ChildKey: l.ChildKey,
		ChildRuns: l.ChildRuns, Traceparent: l.Traceparent, Input: engine.Payload{Inline: l.Input, Ref: l.InputRef},
		Output: engine.Payload{Inline: l.Output, Ref: l.OutputRef}, Error: decodeError(l.Error), Revision: l.Revision,
	}
}

func fromHistoryRun(h *schedulerq.HistoryRun) engine.Row {
	return engine.Row{
		RunKey: engine.RunKey{Tenant: h.TenantID, ID: h.RunID}, Single: h.Single, Class: flow.Class(h.Class), WorkflowID: h.WorkflowID,
		Version: h.WorkflowVersion, State: flow.State(h.State), Generation: h.Generation, Attempt: h.Attempt, Lost: h.Lost, Priority: h.Priority,
		CreatedAt: h.CreatedAt, QueuedAt: h.QueuedAt, StartedAt: h.StartedAt, EndedAt: h.EndedAt, AssignmentID: h.AssignmentID, WorkerID: h.WorkerID,
		RequestHash: h.RequestHash, ParentRun: h.ParentRunID, ParentTask: h.ParentTaskNo, ParentGeneration: h.ParentGeneration, ChildKey: h.ChildKey,
		ChildRuns: h.ChildRuns, Traceparent: h.Traceparent, Input: engine.Payload{Inline: h.Input, Ref: h.InputRef},
		Output: engine.Payload{Inline: h.Output, Ref: h.OutputRef}, Error: decodeError(h.Error), Revision: h.Revision,
	}
}

func fromHistoryTask(top *engine.Row, h *schedulerq.HistoryTask) engine.Row {
	return engine.Row{
		RunKey: top.RunKey, TaskNo: h.TaskNo, Class: top.Class, WorkflowID: top.WorkflowID, Version: top.Version, State: flow.State(h.State),
		Generation: h.Generation, Attempt: h.Attempt, Lost: h.Lost, Priority: top.Priority, CreatedAt: top.CreatedAt, QueuedAt: h.QueuedAt,
		StartedAt: h.StartedAt, EndedAt: h.EndedAt, AssignmentID: h.AssignmentID, WorkerID: h.WorkerID,
		Output: engine.Payload{Inline: h.Output, Ref: h.OutputRef}, Error: decodeError(h.Error), Revision: h.Revision,
	}
}

func fromList(tenant int64, l *schedulerq.ListedRunsRow) engine.Row {
	return engine.Row{
		RunKey: engine.RunKey{Tenant: tenant, ID: l.RunID}, Single: l.Single, WorkflowID: l.WorkflowID, Version: l.WorkflowVersion, State: flow.State(l.State),
		Generation: l.Generation, Attempt: l.Attempt, Lost: l.Lost, Priority: l.Priority, CreatedAt: l.CreatedAt, QueuedAt: l.QueuedAt, StartedAt: l.StartedAt,
		EndedAt: l.EndedAt, ParentRun: l.ParentRunID, ParentTask: l.ParentTaskNo, ChildRuns: l.ChildRuns, WorkerID: l.WorkerID, Error: decodeError(l.Error),
		Revision: l.Revision,
	}
}

// countParams counts finished runs by workflow, state and minute, in the order of their key.
func countParams(rows []engine.Row) (p schedulerq.CountRunsParams) {
	type bucket struct {
		tenant, workflow int64
		state            string
		minute           int64
	}
	counts := make(map[bucket]int64)
	for i := range rows {
		if r := &rows[i]; r.TaskNo == 0 {
			counts[bucket{r.Tenant, r.WorkflowID, string(r.State), r.EndedAt / time.Minute.Microseconds()}]++
		}
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b bucket) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.workflow, b.workflow), cmp.Compare(a.state, b.state), cmp.Compare(a.minute, b.minute))
	})
	for _, k := range keys {
		p.TenantIds, p.WorkflowIds, p.States = append(p.TenantIds, k.tenant), append(p.WorkflowIds, k.workflow), append(p.States, k.state)
		p.Minutes, p.Runs = append(p.Minutes, k.minute), append(p.Runs, counts[k])
	}
	return p
}
