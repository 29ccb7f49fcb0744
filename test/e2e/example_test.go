package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// A worker with a single slot finishes the whole example: the task that awaits a child for each package of the standard library gives its slot back
// meanwhile. The report equals the one of a program that does the same without Tenon.
func TestOneSlotFinishesTheExample(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+string(filepath.Separator), "./stdindex/worker", "./stdindex/direct")
	build.Dir = "../../examples/go"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
	server := apptest.Start(t)
	_, token := server.Token(t, server.Owner, "", time.Hour)
	var log bytes.Buffer
	worker := exec.Command(filepath.Join(bin, "worker"), "-slots", "1", "-quiet") //nolint:gosec,noctx // just built; interrupted below
	worker.Env = append(os.Environ(), "TENON_CLIENT_ADDRESS="+server.Address, "TENON_CLIENT_TOKEN="+token)
	worker.Stderr = &log
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = worker.Process.Signal(os.Interrupt)
		if err := worker.Wait(); err != nil {
			t.Errorf("the worker ended with %v\n%s", err, log.String())
		}
	})
	runs := client(t, server, authz.RoleDeveloper).Runs()
	id := untilKnown(t, func() (string, error) {
		made, err := runs.Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "stdlib-index", InputJson: "{}"}})
		return made.GetRunId(), err
	})
	stream, err := runs.AwaitRuns(t.Context(), &runsv1.AwaitRunsRequest{RunIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
		continue // a beat, or the run's end, after which the stream ends
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	answer, err := runs.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: id})
	if err != nil {
		t.Fatal(err)
	}
	run := answer.GetRun()
	direct, err := exec.CommandContext(t.Context(), filepath.Join(bin, "direct"), "-report").Output() //nolint:gosec // just built
	if err != nil {
		t.Fatal(err)
	}
	got, want := report(t, []byte(run.GetOutputJson())), report(t, direct)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the workflow's report differs from the direct one\n--- got\n%.2000s\n--- want\n%.2000s", run.GetOutputJson(), direct)
	}
	packages, ok := want["packages"].(json.Number)
	if least := 200; !ok || run.GetStatus() != runsv1.RunStatus_RUN_STATUS_COMPLETED || int(run.GetChildRuns()) < least || packages.String() == "0" {
		t.Errorf("run %s is %s with %d child runs, and the direct report has %v packages", id, run.GetStatus(), run.GetChildRuns(), packages)
	}
}

// report reads JSON without losing a digit.
func report(t *testing.T, text []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var out map[string]any
	if err := decoder.Decode(&out); err != nil {
		t.Fatalf("read a report: %v: %.200s", err, text)
	}
	return out
}
