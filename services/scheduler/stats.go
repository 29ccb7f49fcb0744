package scheduler

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// Bounds of what is counted in one call.
const (
	countedRows  = 100_000 // open rows of a tenant
	statsWindow  = 7 * 24 * time.Hour
	statsPoints  = 1500
	sampledRuns  = 1000 // of one workflow
	sampledEach  = 200  // of each of several
	healthWindow = 24 * time.Hour
)

// Window is a span of time in steps. Zero fields take the defaults: the last hour, in minutes.
type Window struct {
	From, To time.Time
	Step     time.Duration
}

// Counts are numbers of ended runs.
type Counts struct{ Completed, Failed, Cancelled, TimedOut int64 }

func (c *Counts) add(state string, n int64) {
	switch flow.State(state) { //nolint:exhaustive // a finished run has these states alone
	case flow.Completed:
		c.Completed += n
	case flow.Failed:
		c.Failed += n
	case flow.Cancelled:
		c.Cancelled += n
	case flow.TimedOut:
		c.TimedOut += n
	}
}

// Stats counts a tenant's runs.
type Stats struct {
	Queued, Running int64
	LowerBound      bool // there are more open rows than are counted
	Ended           Counts
	Points          []Counts // one a step
	Window          Window   // as it was counted
}

// minutes checks a window and fills it in.
func (w *Window) minutes(now time.Time) (from, to, step int64, err error) {
	if w.Step == 0 {
		w.Step = time.Minute
	}
	if w.To.IsZero() {
		w.To = now.Truncate(time.Minute).Add(time.Minute) // the minute under way counts
	}
	if w.From.IsZero() {
		w.From = w.To.Add(-time.Hour)
	}
	switch {
	case w.Step%time.Minute != 0:
		return 0, 0, 0, fault.InvalidField("step", "%s is not in whole minutes", w.Step)
	case !w.From.Before(w.To):
		return 0, 0, 0, fault.InvalidField("from", "the window begins at %s and ends at %s: it has to end later", w.From.Format(time.RFC3339), w.To.Format(time.RFC3339))
	case w.To.Sub(w.From) > statsWindow:
		return 0, 0, 0, fault.InvalidField("from", "the window is %s long, at most %s are counted in one call", w.To.Sub(w.From), statsWindow)
	case w.To.Sub(w.From) > statsPoints*w.Step:
		return 0, 0, 0, fault.InvalidField("step", "the window has more than %d steps of %s: ask for longer steps", statsPoints, w.Step)
	}
	w.From = w.From.Truncate(time.Minute)
	const minute = int64(time.Minute / time.Second)
	return w.From.Unix() / minute, (w.To.Unix() + minute - 1) / minute, int64(w.Step / time.Minute), nil
}

// Stats counts runs from the buckets of minutes that every commit keeps, and open ones up to a bound.
func (s *Service) Stats(ctx context.Context, workflow string, w Window) (*Stats, error) {
	tenant := authn.From(ctx).TenantID
	from, to, step, err := w.minutes(time.Now())
	if err != nil {
		return nil, err
	}
	var workflowID int64
	if workflow != "" {
		plan, err := s.cfg.Workflows.Resolve(ctx, tenant, workflow, 0)
		if err != nil {
			return nil, err
		}
		workflowID = plan.WorkflowID
	}
	begun := int64(len(s.begun(ctx, tenant, workflowID)))
	var open schedulerq.CountOpenRunsRow
	var ended []schedulerq.CountEndedRunsRow
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		q := schedulerq.New(tx)
		if open, err = q.CountOpenRuns(ctx, schedulerq.CountOpenRunsParams{TenantID: tenant, WorkflowID: workflowID, ScanSize: countedRows}); err != nil {
			return err
		}
		ended, err = q.CountEndedRuns(ctx, schedulerq.CountEndedRunsParams{TenantID: tenant, WorkflowID: workflowID, FromMinute: from, ToMinute: to, StepMinutes: step})
		return err
	})
	if err != nil {
		return nil, pg.Fault(err)
	}
	// What the owner says of runs that are not among the rows any more cannot be more than those that wait.
	running := open.Begun + min(begun, open.Open-open.Begun)
	out := &Stats{
		Queued: open.Open - running, Running: running, LowerBound: open.Rows >= countedRows, Window: w,
		Points: make([]Counts, (to-from+step-1)/step),
	}
	for _, e := range ended {
		out.Ended.add(e.State, e.Runs)
		out.Points[e.Step].add(e.State, e.Runs)
	}
	return out, nil
}

// Health tells how a workflow's latest runs went.
type Health struct {
	Ended              Counts
	Sampled            bool
	RunP50, RunP95     time.Duration // negative: no run completed
	QueueP50, QueueP95 time.Duration // negative: no run has started
}

// Health looks at the newest finished runs of a workflow that were created within the window.
func (s *Service) Health(ctx context.Context, workflow string, window time.Duration) (*Health, error) {
	tenant := authn.From(ctx).TenantID
	plan, err := s.cfg.Workflows.Resolve(ctx, tenant, workflow, 0)
	if err != nil {
		return nil, err
	}
	if window == 0 {
		window = healthWindow
	}
	var rows []schedulerq.SampleRunsRow
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		rows, err = schedulerq.New(tx).SampleRuns(ctx, schedulerq.SampleRunsParams{
			TenantID: tenant, WorkflowID: plan.WorkflowID, FromID: floor(time.Now().Add(-window)), SampleSize: sampledRuns,
		})
		return err
	})
	if err != nil {
		return nil, pg.Fault(err)
	}
	out := &Health{Sampled: len(rows) == sampledRuns}
	var ran, queued []int64
	for _, r := range rows {
		out.Ended.add(r.State, 1)
		if r.StartedAt > 0 {
			queued = append(queued, max(0, r.StartedAt-r.CreatedAt))
			if r.State == string(flow.Completed) {
				ran = append(ran, max(0, r.EndedAt-r.StartedAt))
			}
		}
	}
	out.RunP50, out.RunP95 = quantiles(ran)
	out.QueueP50, out.QueueP95 = quantiles(queued)
	return out, nil
}

// Healths looks at several workflows at once. Those without finished runs within the window are not in the answer.
func (s *Service) Healths(ctx context.Context, workflows []string, window time.Duration) (names []string, of []Health, err error) {
	if window == 0 {
		window = healthWindow
	}
	tenant := authn.From(ctx).TenantID
	var rows []schedulerq.WorkflowHealthRow
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		rows, err = schedulerq.New(tx).WorkflowHealth(ctx, schedulerq.WorkflowHealthParams{
			TenantID: tenant, Names: workflows, FromID: floor(time.Now().Add(-window)), SampleSize: sampledEach,
		})
		return err
	})
	span := func(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
	for _, r := range rows {
		names = append(names, r.Name)
		of = append(of, Health{
			Ended: Counts{Completed: r.Completed, Failed: r.Failed, Cancelled: r.Cancelled, TimedOut: r.TimedOut}, Sampled: r.Runs == sampledEach,
			RunP50: span(r.RunP50), RunP95: span(r.RunP95), QueueP50: span(r.QueueP50), QueueP95: span(r.QueueP95),
		})
	}
	return names, of, pg.Fault(err)
}

// quantiles are the median and the 95th of a hundred, by nearest rank; negative when there is nothing.
func quantiles(us []int64) (p50, p95 time.Duration) {
	if len(us) == 0 {
		return -1, -1
	}
	slices.Sort(us)
	at := func(percent int) time.Duration {
		return time.Duration(us[(len(us)*percent+99)/100-1]) * time.Microsecond
	}
	return at(50), at(95)
}

// Queue tells what waits in a queue, as far as its owner has it in memory.
type Queue struct {
	Name       string
	Waiting    int64
	LowerBound bool
	OldestRun  flow.ID
	Workflow   string
	Task       string
	QueuedAt   int64
	Workers    int32
	FreeSlots  int32
}

// Queues lists the tenant's queues with waiting tasks, the longest wait first.
func (s *Service) Queues(ctx context.Context, most int) ([]Queue, error) {
	tenant := authn.From(ctx).TenantID
	reply, _, err := s.caller.Call(ctx, tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Survey{Survey: &busv1.SurveyTenant{Queues: true}}})
	if err != nil {
		return nil, err
	}
	var out []Queue
	for _, q := range reply.GetSurvey().GetQueues() {
		id, err := flow.IDFromBytes(q.GetOldestRunId())
		if err != nil || len(out) == most {
			continue
		}
		out = append(out, Queue{
			Name: q.GetName(), Waiting: q.GetWaiting(), LowerBound: q.GetMore(), OldestRun: id, Workflow: q.GetOldestWorkflow(), Task: q.GetOldestTask(),
			QueuedAt: q.GetOldestQueueTime(), Workers: q.GetWorkers(), FreeSlots: q.GetFreeSlots(),
		})
	}
	return out, nil
}
