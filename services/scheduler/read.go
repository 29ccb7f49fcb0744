package scheduler

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// RunView is a run as a caller sees it: its rows with what the owner's memory knows beyond them.
type RunView struct {
	Plan *flow.Plan
	Rows []engine.Row // by task number; payloads inline
	Open bool
	// ParentTask names the task that started a child run.
	ParentTask string
}

// Top is the run's own row.
func (v *RunView) Top() *engine.Row { return &v.Rows[0] }

// Tasks are the rows that are tasks.
func (v *RunView) Tasks() []engine.Row {
	if v.Top().Single {
		return v.Rows
	}
	return v.Rows[1:]
}

// Revision grows with every change of the run.
func (v *RunView) Revision() int64 {
	var sum int64
	for i := range v.Rows {
		sum += v.Rows[i].Revision
	}
	return sum
}

// Status is the run's state: a run has begun once any of its tasks has.
func (v *RunView) Status() flow.State {
	top := v.Top()
	if top.State.Final() {
		return top.State
	}
	if top.StartedAt > 0 {
		return flow.Running
	}
	for _, w := range v.Tasks() {
		if w.StartedAt > 0 || w.Lost > 0 || w.Attempt > 1 || w.State == flow.Running || w.State == flow.Waiting || w.State == flow.Stopping {
			return flow.Running
		}
	}
	return flow.Queued
}

func runNotFound(id flow.ID) error { return fault.NotFound("run", typeid.Format(typeid.Run, id)) }

// views reads runs as their rows and the owner's memory together tell them. Those that do not exist are left out. A run may end between the two: then
// its rows are read again, since memory knows of the end but only the rows hold what came of it.
func (s *Service) views(ctx context.Context, ids []flow.ID) (map[flow.ID]*RunView, error) {
	const most = 3 // the owner answers when what it says is stored, so the second reading finds it
	views := make(map[flow.ID]*RunView, len(ids))
	for tries := 0; len(ids) > 0 && tries < most; tries++ {
		found, err := s.stored(ctx, ids)
		if err != nil {
			return nil, err
		}
		maps.Copy(views, found)
		ids = s.overlay(ctx, authn.From(ctx).TenantID, found)
	}
	return views, nil
}

// stored reads runs from their rows, open ones first: a run that ends meanwhile is found among the finished.
func (s *Service) stored(ctx context.Context, ids []flow.ID) (map[flow.ID]*RunView, error) {
	tenant := authn.From(ctx).TenantID
	views := make(map[flow.ID]*RunView, len(ids))
	err := pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		q := schedulerq.New(tx)
		rows, err := q.LiveRuns(ctx, schedulerq.LiveRunsParams{TenantID: tenant, RunIds: ids})
		if err != nil {
			return err
		}
		for i := range rows {
			v := views[rows[i].RunID]
			if v == nil {
				v = &RunView{Open: true}
				views[rows[i].RunID] = v
			}
			v.Rows = append(v.Rows, fromLive(&rows[i]))
		}
		return s.finished(ctx, q, tenant, ids, views)
	})
	if err != nil {
		return nil, pg.Fault(err)
	}
	return views, s.complete(ctx, tenant, views)
}

// ended reads runs that were said to be final; those that are open again, by a replay, are read as they are.
func (s *Service) ended(ctx context.Context, ids []flow.ID) (map[flow.ID]*RunView, error) {
	tenant := authn.From(ctx).TenantID
	views := make(map[flow.ID]*RunView, len(ids))
	// What has ended does not change: its run and its tasks need not be read at one instant.
	if err := s.finished(ctx, schedulerq.New(pg.ReaderOf(s.cfg.Pool, tenant)), tenant, ids, views); err != nil {
		return nil, pg.Fault(err)
	}
	if len(views) < len(ids) {
		return s.views(ctx, ids)
	}
	return views, s.complete(ctx, tenant, views)
}

// complete adds what the rows of runs only point to.
func (s *Service) complete(ctx context.Context, tenant int64, views map[flow.ID]*RunView) (err error) {
	for _, v := range views {
		if v.Plan, err = s.cfg.Workflows.Plan(ctx, tenant, v.Top().WorkflowID, int(v.Top().Version)); err != nil {
			return err
		}
	}
	return s.nameParents(ctx, tenant, views)
}

// nameParents finds the names of the tasks that started child runs; a row has only their numbers. A parent that is past its retention has no name.
func (s *Service) nameParents(ctx context.Context, tenant int64, views map[flow.ID]*RunView) error {
	children := make(map[flow.ID][]*RunView)
	var parents []flow.ID
	for _, v := range views {
		id := v.Top().ParentRun
		if id.IsZero() {
			continue
		}
		if children[id] == nil {
			parents = append(parents, id)
		}
		children[id] = append(children[id], v)
	}
	if len(parents) == 0 {
		return nil
	}
	var rows []schedulerq.RunVersionsRow
	err := pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) (err error) {
		rows, err = schedulerq.New(tx).RunVersions(ctx, schedulerq.RunVersionsParams{TenantID: tenant, RunIds: parents})
		return err
	})
	if err != nil {
		return pg.Fault(err)
	}
	for _, row := range rows {
		plan, err := s.cfg.Workflows.Plan(ctx, tenant, row.WorkflowID, int(row.WorkflowVersion))
		if err != nil {
			return err
		}
		for _, v := range children[row.RunID] {
			if i := int(v.Top().ParentTask) - 1; i >= 0 && i < len(plan.Workflow.Tasks) {
				v.ParentTask = plan.Workflow.Tasks[i].Name
			}
		}
	}
	return nil
}

func (s *Service) finished(ctx context.Context, q *schedulerq.Queries, tenant int64, ids []flow.ID, views map[flow.ID]*RunView) error {
	var left []flow.ID
	for _, id := range ids {
		if views[id] == nil {
			left = append(left, id)
		}
	}
	if len(left) == 0 {
		return nil
	}
	runs, err := q.FinishedRuns(ctx, schedulerq.FinishedRunsParams{TenantID: tenant, RunIds: left})
	if err != nil {
		return err
	}
	for i := range runs {
		top := fromHistoryRun(&runs[i])
		v := &RunView{Rows: []engine.Row{top}}
		views[top.ID] = v
		if top.Single {
			continue
		}
		tasks, err := q.FinishedTasks(ctx, schedulerq.FinishedTasksParams{TenantID: tenant, Class: int16(top.Class), RunID: top.ID, Generation: top.Generation})
		if err != nil {
			return err
		}
		for j := range tasks {
			v.Rows = append(v.Rows, fromHistoryTask(&top, &tasks[j]))
		}
	}
	return nil
}

// overlay adds what only the owner's memory knows: attempts that are too young to have been written. Without an owner the rows stand as they are.
// It answers with the runs of which the owner knows an end that their rows do not hold yet.
func (s *Service) overlay(ctx context.Context, tenant int64, views map[flow.ID]*RunView) (outdated []flow.ID) {
	req := &busv1.PeekRuns{}
	for id, v := range views {
		if v.Open {
			req.RunIds = append(req.RunIds, idBytes(id))
		}
	}
	if len(req.GetRunIds()) == 0 {
		return nil
	}
	const most = time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	reply, _, err := s.caller.Call(ctx, tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Peek{Peek: req}})
	if err != nil {
		s.log.Debug("scheduler: run shown without its owner's view", "error", err)
		return nil
	}
	for _, p := range reply.GetPeek().GetRuns() {
		id, err := flow.IDFromBytes(p.GetRunId())
		if v := views[id]; err == nil && v != nil && p.GetRevision() >= v.Revision() && !v.merge(p) {
			outdated = append(outdated, id)
		}
	}
	return outdated
}

// merge takes the owner's view of a run over, but for ends that the rows do not hold: an end has a result or an error and an instant, which only
// rows have. It tells whether there was none.
func (v *RunView) merge(p *busv1.PeekedRun) (whole bool) {
	whole = true
	for i := range v.Rows {
		w := &v.Rows[i]
		for _, t := range p.GetTasks() {
			if t.GetTaskNo() != int32(w.TaskNo) {
				continue
			}
			state := flow.State(t.GetStatus())
			if state.Final() && !w.State.Final() {
				whole = false
				continue
			}
			w.State, w.Attempt, w.Lost = state, t.GetAttempt(), t.GetLost()
			w.StartedAt, w.QueuedAt, w.DueAt = t.GetStartTime(), t.GetQueueTime(), t.GetRetryTime()
			if id, err := flow.IDFromBytes(t.GetWorkerId()); err == nil {
				w.WorkerID = id
			}
		}
	}
	if top := v.Top(); !top.Single {
		top.StartedAt = p.GetStartTime()
	}
	return whole
}

// view reads one run without the payloads that stand apart.
func (s *Service) view(ctx context.Context, id flow.ID) (*RunView, error) {
	views, err := s.views(ctx, []flow.ID{id})
	if err != nil {
		return nil, err
	}
	if views[id] == nil {
		return nil, runNotFound(id)
	}
	return views[id], nil
}

// Get reads one run with its payloads.
func (s *Service) Get(ctx context.Context, id flow.ID) (*RunView, error) {
	v, err := s.view(ctx, id)
	if err != nil {
		return nil, err
	}
	return v, s.fill(ctx, v)
}

// fill fetches the payloads that stand apart.
func (s *Service) fill(ctx context.Context, v *RunView) error {
	apart := func(r engine.Row) bool { return !r.Input.Ref.IsZero() || !r.Output.Ref.IsZero() }
	if !slices.ContainsFunc(v.Rows, apart) {
		return nil
	}
	tenant := authn.From(ctx).TenantID
	err := pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		q := schedulerq.New(tx)
		fetch := func(p *engine.Payload) error {
			if p.Ref.IsZero() {
				return nil
			}
			body, err := q.GetPayload(ctx, schedulerq.GetPayloadParams{TenantID: tenant, Class: int16(v.Top().Class), ID: p.Ref})
			p.Inline = body
			return err
		}
		for i := range v.Rows {
			if err := fetch(&v.Rows[i].Input); err != nil {
				return err
			}
			if err := fetch(&v.Rows[i].Output); err != nil {
				return err
			}
		}
		return nil
	})
	return pg.Fault(err)
}
