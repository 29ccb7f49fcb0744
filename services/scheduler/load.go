package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// read answers one ask after its step is durable. It tries until it succeeds: an ask without an answer would hold its inputs for ever.
func (o *postgres) read(ctx context.Context, s *shard, ask engine.Ask) {
	const pause = 100 * time.Millisecond
	for ctx.Err() == nil {
		input, err := o.answer(ctx, s.id, ask)
		if err == nil {
			select {
			case o.loaded <- answer{s, []engine.Input{input}}:
			case <-ctx.Done():
			}
			return
		}
		if ctx.Err() == nil {
			o.log.Warn("scheduler: cannot read for the engine yet", "shard", s.id, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (o *postgres) answer(ctx context.Context, shard int32, ask engine.Ask) (engine.Input, error) {
	switch a := ask.(type) {
	case *engine.AskRun:
		run, err := o.loadRun(ctx, a.RunKey)
		return &engine.RunLoaded{Tenant: a.Tenant, ID: a.ID, Asked: a.Asked, Run: run}, err
	case *engine.AskLane:
		return o.loadLane(ctx, a)
	case *engine.AskTimers:
		return o.loadTimers(ctx, a)
	case *engine.AskTenant:
		return o.loadTenant(ctx, shard, a)
	default:
		panic("scheduler: an ask of unknown kind")
	}
}

func (o *postgres) loadRun(ctx context.Context, key engine.RunKey) (*engine.LoadedRun, error) {
	open, err := o.liveRuns(ctx, key.Tenant, []flow.ID{key.ID})
	if err != nil {
		return nil, err
	}
	if len(open) > 0 {
		return &open[0], nil
	}
	return o.finishedRun(ctx, key)
}

// liveRuns reads whole open runs, in the order of their ids.
func (o *postgres) liveRuns(ctx context.Context, tenantID int64, ids []flow.ID) ([]engine.LoadedRun, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := schedulerq.New(o.pool).LiveRuns(ctx, schedulerq.LiveRunsParams{TenantID: tenantID, RunIds: ids})
	if err != nil {
		return nil, err
	}
	var out []engine.LoadedRun
	for i := range rows {
		if i == 0 || rows[i].RunID != rows[i-1].RunID {
			plan, err := o.cfg.Workflows.Plan(ctx, tenantID, rows[i].WorkflowID, int(rows[i].WorkflowVersion))
			if err != nil {
				return nil, err
			}
			out = append(out, engine.LoadedRun{Plan: plan, Open: true})
		}
		last := &out[len(out)-1]
		last.Rows = append(last.Rows, fromLive(&rows[i]))
	}
	return out, nil
}

func (o *postgres) finishedRun(ctx context.Context, key engine.RunKey) (*engine.LoadedRun, error) {
	q := schedulerq.New(o.pool)
	runs, err := q.FinishedRuns(ctx, schedulerq.FinishedRunsParams{TenantID: key.Tenant, RunIds: []flow.ID{key.ID}})
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	top := fromHistoryRun(&runs[0])
	plan, err := o.cfg.Workflows.Plan(ctx, key.Tenant, top.WorkflowID, int(top.Version))
	if err != nil {
		return nil, err
	}
	run := &engine.LoadedRun{Plan: plan, Rows: []engine.Row{top}}
	if top.Single {
		return run, nil
	}
	tasks, err := q.FinishedTasks(ctx, schedulerq.FinishedTasksParams{TenantID: key.Tenant, Class: int16(top.Class), RunID: key.ID, Generation: top.Generation})
	if err != nil {
		return nil, err
	}
	for i := range tasks {
		run.Rows = append(run.Rows, fromHistoryTask(&top, &tasks[i]))
	}
	return run, nil
}

func (o *postgres) loadLane(ctx context.Context, a *engine.AskLane) (*engine.LaneLoaded, error) {
	rows, err := schedulerq.New(o.pool).LanePage(ctx, schedulerq.LanePageParams{
		TenantID: a.Tenant, Lane: int64(a.Lane), FromRank: a.From, PageSize: int32(a.Limit), //nolint:gosec // the hash's bits; a page
	})
	if err != nil {
		return nil, err
	}
	out := &engine.LaneLoaded{Tenant: a.Tenant, Lane: a.Lane, Asked: a.Asked, Last: len(rows) < a.Limit}
	var dags []flow.ID
	for i := range rows {
		r := &rows[i]
		out.Rows = append(out.Rows, engine.LaneEntry{Run: r.RunID, TaskNo: r.TaskNo, Rank: r.Rank})
		if !r.Single {
			dags = append(dags, r.RunID)
			continue
		}
		plan, err := o.cfg.Workflows.Plan(ctx, a.Tenant, r.WorkflowID, int(r.WorkflowVersion))
		if err != nil {
			return nil, err
		}
		out.Runs = append(out.Runs, engine.LoadedRun{Plan: plan, Open: true, Rows: []engine.Row{fromLive(r)}})
	}
	more, err := o.liveRuns(ctx, a.Tenant, dags)
	out.Runs = append(out.Runs, more...)
	return out, err
}

func (o *postgres) loadTimers(ctx context.Context, a *engine.AskTimers) (*engine.TimersLoaded, error) {
	rows, err := schedulerq.New(o.pool).TimerPage(ctx, schedulerq.TimerPageParams{TenantID: a.Tenant, FromDue: a.From, PageSize: int32(a.Limit)}) //nolint:gosec // a page
	if err != nil {
		return nil, err
	}
	out := &engine.TimersLoaded{Tenant: a.Tenant, Asked: a.Asked, Last: len(rows) < a.Limit}
	ids := make([]flow.ID, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, r.RunID)
		out.End = r.DueAt
	}
	out.Runs, err = o.liveRuns(ctx, a.Tenant, ids)
	return out, err
}

// loadTenant reads what a new owner needs of a tenant: what is in flight, the head of each lane, the near timers. A tenant moves under new epochs of both shards alone,
// so that where it is now is where it stays for as long as this owner's commits succeed.
func (o *postgres) loadTenant(ctx context.Context, shard int32, a *engine.AskTenant) (*engine.TenantLoaded, error) {
	in, err := sharedq.New(o.pool).ShardOfTenant(ctx, a.Tenant)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && in != shard {
		return &engine.TenantLoaded{Tenant: a.Tenant, Asked: a.Asked, Elsewhere: true}, nil
	}
	if err != nil {
		return nil, err
	}
	q := schedulerq.New(o.pool)
	running, err := q.RunningRuns(ctx, a.Tenant)
	if err != nil {
		return nil, err
	}
	lanes, err := q.TenantLanes(ctx, a.Tenant)
	if err != nil {
		return nil, err
	}
	out := &engine.TenantLoaded{Tenant: a.Tenant, Asked: a.Asked, Any: len(running)+len(lanes) > 0}
	if out.Running, err = o.liveRuns(ctx, a.Tenant, running); err != nil {
		return nil, err
	}
	for _, lane := range lanes {
		page, err := o.loadLane(ctx, &engine.AskLane{Tenant: a.Tenant, Lane: uint64(lane), From: lowestRank, Limit: o.cfg.Engine.Window / 2, Asked: a.Asked}) //nolint:gosec // the hash's bits
		if err != nil {
			return nil, err
		}
		out.Lanes = append(out.Lanes, *page)
	}
	timers, err := o.loadTimers(ctx, &engine.AskTimers{Tenant: a.Tenant, From: 1, Limit: o.cfg.Engine.Window, Asked: a.Asked})
	if err != nil {
		return nil, err
	}
	out.Timers = *timers
	out.Any = out.Any || len(timers.Runs) > 0
	return out, nil
}

const lowestRank = -1 << 62
