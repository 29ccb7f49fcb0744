package history_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	"github.com/tenon-run/tenon/test/history"
)

// server answers with what a case says about its one run.
type server struct {
	runsv1connect.UnimplementedRunServiceHandler

	run      *runsv1.Run // nil: lost
	watched  *runsv1.Run
	attempts []*runsv1.Attempt
}

func (s *server) GetRun(context.Context, *runsv1.GetRunRequest) (*runsv1.GetRunResponse, error) {
	if s.run == nil {
		return nil, connect.NewError(connect.CodeNotFound, nil)
	}
	return &runsv1.GetRunResponse{Run: s.run}, nil
}

func (s *server) WatchRun(_ context.Context, _ *runsv1.WatchRunRequest, stream *connect.ServerStream[runsv1.WatchRunResponse]) error {
	return stream.Send(&runsv1.WatchRunResponse{Run: s.watched})
}

func (s *server) ListAttempts(context.Context, *runsv1.ListAttemptsRequest) (*runsv1.ListAttemptsResponse, error) {
	return &runsv1.ListAttemptsResponse{Attempts: s.attempts}, nil
}

func completed(output string, lost int32) *runsv1.Run {
	return &runsv1.Run{
		Id: "r", InputJson: "0", Status: runsv1.RunStatus_RUN_STATUS_COMPLETED, OutputJson: output,
		Tasks: []*runsv1.Task{{Name: "t", Status: runsv1.TaskStatus_TASK_STATUS_COMPLETED, Attempt: 1, LostAttempts: lost}},
	}
}

func attempts(outcomes ...runsv1.AttemptOutcome) []*runsv1.Attempt {
	var out []*runsv1.Attempt
	for _, o := range outcomes {
		out = append(out, &runsv1.Attempt{Outcome: o})
	}
	return out
}

// A sound history has no violation, and each way of breaking a promise has one.
func TestCheck(t *testing.T) {
	t.Parallel()
	const done, lost = runsv1.AttemptOutcome_ATTEMPT_OUTCOME_COMPLETED, runsv1.AttemptOutcome_ATTEMPT_OUTCOME_LOST
	sound := server{run: completed("1", 0), watched: completed("1", 0), attempts: attempts(done)}
	once := []history.Execution{{Run: "r", Worker: "a"}}
	for name, test := range map[string]struct {
		change     func(*server)
		executions []history.Execution
		seen       string
		want       string // part of the violation; empty: none
	}{
		"sound": {executions: once, seen: "1"},
		"lost with its worker, then again": {change: func(s *server) {
			*s = server{run: completed("1", 1), watched: completed("1", 1), attempts: attempts(lost, done)}
		}, executions: append(once, once...)},
		"on a killed worker, unheard":     {executions: append([]history.Execution{{Run: "r", Worker: "dead"}}, once...)},
		"a lost run":                      {change: func(s *server) { s.run = nil }, executions: once, want: "is lost"},
		"a failed run":                    {change: func(s *server) { s.run.Status = runsv1.RunStatus_RUN_STATUS_FAILED }, executions: once, want: "FAILED"},
		"another result":                  {change: func(s *server) { s.run, s.watched = completed("2", 0), completed("2", 0) }, executions: once, want: "the result 2"},
		"another result, seen before":     {executions: once, seen: "3", want: "the result 3"},
		"a result that changes":           {change: func(s *server) { s.watched = completed("2", 0) }, executions: once, want: "has changed"},
		"another input":                   {change: func(s *server) { s.run.InputJson, s.watched = "9", nil }, executions: once, want: "has the input 9"},
		"two completed attempts":          {change: func(s *server) { s.attempts = attempts(done, done) }, executions: once, want: "2 completed attempts"},
		"a lost attempt that is not told": {change: func(s *server) { s.attempts = attempts(lost, done) }, executions: once, want: "1 lost attempts"},
		"never executed":                  {want: "executed 0 times"},
		"executed twice":                  {executions: append(once, once...), want: "executed 2 times"},
		"executed for nobody":             {executions: append([]history.Execution{{Run: "x", Worker: "a"}}, once...), want: "nobody triggered it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &server{run: completed("1", 0), watched: sound.watched, attempts: sound.attempts}
			if test.change != nil {
				test.change(fake)
			}
			_, handler := runsv1connect.NewRunServiceHandler(fake)
			httpServer := httptest.NewServer(handler)
			defer httpServer.Close()
			recorder := history.NewRecorder()
			recorder.Sent("r", "0", "1")
			recorder.Sent("never acknowledged", "0", "1")
			acknowledge(t, recorder, "r")
			if test.seen != "" {
				recorder.Result("r", test.seen)
			}
			verdict, err := history.Check(t.Context(), runsv1connect.NewRunServiceClient(http.DefaultClient, httpServer.URL),
				history.Evidence{Recorder: recorder, Executions: test.executions, Killed: []string{"dead"}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(verdict.Violations, "\n")
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("the violations are %q, want %q", got, test.want)
			}
		})
	}
}

func acknowledge(t *testing.T, recorder *history.Recorder, id string) {
	t.Helper()
	if err := recorder.Acknowledged(id); err != nil {
		t.Fatal(err)
	}
}

// What was acknowledged stands in the file, with its input, and open is what has no result yet.
func TestRecorderWritesDown(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "acknowledged")
	recorder, err := history.OpenRecorder(path)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute)
	for _, id := range []string{"a", "b", "c"} {
		recorder.Sent(id, "{}", "1")
	}
	if err := recorder.Acknowledged("a", "b"); err != nil {
		t.Fatal(err)
	}
	recorder.Result("a", "1")
	if open := recorder.Open(); len(open) != 1 || open[0] != "b" {
		t.Errorf("open are %v, want b", open)
	}
	if sent := recorder.SentAfter(before); len(sent) != 3 {
		t.Errorf("sent in the last minute are %v, want three", sent)
	}
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if want := `{"input":"{}","run":"a"}` + "\n" + `{"input":"{}","run":"b"}` + "\n"; err != nil || string(text) != want {
		t.Errorf("the file holds %q, %v; want %q", text, err, want)
	}
}

// An API that cannot be read is no verdict.
func TestCheckFailsWithoutAnAPI(t *testing.T) {
	t.Parallel()
	recorder := history.NewRecorder()
	recorder.Sent("r", "0", "1")
	acknowledge(t, recorder, "r")
	_, err := history.Check(t.Context(), runsv1connect.NewRunServiceClient(http.DefaultClient, "http://127.0.0.1:1"), history.Evidence{Recorder: recorder})
	if err == nil || !strings.Contains(err.Error(), "check run r") {
		t.Errorf("got %v", err)
	}
}

func TestExecutionsComeBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	want := history.Execution{Run: "r", Worker: "a", Generation: 1, Attempt: 2}
	for range 2 { // a worker that starts again goes on with its file
		log, err := history.OpenLog(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Append(want); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := history.ReadExecutions(path, path+" of a worker that ran nothing")
	if err != nil || len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("got %v, %v", got, err)
	}
}
