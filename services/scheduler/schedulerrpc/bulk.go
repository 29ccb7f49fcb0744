package schedulerrpc

import (
	"context"

	"github.com/tenon-run/tenon/internal/flow"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

func (s *server) CancelRuns(ctx context.Context, req *runsv1.CancelRunsRequest) (*runsv1.CancelRunsResponse, error) {
	ids, bad := parseRuns(req.GetRunIds())
	errs, err := s.svc.CancelMany(ctx, ids, req.GetReason())
	if err != nil {
		return nil, err
	}
	return &runsv1.CancelRunsResponse{Results: results(req.GetRunIds(), bad, errs)}, nil
}

func (s *server) ReplayRuns(ctx context.Context, req *runsv1.ReplayRunsRequest) (*runsv1.ReplayRunsResponse, error) {
	ids, bad := parseRuns(req.GetRunIds())
	return &runsv1.ReplayRunsResponse{Results: results(req.GetRunIds(), bad, s.svc.ReplayMany(ctx, ids))}, nil
}

// parseRuns reads the ids of a bulk call. One that cannot be read stays zero, and its fault stands at its place.
func parseRuns(texts []string) (ids []flow.ID, bad []error) {
	ids, bad = make([]flow.ID, len(texts)), make([]error, len(texts))
	for i, text := range texts {
		ids[i], bad[i] = parseRun(text, "run_ids")
	}
	return ids, bad
}

func results(texts []string, bad, errs []error) []*runsv1.RunResult {
	out := make([]*runsv1.RunResult, len(texts))
	for i, text := range texts {
		err := errs[i]
		if bad[i] != nil {
			err = bad[i]
		}
		out[i] = &runsv1.RunResult{RunId: text, Error: itemError(err, "run_ids")}
	}
	return out
}
