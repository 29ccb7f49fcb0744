package schedulerrpc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/rpc"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/scheduler"
)

// Register mounts RunService.
func Register(mux rpc.Mux, svc *scheduler.Service, opts ...connect.HandlerOption) {
	path, handler := runsv1connect.NewRunServiceHandler(&server{svc}, opts...)
	mux.Handle(path, handler, runsv1.File_tenon_runs_v1_runs_proto.Services().ByName("RunService"))
}

type server struct{ svc *scheduler.Service }

func (s *server) Trigger(ctx context.Context, req *runsv1.TriggerRequest) (*runsv1.TriggerResponse, error) {
	done, err := s.trigger(ctx, req.GetRun())
	if err != nil {
		return nil, err
	}
	if done[0].Err != nil {
		return nil, done[0].Err
	}
	return &runsv1.TriggerResponse{RunId: runID(done[0].ID), Created: done[0].Created}, nil
}

func (s *server) trigger(ctx context.Context, wanted *runsv1.NewRun) ([]scheduler.Triggered, error) {
	return s.svc.Trigger(ctx, []scheduler.NewRun{newRun(wanted, traceparent(ctx))})
}

func (s *server) TriggerBulk(ctx context.Context, req *runsv1.TriggerBulkRequest) (*runsv1.TriggerBulkResponse, error) {
	trace := traceparent(ctx)
	runs := make([]scheduler.NewRun, len(req.GetRuns()))
	for i, w := range req.GetRuns() {
		runs[i] = newRun(w, trace)
		if err := rpc.ValidateItem(w, "run"); err != nil { // a single run has passed this at the door
			runs[i].Err = err
		}
	}
	done, err := s.svc.Trigger(ctx, runs)
	if err != nil {
		return nil, err
	}
	out := &runsv1.TriggerBulkResponse{Results: make([]*runsv1.TriggerResult, len(done))}
	for i, d := range done {
		out.Results[i] = &runsv1.TriggerResult{Created: d.Created, Error: itemError(d.Err, fmt.Sprintf("runs[%d]", i))}
		if !d.ID.IsZero() {
			out.Results[i].RunId = runID(d.ID)
		}
	}
	return out, nil
}

func (s *server) TriggerAndWait(ctx context.Context, req *runsv1.TriggerAndWaitRequest) (*runsv1.TriggerAndWaitResponse, error) {
	if t := req.GetTimeout(); t != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.AsDuration())
		defer cancel()
	}
	done, view, err := s.svc.TriggerAndAwait(ctx, newRun(req.GetRun(), traceparent(ctx)))
	if ctx.Err() != nil && view == nil && !done.ID.IsZero() && done.Err == nil {
		return nil, fault.New(fault.CodeDeadlineExceeded, "RUN_NOT_FINAL", "run %s has not ended within the call's time; it goes on: read or await it by its id", runID(done.ID)).WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	return &runsv1.TriggerAndWaitResponse{Run: wireRun(view, true)}, nil
}

func (s *server) AwaitRuns(ctx context.Context, req *runsv1.AwaitRunsRequest, stream *connect.ServerStream[runsv1.AwaitRunsResponse]) error {
	ids := make([]flow.ID, 0, len(req.GetRunIds()))
	seen := make(map[flow.ID]bool, len(req.GetRunIds()))
	for _, text := range req.GetRunIds() {
		id, err := parseRun(text, "run_ids")
		if err != nil {
			return err
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	parent, err := parentOf(req.GetParent(), "parent")
	if err != nil {
		return err
	}
	return s.svc.Await(ctx, ids, parent, func(views []*scheduler.RunView) error {
		out := &runsv1.AwaitRunsResponse{}
		for _, v := range views {
			out.Runs = append(out.Runs, wireRun(v, false))
		}
		return stream.Send(out)
	})
}

func (s *server) GetRun(ctx context.Context, req *runsv1.GetRunRequest) (*runsv1.GetRunResponse, error) {
	id, err := parseRun(req.GetRunId(), "run_id")
	if err != nil {
		return nil, err
	}
	v, err := s.svc.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return &runsv1.GetRunResponse{Run: wireRun(v, true)}, nil
}

func (s *server) ListRuns(ctx context.Context, req *runsv1.ListRunsRequest) (*runsv1.ListRunsResponse, error) {
	filter := scheduler.Filter{Workflow: req.GetWorkflow(), Labels: req.GetLabels(), PageSize: pageSize(req.GetPageSize(), defaultRuns)}
	if t := req.GetCreatedAfter(); t != nil {
		filter.CreatedAfter = t.AsTime()
	}
	if t := req.GetCreatedBefore(); t != nil {
		filter.CreatedBefore = t.AsTime()
	}
	for _, status := range req.GetStatuses() {
		filter.States = append(filter.States, runState(status))
	}
	var err error
	if p := req.GetParentRunId(); p != "" {
		if filter.Parent, err = parseRun(p, "parent_run_id"); err != nil {
			return nil, err
		}
	}
	if token := req.GetPageToken(); token != "" {
		if filter.Before, err = parseRunToken(token); err != nil {
			return nil, err
		}
	}
	if filter.From, filter.Until, err = parsePrefix(req.GetIdPrefix()); err != nil {
		return nil, err
	}
	views, next, err := s.svc.List(ctx, filter)
	if err != nil {
		return nil, err
	}
	out := &runsv1.ListRunsResponse{}
	for _, v := range views {
		out.Runs = append(out.Runs, wireListed(v))
	}
	if !next.IsZero() {
		out.NextPageToken = runToken(next)
	}
	return out, nil
}

func (s *server) ListAttempts(ctx context.Context, req *runsv1.ListAttemptsRequest) (*runsv1.ListAttemptsResponse, error) {
	id, err := parseRun(req.GetRunId(), "run_id")
	if err != nil {
		return nil, err
	}
	from, err := parseOffsetToken(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	attempts, err := s.svc.Attempts(ctx, id)
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize(), defaultPage)
	attempts = attempts[min(from, len(attempts)):]
	out := &runsv1.ListAttemptsResponse{}
	for i := range attempts[:min(size, len(attempts))] {
		out.Attempts = append(out.Attempts, wireAttempt(&attempts[i]))
	}
	if len(attempts) > size {
		out.NextPageToken = offsetToken(from + size)
	}
	return out, nil
}

func (s *server) ListLogs(ctx context.Context, req *runsv1.ListLogsRequest) (*runsv1.ListLogsResponse, error) {
	id, err := parseRun(req.GetRunId(), "run_id")
	if err != nil {
		return nil, err
	}
	page, err := parseLogToken(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	page.Task, page.PageSize = req.GetTask(), pageSize(req.GetPageSize(), defaultPage)
	page.Text, page.MinLevel = req.GetText(), int16(req.GetMinLevel()) //nolint:gosec // one of five
	lines, next, err := s.svc.Logs(ctx, id, page)
	if err != nil {
		return nil, err
	}
	out := &runsv1.ListLogsResponse{}
	for i := range lines {
		out.Lines = append(out.Lines, wireLine(&lines[i]))
	}
	if next != nil {
		out.NextPageToken = logToken(next)
	}
	return out, nil
}

func (s *server) CancelRun(ctx context.Context, req *runsv1.CancelRunRequest) (*runsv1.CancelRunResponse, error) {
	id, err := parseRun(req.GetRunId(), "run_id")
	if err != nil {
		return nil, err
	}
	parent, err := parentOf(req.GetParent(), "parent")
	if err != nil {
		return nil, err
	}
	v, err := s.svc.Cancel(ctx, id, req.GetReason(), parent)
	if err != nil {
		return nil, err
	}
	return &runsv1.CancelRunResponse{Run: wireRun(v, true)}, nil
}

func (s *server) ReplayRun(ctx context.Context, req *runsv1.ReplayRunRequest) (*runsv1.ReplayRunResponse, error) {
	id, err := parseRun(req.GetRunId(), "run_id")
	if err != nil {
		return nil, err
	}
	v, err := s.svc.Replay(ctx, id, req.GetTasks())
	if err != nil {
		return nil, err
	}
	return &runsv1.ReplayRunResponse{Run: wireRun(v, true)}, nil
}

func runID(id flow.ID) string { return typeid.Format(typeid.Run, id) }

func parseRun(text, field string) (flow.ID, error) {
	id, err := typeid.Parse(typeid.Run, text)
	if err != nil {
		return flow.ID{}, fault.InvalidField(field, "%s", err.Error())
	}
	return id, nil
}

// parsePrefix is the range of ids that begin with a text: from the first on, and before the second.
func parsePrefix(text string) (from, until flow.ID, err error) {
	if text == "" {
		return from, until, nil
	}
	const digits = 26
	suffix := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), typeid.Run+"_")
	if suffix == "" {
		return from, until, nil
	}
	padded := func(with string) (flow.ID, error) {
		return parseRun(typeid.Run+"_"+suffix+strings.Repeat(with, max(0, digits-len(suffix))), "id_prefix")
	}
	if from, err = padded("0"); err != nil {
		return from, until, err
	}
	if until, err = padded("z"); err != nil {
		return from, until, err
	}
	for i := len(until) - 1; i >= 0; i-- {
		if until[i]++; until[i] != 0 {
			break
		}
	}
	return from, until, nil
}

const (
	defaultRuns = 50
	defaultPage = 100
)

func pageSize(asked int32, standard int) int {
	if asked == 0 {
		return standard
	}
	return int(asked)
}

func micro(us int64) time.Time { return time.UnixMicro(us) }
