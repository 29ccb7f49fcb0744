package frontend

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync/atomic"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tenon-run/tenon/frontend/pages"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

const (
	// attemptsShown and childrenShown bound what a run's page reads beside the run.
	attemptsShown = 1000
	childrenShown = 20
)

// showRun is the page of one run; "task" in the address chooses what its panel shows.
func (s *site) showRun(w http.ResponseWriter, r *http.Request, v visitor) {
	view, err := s.wholeRun(r, v)
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section, v.shell.Title = "runs", view.Run.GetWorkflow()+" "+view.Run.GetId()
	s.render(w, r, http.StatusOK, pages.Run(v.shell, view))
}

// showRunPanel is what the page's panel shows, by itself.
func (s *site) showRunPanel(w http.ResponseWriter, r *http.Request, v visitor) {
	view, err := s.wholeRun(r, v)
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.render(w, r, http.StatusOK, pages.RunPanel(v.shell, view))
}

// wholeRun reads a run with all that its page shows.
func (s *site) wholeRun(r *http.Request, v visitor) (pages.RunView, error) {
	view := pages.RunView{Now: s.now(), Chosen: r.URL.Query().Get("task")}
	id := r.PathValue("run")
	got, err := s.runs.GetRun(v.call(r), &runsv1.GetRunRequest{RunId: id})
	if err != nil {
		return view, err
	}
	view.Run = got.GetRun()
	if view.Attempts, err = s.attempts(r, v, id); err != nil {
		return view, err
	}
	if view.Run.GetChildRuns() > 0 && view.Chosen == "" {
		children, err := s.runs.ListRuns(v.call(r), &runsv1.ListRunsRequest{ParentRunId: id, PageSize: childrenShown})
		if err != nil {
			return view, err
		}
		view.Children = children.GetRuns()
	}
	return view, nil
}

func (s *site) attempts(r *http.Request, v visitor, id string) ([]*runsv1.Attempt, error) {
	list, err := s.runs.ListAttempts(v.call(r), &runsv1.ListAttemptsRequest{RunId: id, PageSize: attemptsShown})
	return list.GetAttempts(), err
}

// followRun sends the run's picture after each change.
func (s *site) followRun(r *http.Request, v visitor, out *stream) error {
	id := r.PathValue("run")
	ctx, cancel := context.WithCancel(v.call(r))
	defer cancel()
	var run *runsv1.Run
	var newest atomic.Pointer[runsv1.Run]
	err := latest(r.Context(), out, func(ctx context.Context) error {
		run = newest.Load()
		attempts, err := s.attempts(r, v, id)
		if err != nil {
			return err
		}
		return out.show(ctx, pages.RunBody(v.shell, pages.RunView{Run: run, Attempts: attempts, Now: s.now()}))
	}, from(v.call(r), s.runs.WatchRun, &runsv1.WatchRunRequest{RunId: id}, func(m *runsv1.WatchRunResponse) bool {
		if m.GetRun() != nil {
			newest.Store(m.GetRun())
		}
		return m.GetRun() != nil
	}))
	if err != nil {
		return err
	}
	return s.awaitReplay(ctx, r, v, run, out)
}

// awaitReplay keeps the stream of a final run open without asking anybody anything, until the run is no longer final; the browser then comes
// back for what follows.
func (s *site) awaitReplay(ctx context.Context, r *http.Request, v visitor, run *runsv1.Run, out *stream) error {
	watch, err := s.runs.WatchRuns(ctx, &runsv1.WatchRunsRequest{Workflow: run.GetWorkflow()})
	if err != nil {
		return err
	}
	defer func() { _ = watch.Close() }()
	for watch.Receive() {
		changed := watch.Msg().GetReset_() || slices.ContainsFunc(watch.Msg().GetRuns(), func(one *runsv1.Run) bool { return one.GetId() == run.GetId() })
		if !changed {
			if err := out.beat(); err != nil {
				return err
			}
			continue
		}
		got, err := s.runs.GetRun(v.call(r), &runsv1.GetRunRequest{RunId: run.GetId()})
		if err != nil || got.GetRun().GetRevision() != run.GetRevision() {
			return err
		}
	}
	return watch.Err()
}

// showRunJSON is the run as the API tells it.
func (s *site) showRunJSON(w http.ResponseWriter, r *http.Request, v visitor) {
	got, err := s.runs.GetRun(v.call(r), &runsv1.GetRunRequest{RunId: r.PathValue("run")})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	text, err := protojson.Marshal(got.GetRun())
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// protojson puts spaces in at random, so that nobody depends on them; people read it better with lines.
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	_ = out.Encode(json.RawMessage(text))
}

func (s *site) askCancel(w http.ResponseWriter, r *http.Request, v visitor) {
	s.askAboutRun(w, r, v, "Cancel a run", pages.CancelRun, nil)
}

func (s *site) askReplay(w http.ResponseWriter, r *http.Request, v visitor) {
	s.askAboutRun(w, r, v, "Replay a run", pages.ReplayRun, nil)
}

// askAboutRun shows a form about a run, with what the API said about the one before.
func (s *site) askAboutRun(w http.ResponseWriter, r *http.Request, v visitor, title string, form func(pages.Shell, pages.RunView, string) pages.Form, refusal error) {
	status, text := http.StatusOK, ""
	if refusal != nil {
		status, text = s.problem(r, refusal)
	}
	got, err := s.runs.GetRun(v.call(r), &runsv1.GetRunRequest{RunId: r.PathValue("run")})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.form(w, r, v, status, title, form(v.shell, pages.RunView{Run: got.GetRun(), Now: s.now()}, text))
}

func (s *site) cancelRun(w http.ResponseWriter, r *http.Request, v visitor) {
	id := r.PathValue("run")
	_, err := s.runs.CancelRun(v.call(r), &runsv1.CancelRunRequest{RunId: id, Reason: r.PostForm.Get("reason")})
	if err != nil {
		s.refuseRun(w, r, v, "Cancel a run", pages.CancelRun, err)
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "runs", id)), "The run is being cancelled.")
}

func (s *site) replayRun(w http.ResponseWriter, r *http.Request, v visitor) {
	id := r.PathValue("run")
	req := &runsv1.ReplayRunRequest{RunId: id}
	switch r.PostForm.Get("what") {
	case "some":
		if req.Tasks = r.PostForm["task"]; len(req.GetTasks()) == 0 {
			s.refuseRun(w, r, v, "Replay a run", pages.ReplayRun, connect.NewError(connect.CodeInvalidArgument, errNoTask))
			return
		}
	case "unsuccessful":
		got, err := s.runs.GetRun(v.call(r), &runsv1.GetRunRequest{RunId: id})
		if err != nil {
			s.fail(w, r, v, err)
			return
		}
		req.Tasks = pages.Unsuccessful(got.GetRun())
	}
	if _, err := s.runs.ReplayRun(v.call(r), req); err != nil {
		s.refuseRun(w, r, v, "Replay a run", pages.ReplayRun, err)
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "runs", id)), "The run runs again.")
}

// refuseRun shows the form again, with what is wrong. Who may not do it at all is told so on a page.
func (s *site) refuseRun(w http.ResponseWriter, r *http.Request, v visitor, title string, form func(pages.Shell, pages.RunView, string) pages.Form, err error) {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeNotFound:
		s.fail(w, r, v, err)
	default:
		s.askAboutRun(w, r, v, title, form, err)
	}
}
