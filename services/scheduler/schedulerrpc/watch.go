package schedulerrpc

import (
	"context"

	"connectrpc.com/connect"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/services/scheduler"
)

func (s *server) WatchRun(ctx context.Context, req *runsv1.WatchRunRequest, stream *connect.ServerStream[runsv1.WatchRunResponse]) error {
	id, err := parseRun(req.GetRunId(), "run_id")
	if err != nil {
		return err
	}
	return s.svc.Watch(ctx, id, func(v *scheduler.RunView) error {
		out := &runsv1.WatchRunResponse{}
		if v != nil {
			out.Run = wireRun(v, true)
		}
		return stream.Send(out)
	})
}

func (s *server) WatchRuns(ctx context.Context, req *runsv1.WatchRunsRequest, stream *connect.ServerStream[runsv1.WatchRunsResponse]) error {
	return s.svc.WatchAll(ctx, req.GetWorkflow(), req.GetLabels(), req.GetResumeToken(), func(said scheduler.RunChanges) error {
		out := &runsv1.WatchRunsResponse{Reset_: said.Reset, ResumeToken: said.Token}
		for _, v := range said.Views {
			out.Runs = append(out.Runs, wireListed(v))
		}
		return stream.Send(out)
	})
}

func (s *server) WatchLogs(ctx context.Context, req *runsv1.WatchLogsRequest, stream *connect.ServerStream[runsv1.WatchLogsResponse]) error {
	id, err := parseRun(req.GetRunId(), "run_id")
	if err != nil {
		return err
	}
	filter := scheduler.LogPage{Task: req.GetTask(), Text: req.GetText(), MinLevel: int16(req.GetMinLevel())} //nolint:gosec // one of five
	if filter.AfterTime, err = parseTailToken(req.GetResumeToken()); err != nil {
		return err
	}
	return s.svc.WatchLogs(ctx, id, filter, func(said scheduler.LogLines) error {
		out := &runsv1.WatchLogsResponse{ResumeToken: tailToken(said.At)}
		for i := range said.Lines {
			out.Lines = append(out.Lines, wireLine(&said.Lines[i]))
		}
		return stream.Send(out)
	})
}
