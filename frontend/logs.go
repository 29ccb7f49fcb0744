package frontend

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// followLogs sends the lines of a run's log, or of one task's, as they come, from the first on or after the last that the browser has seen. The
// log of a final run stays open without lines: another generation brings the browser back.
func (s *site) followLogs(r *http.Request, v visitor, out *stream) error {
	ctx, cancel := context.WithCancel(v.call(r))
	defer cancel()
	task := r.URL.Query().Get("task")
	watch, err := s.runs.WatchLogs(ctx, &runsv1.WatchLogsRequest{
		RunId: r.PathValue("run"), Task: task, Text: r.URL.Query().Get("text"), ResumeToken: r.Header.Get("Last-Event-ID"),
	})
	if err != nil {
		return err
	}
	defer func() { _ = watch.Close() }()
	for watch.Receive() {
		lines := watch.Msg().GetLines()
		if len(lines) == 0 {
			if err := out.beat(); err != nil {
				return err
			}
			continue
		}
		if err := out.add(ctx, watch.Msg().GetResumeToken(), pages.LogLines(lines, task == "")); err != nil {
			return err
		}
	}
	if watch.Err() != nil && connect.CodeOf(watch.Err()) != connect.CodeCanceled {
		return watch.Err()
	}
	return out.event("final", "")
}

// showLogs is the log of a run, or of one task, that the page's panel follows.
func (s *site) showLogs(w http.ResponseWriter, r *http.Request, v visitor) {
	s.render(w, r, http.StatusOK, pages.Logs(v.shell, r.PathValue("run"), r.URL.Query().Get("task"), r.URL.Query().Get("text")))
}
