package history

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
)

// readers is how many runs are read at a time.
const readers = 8

// Verdict is what Check found. A server that kept its promises has no violations.
type Verdict struct {
	Acknowledged int
	// Executions and LostAttempts are those of the acknowledged runs.
	Executions   int
	LostAttempts int
	// LostRuns are the acknowledged runs that are not there any more, or not completed.
	LostRuns int
	// Violations are sentences that name the run, in no order.
	Violations []string
}

// Evidence is what Check judges.
type Evidence struct {
	Recorder   *Recorder
	Executions []Execution
	// Killed names the workers that were killed: each may have begun one more execution of a run than the server ever heard of.
	Killed []string
	// WatchEvery lets only every so manieth run be watched too, which takes a stream each. Default 1: all.
	WatchEvery int
}

// Check reads every acknowledged run of single-task workflows through the API, when all are expected to be final, and compares. It reports the
// violations in its verdict; the error is for an API that cannot be read.
func Check(ctx context.Context, api runsv1connect.RunServiceClient, evidence Evidence) (Verdict, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &checker{api: api, byRun: make(map[string][]Execution)}
	runs := evidence.Recorder.all()
	for _, e := range evidence.Executions {
		if _, sent := runs[e.Run]; !sent {
			c.violationf("run %s was executed by %s, and nobody triggered it", e.Run, e.Worker)
		}
		c.byRun[e.Run] = append(c.byRun[e.Run], e)
	}
	ids := make(chan string)
	var readersDone sync.WaitGroup
	for range readers {
		readersDone.Go(func() {
			for id := range ids {
				if err := c.run(ctx, id, runs[id], evidence); err != nil {
					cancel(fmt.Errorf("check run %s: %w", id, err))
				}
			}
		})
	}
	for id, run := range runs {
		if run.acknowledged {
			ids <- id
		}
	}
	close(ids)
	readersDone.Wait()
	return c.verdict, context.Cause(ctx)
}

type checker struct {
	api   runsv1connect.RunServiceClient
	byRun map[string][]Execution

	judged  atomic.Int64
	mu      sync.Mutex
	verdict Verdict
}

func (c *checker) violationf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verdict.Violations = append(c.verdict.Violations, fmt.Sprintf(format, args...))
}

// lose is violationf for a run whose promise is broken altogether.
func (c *checker) losef(format string, args ...any) {
	c.violationf(format, args...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verdict.LostRuns++
}

func (c *checker) run(ctx context.Context, id string, told told, evidence Evidence) error {
	answer, err := c.api.GetRun(ctx, &runsv1.GetRunRequest{RunId: id})
	if connect.CodeOf(err) == connect.CodeNotFound {
		c.losef("run %s was acknowledged and is lost", id)
		return nil
	}
	if err != nil {
		return err //nolint:wrapcheck // Check names the run
	}
	run := answer.GetRun()
	if run.GetStatus() != runsv1.RunStatus_RUN_STATUS_COMPLETED || len(run.GetTasks()) != 1 {
		c.losef("run %s is %s with %d tasks, want it completed with 1: %s", id, run.GetStatus(), len(run.GetTasks()), run.GetError().GetMessage())
		return nil
	}
	for _, seen := range append(told.results, run.GetOutputJson()) {
		if seen != told.want {
			c.violationf("run %s has given the result %s, want %s", id, seen, told.want)
		}
	}
	if every := int64(max(1, evidence.WatchEvery)); c.judged.Add(1)%every == 0 {
		if err := c.watch(ctx, run); err != nil {
			return err
		}
	}
	if err := c.attempts(ctx, run); err != nil {
		return err
	}
	c.executions(run, evidence.Killed)
	return nil
}

// watch holds a stream of a final run against the run: one message, then the end.
func (c *checker) watch(ctx context.Context, run *runsv1.Run) error {
	stream, err := c.api.WatchRun(ctx, &runsv1.WatchRunRequest{RunId: run.GetId()})
	if err != nil {
		return err //nolint:wrapcheck // Check names the run
	}
	defer stream.Close() //nolint:errcheck // the stream is read to its end
	seen := 0
	for stream.Receive() {
		if got := stream.Msg().GetRun(); got != nil {
			if seen++; !proto.Equal(got, run) {
				c.violationf("run %s is final and has changed: read as %v, then watched as %v", run.GetId(), run, got)
			}
		}
	}
	if seen != 1 {
		c.violationf("run %s is final and was sent %d times to a watcher", run.GetId(), seen)
	}
	return stream.Err() //nolint:wrapcheck // Check names the run
}

// attempts holds the list of attempts against the task: one has completed, the lost ones are counted.
func (c *checker) attempts(ctx context.Context, run *runsv1.Run) error {
	answer, err := c.api.ListAttempts(ctx, &runsv1.ListAttemptsRequest{RunId: run.GetId()})
	if err != nil {
		return err //nolint:wrapcheck // Check names the run
	}
	count := make(map[runsv1.AttemptOutcome]int)
	for _, a := range answer.GetAttempts() {
		count[a.GetOutcome()]++
	}
	task := run.GetTasks()[0]
	if n := count[runsv1.AttemptOutcome_ATTEMPT_OUTCOME_COMPLETED]; n != 1 {
		c.violationf("run %s has %d completed attempts, want 1", run.GetId(), n)
	}
	if n := count[runsv1.AttemptOutcome_ATTEMPT_OUTCOME_LOST]; n != int(task.GetLostAttempts()) {
		c.violationf("run %s lists %d lost attempts, its task counts %d", run.GetId(), n, task.GetLostAttempts())
	}
	if n := len(answer.GetAttempts()); n != int(task.GetAttempt()+task.GetLostAttempts()) {
		c.violationf("run %s lists %d attempts, its task counts %d and %d lost", run.GetId(), n, task.GetAttempt(), task.GetLostAttempts())
	}
	return nil
}

// executions holds what the workers did against the attempts: at least one execution, and none that no attempt accounts for.
func (c *checker) executions(run *runsv1.Run, killed []string) {
	did, task := c.byRun[run.GetId()], run.GetTasks()[0]
	var unheard []string
	for _, e := range did {
		if slices.Contains(killed, e.Worker) && !slices.Contains(unheard, e.Worker) {
			unheard = append(unheard, e.Worker)
		}
	}
	if most := int(task.GetAttempt()) + max(int(task.GetLostAttempts()), len(unheard)); len(did) < 1 || len(did) > most {
		c.violationf("run %s was executed %d times, want 1 to %d: attempt %d, %d lost", run.GetId(), len(did), most, task.GetAttempt(), task.GetLostAttempts())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verdict.Acknowledged++
	c.verdict.Executions += len(did)
	c.verdict.LostAttempts += int(task.GetLostAttempts())
}
