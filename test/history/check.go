package history

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
)

// readers is how many runs are read at a time, bulk is how many a reader takes on, and reads in one call where it may.
const readers, bulk = 8, 200

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
	// DetailEvery lets only one run of so many be read in every way there is: by itself, watched, with its attempts. The others are read in bulk, unless
	// they were executed more than once. Default 1: all.
	DetailEvery int
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
	var ids []string
	for id, run := range runs {
		if run.acknowledged {
			ids = append(ids, id)
		}
	}
	parts := make(chan []string)
	var readersDone sync.WaitGroup
	for range readers {
		readersDone.Go(func() {
			for part := range parts {
				if err := c.part(ctx, part, runs, evidence); err != nil {
					cancel(err)
				}
			}
		})
	}
	for part := range slices.Chunk(ids, bulk) {
		parts <- part
	}
	close(parts)
	readersDone.Wait()
	return c.verdict, context.Cause(ctx)
}

// part judges some runs.
func (c *checker) part(ctx context.Context, ids []string, runs map[string]told, evidence Evidence) error {
	every := max(1, evidence.DetailEvery)
	var known map[string]*runsv1.Run
	if every > 1 {
		known = c.read(ctx, ids)
	}
	for i, id := range ids {
		run := known[id]
		detail := run == nil || i%every == 0 || len(c.byRun[id]) != 1
		if detail {
			answer, err := c.api.GetRun(ctx, &runsv1.GetRunRequest{RunId: id})
			if connect.CodeOf(err) == connect.CodeNotFound {
				c.losef("run %s was acknowledged and is lost", id)
				continue
			}
			if err != nil {
				return fmt.Errorf("check run %s: %w", id, err)
			}
			if run != nil {
				run.InputJson = answer.GetRun().GetInputJson() // is not sent to those who wait
				if !proto.Equal(run, answer.GetRun()) {
					c.violationf("run %s is final and has changed: awaited as %v, then read as %v", id, run, answer.GetRun())
				}
			}
			run = answer.GetRun()
			if sent := runs[id].input; run.GetInputJson() != sent {
				c.violationf("run %s has the input %s, %s was sent", id, run.GetInputJson(), sent)
			}
		}
		if err := c.run(ctx, run, runs[id], evidence.Killed, detail); err != nil {
			return fmt.Errorf("check run %s: %w", id, err)
		}
	}
	return nil
}

// read has final runs from one stream. Those that it does not get, it leaves out: they are asked for by themselves.
func (c *checker) read(ctx context.Context, ids []string) map[string]*runsv1.Run {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	known := make(map[string]*runsv1.Run, len(ids))
	stream, err := c.api.AwaitRuns(ctx, &runsv1.AwaitRunsRequest{RunIds: ids})
	if err != nil {
		return nil
	}
	defer stream.Close() //nolint:errcheck // the stream is read as far as it goes
	for len(known) < len(ids) && stream.Receive() {
		for _, run := range stream.Msg().GetRuns() {
			known[run.GetId()] = run
		}
	}
	return known
}

type checker struct {
	api   runsv1connect.RunServiceClient
	byRun map[string][]Execution

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

func (c *checker) run(ctx context.Context, run *runsv1.Run, told told, killed []string, detail bool) error {
	id := run.GetId()
	if run.GetStatus() != runsv1.RunStatus_RUN_STATUS_COMPLETED || len(run.GetTasks()) != 1 {
		c.losef("run %s is %s with %d tasks, want it completed with 1: %s", id, run.GetStatus(), len(run.GetTasks()), run.GetError().GetMessage())
		return nil
	}
	for _, seen := range append(told.results, run.GetOutputJson()) {
		if seen != told.want {
			c.violationf("run %s has given the result %s, want %s", id, seen, told.want)
		}
	}
	c.executions(run, killed)
	if !detail {
		return nil
	}
	if err := c.watch(ctx, run); err != nil {
		return err
	}
	return c.attempts(ctx, run)
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
