package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/bench/internal/tenonside"
	"github.com/tenon-run/tenon/internal/flow"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// read is one way in which people look at their runs.
type read struct {
	name string
	// call makes the call.
	call func(context.Context) error
	// check makes it once and holds the answer against the database's own.
	check func(context.Context) error
}

// prefixUnit is the span of time of the ids that begin with the same prefixDigits digits: a digit has 5 bits, and the first ten of an id are its milliseconds.
const (
	prefixDigits = 7
	prefixUnit   = 1 << (5 * (10 - prefixDigits)) // in ms
)

func (s *dashboard) makeReads() []read {
	hours := func(n int) *timestamppb.Timestamp { return timestamppb.New(s.until.Add(-time.Duration(n) * time.Hour)) }
	status := func(states ...runsv1.RunStatus) *runsv1.ListRunsRequest {
		return &runsv1.ListRunsRequest{Statuses: states}
	}
	common, rare := map[string]string{"env": "prod"}, map[string]string{"customer": "acme"}
	const failed, middle = runsv1.RunStatus_RUN_STATUS_FAILED, 12
	lists := []struct {
		name string
		req  *runsv1.ListRunsRequest
	}{
		{"first_page", &runsv1.ListRunsRequest{}},
		{"workflow", &runsv1.ListRunsRequest{Workflow: tenonside.Noop}},
		{"workflow_rare", &runsv1.ListRunsRequest{Workflow: tenonside.Chain}},
		{"queued", status(runsv1.RunStatus_RUN_STATUS_QUEUED)},
		{"running", status(runsv1.RunStatus_RUN_STATUS_RUNNING)},
		{"completed", status(runsv1.RunStatus_RUN_STATUS_COMPLETED)},
		{"failed", status(failed)},
		{"cancelled", status(runsv1.RunStatus_RUN_STATUS_CANCELLED)},
		{"timed_out", status(runsv1.RunStatus_RUN_STATUS_TIMED_OUT)},
		{"workflow_failed", &runsv1.ListRunsRequest{Workflow: tenonside.Chain, Statuses: []runsv1.RunStatus{failed}}},
		{"time_range", &runsv1.ListRunsRequest{CreatedAfter: hours(middle), CreatedBefore: hours(middle - 1)}},
		{"label", &runsv1.ListRunsRequest{Labels: common}},
		{"label_rare", &runsv1.ListRunsRequest{Labels: rare}},
		{"labels", &runsv1.ListRunsRequest{Labels: map[string]string{"env": "prod", "customer": "acme"}}},
		{"label_failed", &runsv1.ListRunsRequest{Labels: common, Statuses: []runsv1.RunStatus{failed}}},
		{"label_rare_failed", &runsv1.ListRunsRequest{Labels: rare, Statuses: []runsv1.RunStatus{failed}}},
		{"label_workflow_rare", &runsv1.ListRunsRequest{Labels: common, Workflow: tenonside.Chain}},
		{"label_unknown", &runsv1.ListRunsRequest{Labels: map[string]string{"env": "nowhere"}}},
		{"id", &runsv1.ListRunsRequest{IdPrefix: idAt(s.prefixFrom())[:len(typeid.Run+"_")+prefixDigits]}},
	}
	out := make([]read, 0, len(lists)+2)
	for _, l := range lists {
		out = append(out, read{
			name: l.name,
			call: func(ctx context.Context) error {
				_, err := s.api.Runs().ListRuns(ctx, l.req)
				return err
			},
			check: func(ctx context.Context) error { return s.checkList(ctx, l.req) },
		})
	}
	for _, c := range []struct {
		name         string
		window, step time.Duration
	}{{"stats_1h", time.Hour, time.Minute}, {"stats_24h", 24 * time.Hour, 5 * time.Minute}} {
		ask := func(ctx context.Context) (*runsv1.GetRunStatsRequest, *runsv1.GetRunStatsResponse, error) {
			to := time.Now().Truncate(time.Minute).Add(time.Minute)
			req := &runsv1.GetRunStatsRequest{From: timestamppb.New(to.Add(-c.window)), To: timestamppb.New(to), Step: durationpb.New(c.step)}
			got, err := s.api.Runs().GetRunStats(ctx, req)
			return req, got, err
		}
		out = append(out, read{
			name: c.name,
			call: func(ctx context.Context) error {
				_, _, err := ask(ctx)
				return err
			},
			check: func(ctx context.Context) error {
				req, got, err := ask(ctx)
				if err != nil {
					return err
				}
				return s.checkStats(ctx, req, got)
			},
		})
	}
	return out
}

// prefixFrom is the first millisecond whose ids begin with the text that is looked for.
func (s *dashboard) prefixFrom() int64 {
	const back = 15 * time.Hour
	return s.until.Add(-back).UnixMilli() / prefixUnit * prefixUnit
}

// idAt is the lowest run id of a millisecond, as callers see it.
func idAt(ms int64) string {
	id := flow.MakeID(ms, [10]byte{})
	clear(id[6:])
	return typeid.Format(typeid.Run, id)
}

// checkList holds a first page against the rows: the same runs in the same order.
func (s *dashboard) checkList(ctx context.Context, req *runsv1.ListRunsRequest) error {
	const pageSize = 50
	res, err := s.api.Runs().ListRuns(ctx, req)
	if err != nil {
		return err
	}
	var states []string
	for _, status := range req.GetStatuses() {
		states = append(states, strings.ToLower(strings.TrimPrefix(status.String(), "RUN_STATUS_")))
	}
	from, until := int64(0), s.until.Add(time.Hour).UnixMilli()
	if req.GetCreatedAfter() != nil {
		from, until = req.GetCreatedAfter().AsTime().UnixMilli(), req.GetCreatedBefore().AsTime().UnixMilli()
	}
	if prefix := req.GetIdPrefix(); prefix != "" {
		from = s.prefixFrom()
		until = from + prefixUnit
	}
	labelled := req.GetLabels()
	if labelled == nil {
		labelled = map[string]string{}
	}
	rows, err := s.watch.Query(ctx, `select run_id::text from (
			select run_id, workflow_id, state, labels from history_runs union all
			select run_id, workflow_id, case when started_at > 0 or attempt > 1 or lost > 0 then 'running' else 'queued' end, labels from live where task_no = 0) as r
		where ($1 = '' or workflow_id = (select id from workflows where name = $1)) and ($2::text[] is null or state = any ($2))
			and run_id >= uuid_floor($3) and run_id < uuid_floor($4) and ($6 = '{}'::jsonb or convert_from(labels, 'UTF8')::jsonb @> $6)
		order by run_id desc limit $5`, req.GetWorkflow(), states, from, until, pageSize, labelled)
	if err != nil {
		return fmt.Errorf("look the runs up: %w", err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look the runs up: %w", err)
	}
	got := make([]string, len(res.GetRuns()))
	for i, run := range res.GetRuns() {
		id, err := typeid.Parse(typeid.Run, run.GetId())
		if err != nil {
			return err
		}
		got[i] = flow.ID(id).String()
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the list has %d runs %.3q, the database %d: %.3q", len(got), got, len(want), want)
	}
	return nil
}

// checkStats holds counts against the rows that they are of.
func (s *dashboard) checkStats(ctx context.Context, req *runsv1.GetRunStatsRequest, got *runsv1.GetRunStatsResponse) error {
	type counts struct{ queued, running, completed, failed, cancelled, timedOut int64 }
	var want counts
	err := s.watch.QueryRow(ctx, `select l.queued, l.running, count(*) filter (where state = 'completed'), count(*) filter (where state = 'failed'),
			count(*) filter (where state = 'cancelled'), count(*) filter (where state = 'timed_out')
		from (select count(*) filter (where not begun) as queued, count(*) filter (where begun) as running
			from (select started_at > 0 or attempt > 1 or lost > 0 as begun from live where task_no = 0) as o) as l
		left join history_runs on ended_at >= $1 and ended_at < $2 group by 1, 2`, req.GetFrom().AsTime().UnixMicro(), req.GetTo().AsTime().UnixMicro()).
		Scan(&want.queued, &want.running, &want.completed, &want.failed, &want.cancelled, &want.timedOut)
	if err != nil {
		return fmt.Errorf("count the runs: %w", err)
	}
	ended := got.GetEnded()
	if have := (counts{got.GetQueued(), got.GetRunning(), ended.GetCompleted(), ended.GetFailed(), ended.GetCancelled(), ended.GetTimedOut()}); have != want {
		return fmt.Errorf("the counts are %+v, the database has %+v", have, want)
	}
	return nil
}
