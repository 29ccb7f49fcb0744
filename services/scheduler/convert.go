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

// column is one array of many rows.
func column[T any](rows []*engine.Row, of func(*engine.Row) T) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = of(r)
	}
	return out
}

func queuedParams(rows []*engine.Row) schedulerq.InsertQueuedParams {
	return schedulerq.InsertQueuedParams{
		TenantIds:        column(rows, func(r *engine.Row) int64 { return r.Tenant }),
		RunIds:           column(rows, func(r *engine.Row) flow.ID { return r.ID }),
		Classs:           column(rows, func(r *engine.Row) int16 { return int16(r.Class) }),
		WorkflowIds:      column(rows, func(r *engine.Row) int64 { return r.WorkflowID }),
		WorkflowVersions: column(rows, func(r *engine.Row) int32 { return r.Version }),
		Prioritys:        column(rows, func(r *engine.Row) int16 { return r.Priority }),
		Lanes:            column(rows, func(r *engine.Row) int64 { return int64(r.Lane) }), //nolint:gosec // the hash's bits, read back the same way
		Ranks:            column(rows, func(r *engine.Row) int64 { return r.Rank }),
		DueAts:           column(rows, func(r *engine.Row) int64 { return r.DueAt }),
		DeadlineAts:      column(rows, func(r *engine.Row) int64 { return r.DeadlineAt }),
		CreatedAts:       column(rows, func(r *engine.Row) int64 { return r.CreatedAt }),
		RequestHashs:     column(rows, func(r *engine.Row) []byte { return notNil(r.RequestHash) }),
		Traceparents:     column(rows, func(r *engine.Row) string { return r.Traceparent }),
		Inputs:           column(rows, func(r *engine.Row) []byte { return r.Input.Inline }),
		InputRefs:        column(rows, func(r *engine.Row) flow.ID { return r.Input.Ref }),
	}
}

func insertParams(rows []*engine.Row) schedulerq.InsertLiveParams {
	return schedulerq.InsertLiveParams{
		TenantIds:         column(rows, func(r *engine.Row) int64 { return r.Tenant }),
		RunIds:            column(rows, func(r *engine.Row) flow.ID { return r.ID }),
		TaskNos:           column(rows, func(r *engine.Row) int16 { return r.TaskNo }),
		Singles:           column(rows, func(r *engine.Row) bool { return r.Single }),
		Classs:            column(rows, func(r *engine.Row) int16 { return int16(r.Class) }),
		WorkflowIds:       column(rows, func(r *engine.Row) int64 { return r.WorkflowID }),
		WorkflowVersions:  column(rows, func(r *engine.Row) int32 { return r.Version }),
		States:            column(rows, func(r *engine.Row) string { return string(r.State) }),
		Generations:       column(rows, func(r *engine.Row) int32 { return r.Generation }),
		Attempts:          column(rows, func(r *engine.Row) int32 { return r.Attempt }),
		Losts:             column(rows, func(r *engine.Row) int32 { return r.Lost }),
		Prioritys:         column(rows, func(r *engine.Row) int16 { return r.Priority }),
		Lanes:             column(rows, func(r *engine.Row) int64 { return int64(r.Lane) }), //nolint:gosec // the hash's bits, read back the same way
		Ranks:             column(rows, func(r *engine.Row) int64 { return r.Rank }),
		DueAts:            column(rows, func(r *engine.Row) int64 { return r.DueAt }),
		DeadlineAts:       column(rows, func(r *engine.Row) int64 { return r.DeadlineAt }),
		CreatedAts:        column(rows, func(r *engine.Row) int64 { return r.CreatedAt }),
		QueuedAts:         column(rows, func(r *engine.Row) int64 { return r.QueuedAt }),
		StartedAts:        column(rows, func(r *engine.Row) int64 { return r.StartedAt }),
		EndedAts:          column(rows, func(r *engine.Row) int64 { return r.EndedAt }),
		AssignmentIds:     column(rows, func(r *engine.Row) flow.ID { return r.AssignmentID }),
		WorkerIds:         column(rows, func(r *engine.Row) flow.ID { return r.WorkerID }),
		WorkerSessions:    column(rows, func(r *engine.Row) int64 { return r.Session }),
		StopReasons:       column(rows, func(r *engine.Row) int16 { return int16(r.StopReason) }),
		RequestHashs:      column(rows, func(r *engine.Row) []byte { return notNil(r.RequestHash) }),
		ParentRunIds:      column(rows, func(r *engine.Row) flow.ID { return r.ParentRun }),
		ParentTaskNos:     column(rows, func(r *engine.Row) int16 { return r.ParentTask }),
		ParentGenerations: column(rows, func(r *engine.Row) int32 { return r.ParentGeneration }),
		ChildKeys:         column(rows, func(r *engine.Row) string { return r.ChildKey }),
		ChildRunss:        column(rows, func(r *engine.Row) int32 { return r.ChildRuns }),
		Traceparents:      column(rows, func(r *engine.Row) string { return r.Traceparent }),
		Inputs:            column(rows, func(r *engine.Row) []byte { return r.Input.Inline }),
		InputRefs:         column(rows, func(r *engine.Row) flow.ID { return r.Input.Ref }),
		Outputs:           column(rows, func(r *engine.Row) []byte { return r.Output.Inline }),
		OutputRefs:        column(rows, func(r *engine.Row) flow.ID { return r.Output.Ref }),
		Errors:            column(rows, func(r *engine.Row) []byte { return encodeError(r.Error) }),
		Revisions:         column(rows, func(r *engine.Row) int64 { return r.Revision }),
		Labels:            labelsColumn(rows),
	}
}

func updateParams(rows []*engine.Row) schedulerq.UpdateLiveParams {
	return schedulerq.UpdateLiveParams{
		TenantIds:      column(rows, func(r *engine.Row) int64 { return r.Tenant }),
		RunIds:         column(rows, func(r *engine.Row) flow.ID { return r.ID }),
		TaskNos:        column(rows, func(r *engine.Row) int16 { return r.TaskNo }),
		States:         column(rows, func(r *engine.Row) string { return string(r.State) }),
		Generations:    column(rows, func(r *engine.Row) int32 { return r.Generation }),
		Attempts:       column(rows, func(r *engine.Row) int32 { return r.Attempt }),
		Losts:          column(rows, func(r *engine.Row) int32 { return r.Lost }),
		Lanes:          column(rows, func(r *engine.Row) int64 { return int64(r.Lane) }), //nolint:gosec // the hash's bits, read back the same way
		Ranks:          column(rows, func(r *engine.Row) int64 { return r.Rank }),
		DueAts:         column(rows, func(r *engine.Row) int64 { return r.DueAt }),
		DeadlineAts:    column(rows, func(r *engine.Row) int64 { return r.DeadlineAt }),
		QueuedAts:      column(rows, func(r *engine.Row) int64 { return r.QueuedAt }),
		StartedAts:     column(rows, func(r *engine.Row) int64 { return r.StartedAt }),
		EndedAts:       column(rows, func(r *engine.Row) int64 { return r.EndedAt }),
		AssignmentIds:  column(rows, func(r *engine.Row) flow.ID { return r.AssignmentID }),
		WorkerIds:      column(rows, func(r *engine.Row) flow.ID { return r.WorkerID }),
		WorkerSessions: column(rows, func(r *engine.Row) int64 { return r.Session }),
		StopReasons:    column(rows, func(r *engine.Row) int16 { return int16(r.StopReason) }),
		ChildRunss:     column(rows, func(r *engine.Row) int32 { return r.ChildRuns }),
		Outputs:        column(rows, func(r *engine.Row) []byte { return r.Output.Inline }),
		OutputRefs:     column(rows, func(r *engine.Row) flow.ID { return r.Output.Ref }),
		Errors:         column(rows, func(r *engine.Row) []byte { return encodeError(r.Error) }),
		Revisions:      column(rows, func(r *engine.Row) int64 { return r.Revision }),
	}
}

func finishParams(rows []*engine.Row) schedulerq.FinishRunsParams {
	return schedulerq.FinishRunsParams{
		TenantIds:     column(rows, func(r *engine.Row) int64 { return r.Tenant }),
		RunIds:        column(rows, func(r *engine.Row) flow.ID { return r.ID }),
		TaskNos:       column(rows, func(r *engine.Row) int16 { return r.TaskNo }),
		States:        column(rows, func(r *engine.Row) string { return string(r.State) }),
		Attempts:      column(rows, func(r *engine.Row) int32 { return r.Attempt }),
		Losts:         column(rows, func(r *engine.Row) int32 { return r.Lost }),
		QueuedAts:     column(rows, func(r *engine.Row) int64 { return r.QueuedAt }),
		StartedAts:    column(rows, func(r *engine.Row) int64 { return r.StartedAt }),
		EndedAts:      column(rows, func(r *engine.Row) int64 { return r.EndedAt }),
		AssignmentIds: column(rows, func(r *engine.Row) flow.ID { return r.AssignmentID }),
		WorkerIds:     column(rows, func(r *engine.Row) flow.ID { return r.WorkerID }),
		ChildRunss:    column(rows, func(r *engine.Row) int32 { return r.ChildRuns }),
		Outputs:       column(rows, func(r *engine.Row) []byte { return r.Output.Inline }),
		OutputRefs:    column(rows, func(r *engine.Row) flow.ID { return r.Output.Ref }),
		Errors:        column(rows, func(r *engine.Row) []byte { return encodeError(r.Error) }),
		Revisions:     column(rows, func(r *engine.Row) int64 { return r.Revision }),
	}
}

func childParams(rows []*engine.Row) schedulerq.InsertChildRunsParams {
	var p schedulerq.InsertChildRunsParams
	for _, r := range rows {
		if !r.ParentRun.IsZero() {
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
		Output: engine.Payload{Inline: l.Output, Ref: l.OutputRef}, Error: decodeError(l.Error), Labels: l.Labels, Revision: l.Revision,
	}
}

func fromHistoryRun(h *schedulerq.HistoryRun) engine.Row {
	return engine.Row{
		RunKey: engine.RunKey{Tenant: h.TenantID, ID: h.RunID}, Single: h.Single, Class: flow.Class(h.Class), WorkflowID: h.WorkflowID,
		Version: h.WorkflowVersion, State: flow.State(h.State), Generation: h.Generation, Attempt: h.Attempt, Lost: h.Lost, Priority: h.Priority,
		CreatedAt: h.CreatedAt, QueuedAt: h.QueuedAt, StartedAt: h.StartedAt, EndedAt: h.EndedAt, AssignmentID: h.AssignmentID, WorkerID: h.WorkerID,
		RequestHash: h.RequestHash, ParentRun: h.ParentRunID, ParentTask: h.ParentTaskNo, ParentGeneration: h.ParentGeneration, ChildKey: h.ChildKey,
		ChildRuns: h.ChildRuns, Traceparent: h.Traceparent, Input: engine.Payload{Inline: h.Input, Ref: h.InputRef},
		Output: engine.Payload{Inline: h.Output, Ref: h.OutputRef}, Error: decodeError(h.Error), Labels: h.Labels, Revision: h.Revision,
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
		Labels: l.Labels, Revision: l.Revision,
	}
}

// countParams counts finished runs by workflow, state and minute, in the order of their key.
func countParams(rows []*engine.Row) (p schedulerq.CountRunsParams) {
	type bucket struct {
		tenant, workflow int64
		state            string
		minute           int64
	}
	counts := make(map[bucket]int64)
	for _, r := range rows {
		if r.TaskNo == 0 {
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
