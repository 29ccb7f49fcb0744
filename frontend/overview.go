package frontend

import (
	"context"
	"net/http"

	"github.com/tenon-run/tenon/frontend/pages"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

const (
	openShown   = 8
	failedShown = 8
	queuesShown = 5
)

func (s *site) showOverview(w http.ResponseWriter, r *http.Request, v visitor) {
	view, err := s.overview(r, v)
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section, v.shell.Title = "overview", "Overview"
	s.render(w, r, http.StatusOK, pages.Overview(v.shell, view))
}

func (s *site) overview(r *http.Request, v visitor) (pages.OverviewView, error) {
	view := pages.OverviewView{Now: s.now(), First: s.firstSteps(r)}
	for _, read := range []struct {
		into     *[]*runsv1.Run
		most     int32
		statuses []runsv1.RunStatus
	}{
		{&view.Open, openShown, []runsv1.RunStatus{runsv1.RunStatus_RUN_STATUS_RUNNING, runsv1.RunStatus_RUN_STATUS_QUEUED}},
		{&view.Failed, failedShown, []runsv1.RunStatus{runsv1.RunStatus_RUN_STATUS_FAILED, runsv1.RunStatus_RUN_STATUS_TIMED_OUT}},
	} {
		list, err := s.runs.ListRuns(v.call(r), &runsv1.ListRunsRequest{PageSize: read.most, Statuses: read.statuses})
		if err != nil {
			return view, err
		}
		*read.into = list.GetRuns()
	}
	var err error
	if view.Stats, err = s.runStats(v.call(r), pages.Filter{}); err != nil {
		return view, err
	}
	queues, err := s.runs.ListQueues(v.call(r), &runsv1.ListQueuesRequest{PageSize: queuesShown})
	if err != nil {
		return view, err
	}
	view.Queues = queues.GetQueues()
	if len(view.Open)+len(view.Failed) > 0 {
		return view, nil
	}
	any, err := s.runs.ListRuns(v.call(r), &runsv1.ListRunsRequest{PageSize: 1})
	if err != nil || len(any.GetRuns()) > 0 {
		return view, err
	}
	view.Fresh = true
	view.Try, err = s.firstRun(r, v, "")
	return view, err
}

// followOverview sends the overview whenever a run or a worker has changed.
func (s *site) followOverview(r *http.Request, v visitor, out *stream) error {
	return latest(r.Context(), out, func(ctx context.Context) error {
		view, err := s.overview(r, v)
		if err != nil {
			return err
		}
		return out.show(ctx, pages.OverviewBody(v.shell, view))
	}, s.ofRuns(r, v, &runsv1.WatchRunsRequest{}), s.ofWorkers(r, v, ""))
}
