package frontend

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/frontend/pages"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

const runsPerPage = 50

// showRuns is the list of the latest runs. Its whole state is in the address.
func (s *site) showRuns(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section, v.shell.Title = "runs", "Runs"
	view := pages.RunsView{Filter: runFilter(r), Now: s.now(), First: s.firstSteps(r)}
	list, err := s.registry.ListWorkflows(v.call(r), &registryv1.ListWorkflowsRequest{PageSize: workflowsPerPage})
	for _, wf := range list.GetWorkflows() {
		view.Workflows = append(view.Workflows, wf.GetName())
	}
	if err == nil {
		err = s.readRuns(v.call(r), &view)
	}
	if err == nil {
		err = s.countRuns(v.call(r), &view)
	}
	status := http.StatusOK
	if err != nil {
		if connect.CodeOf(err) == connect.CodeUnauthenticated {
			s.fail(w, r, v, err)
			return
		}
		status, view.Error = s.problem(r, err)
	}
	s.render(w, r, status, pages.Runs(v.shell, view))
}

func runFilter(r *http.Request) pages.Filter {
	asked := r.URL.Query()
	return pages.Filter{
		Status: asked.Get("status"), Workflow: asked.Get("workflow"), Range: asked.Get("range"), ID: strings.TrimSpace(asked.Get("id")),
		Parent: asked.Get("parent"), Page: asked.Get("page_token"), Labels: chosenLabels(asked["label"]),
	}
}

// chosenLabels are the labels of an address, each once: the form that adds one sends an empty text when it adds none.
func chosenLabels(asked []string) (labels []string) {
	for _, label := range asked {
		if label = strings.TrimSpace(label); label != "" && !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	return labels
}

// readRuns reads the page of the list that the filter names.
func (s *site) readRuns(ctx context.Context, view *pages.RunsView) error {
	f := view.Filter
	labels, err := pages.ParseLabels(f.Labels)
	if err != nil {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	req := &runsv1.ListRunsRequest{PageSize: runsPerPage, PageToken: f.Page, Workflow: f.Workflow, ParentRunId: f.Parent, IdPrefix: f.ID, Labels: labels}
	if f.Status != "" {
		status, ok := pages.ParseRunStatus(f.Status)
		if !ok {
			return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("there is no run status “%s”; choose one of those shown", f.Status))
		}
		req.Statuses = []runsv1.RunStatus{status}
	}
	if since := f.Since(view.Now); !since.IsZero() {
		req.CreatedAfter = timestamppb.New(since)
	}
	const calls = 5 // one looks through a part of many runs, and may find nothing there
	for range calls {
		list, err := s.runs.ListRuns(ctx, req)
		if err != nil {
			return err
		}
		view.Runs, view.Next = list.GetRuns(), list.GetNextPageToken()
		if len(view.Runs) > 0 || view.Next == "" {
			break
		}
		req.PageToken = view.Next
	}
	return nil
}

// countRuns counts runs beside the list, unless it is narrowed to labels: nobody counts by these.
func (s *site) countRuns(ctx context.Context, view *pages.RunsView) (err error) {
	if len(view.Filter.Labels) == 0 {
		view.Stats, err = s.runStats(ctx, view.Filter)
	}
	return err
}

// runStats counts runs over the filter's window, in about as many steps as the picture has bars.
func (s *site) runStats(ctx context.Context, f pages.Filter) (*runsv1.GetRunStatsResponse, error) {
	const bars = 60
	to := s.now().Truncate(time.Minute).Add(time.Minute)
	window := f.Window()
	step := max((window / bars).Truncate(time.Minute), time.Minute)
	return s.runs.GetRunStats(ctx, &runsv1.GetRunStatsRequest{
		Workflow: f.Workflow, From: timestamppb.New(to.Add(-window)), To: timestamppb.New(to), Step: durationpb.New(step),
	})
}

// followRuns sends the list whenever a run on it, or one that belongs on it, has changed.
func (s *site) followRuns(r *http.Request, v visitor, out *stream) error {
	filter := runFilter(r)
	filter.Page = ""
	labels, err := pages.ParseLabels(filter.Labels)
	if err != nil {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	return latest(r.Context(), out, func(ctx context.Context) error {
		view := pages.RunsView{Filter: filter, Now: s.now(), First: s.firstSteps(r)}
		if err := s.readRuns(v.call(r), &view); err != nil {
			return err
		}
		if err := s.countRuns(v.call(r), &view); err != nil {
			return err
		}
		return out.show(ctx, pages.RunList(v.shell, view))
	}, s.ofRuns(r, v, &runsv1.WatchRunsRequest{Workflow: filter.Workflow, Labels: labels}))
}

// steerRuns cancels or replays the selected runs.
func (s *site) steerRuns(w http.ResponseWriter, r *http.Request, v visitor) {
	ids := r.PostForm["run"]
	back := safeNext(r.PostForm.Get("back"))
	if len(ids) == 0 {
		s.done(w, r, v, back, "Select at least one run first.")
		return
	}
	var results []*runsv1.RunResult
	var err error
	word := "cancelled"
	if r.PostForm.Get("do") == "replay" {
		word = "replayed"
		var answer *runsv1.ReplayRunsResponse
		answer, err = s.runs.ReplayRuns(v.call(r), &runsv1.ReplayRunsRequest{RunIds: ids})
		results = answer.GetResults()
	} else {
		var answer *runsv1.CancelRunsResponse
		answer, err = s.runs.CancelRuns(v.call(r), &runsv1.CancelRunsRequest{RunIds: ids})
		results = answer.GetResults()
	}
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	refused := slices.DeleteFunc(results, func(one *runsv1.RunResult) bool { return one.GetError() == nil })
	text := fmt.Sprintf("%d of %d runs %s.", len(ids)-len(refused), len(ids), word)
	if len(refused) > 0 {
		text += " " + refused[0].GetRunId() + ": " + refused[0].GetError().GetMessage()
	}
	s.done(w, r, v, back, text)
}
