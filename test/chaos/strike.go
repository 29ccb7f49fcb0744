package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-run/tenon/test/history"
	"github.com/tenon-run/tenon/test/load"
)

// Fault is one way to break an install.
type Fault struct {
	Name string
	// inflict strikes, brings the install back to work, and says by its error what was not as promised.
	inflict func(ctx context.Context, in *Install, s *strike) error
}

// Result is what came of a fault.
type Result struct {
	// Running attempts went through the victim in the instant of the strike; Adopted of them went on to their results, Lost had to run again.
	Running, Adopted, Lost int
	// Note tells more.
	Note string
	// Violations are what was not as promised.
	Violations []string
}

// Totals of all faults so far, and of the history once Verdict was asked for. An attempt is lost when its task had to run again.
type Totals struct {
	Faults, Acknowledged, Adopted, LostAttempts, LostRuns int
	Violations                                            []string
}

// String is the line that the long form ends with.
func (t Totals) String() string {
	return fmt.Sprintf("faults=%d acknowledged=%d adopted=%d lost_attempts=%d lost_runs=%d violations=%d",
		t.Faults, t.Acknowledged, t.Adopted, t.LostAttempts, t.LostRuns, len(t.Violations))
}

// strike is the instant of one fault.
type strike struct {
	in      *Install
	at      time.Time
	running int
	open    []string // acknowledged and not final, as far as the client knew
	note    []string
}

func (s *strike) notef(format string, args ...any) {
	s.note = append(s.note, fmt.Sprintf(format, args...))
}

// when waits until enough attempts run through a victim, and does it.
func (s *strike) when(ctx context.Context, through func() int, do func() error) error {
	in := s.in
	in.traffic.use(surgeLanes)
	defer in.traffic.use(calmLanes)
	err := eventually(ctx, fmt.Sprintf("%d attempts to run through the victim", in.cfg.Through), func() (bool, error) {
		if s.running = through(); s.running < in.cfg.Through {
			return false, nil
		}
		s.at = time.Now()
		return true, do()
	})
	s.open = in.traffic.recorder.Open()
	return err
}

// all counts the attempts that run anywhere.
func (in *Install) all() int { return countRunning(in.workers) }

func countRunning(workers []*load.Worker) int {
	n := 0
	for _, w := range workers {
		n += w.Running()
	}
	return n
}

// Inflict runs one fault to its end: every run that was under way has its result, and the install is whole again.
func (in *Install) Inflict(ctx context.Context, f Fault) Result {
	s := &strike{in: in}
	var errs []error
	do := func(what string, step func(context.Context) error) {
		const most = time.Minute
		ctx, cancel := context.WithTimeoutCause(ctx, most, errors.New("it took too long"))
		defer cancel()
		if err := step(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	begun := time.Now()
	lost := 0
	do("the fault", func(ctx context.Context) error { return f.inflict(ctx, in, s) })
	do("the runs", func(ctx context.Context) error { return in.settled(ctx, s) })
	do("the attempts", func(context.Context) (err error) {
		lost, err = in.lost(s)
		return err
	})
	do("afterwards", func(ctx context.Context) error { return errors.Join(in.fullStaff(), in.whole(ctx)) })
	errs = append(errs, in.traffic.failures()...)
	in.given = append(in.given, in.stillOpen(s)...)
	r := Result{Running: s.running, Lost: lost, Adopted: max(0, s.running-lost), Note: strings.Join(s.note, ", ")}
	for _, err := range errs {
		r.Violations = append(r.Violations, f.Name+": "+err.Error())
	}
	in.totals.Faults++
	in.totals.Adopted += r.Adopted
	in.totals.Violations = append(in.totals.Violations, r.Violations...)
	fmt.Fprintf(in.cfg.Out, "chaos: %s: running %d, adopted %d, lost %d, %s%s\n", f.Name, r.Running, r.Adopted, r.Lost, time.Since(begun).Round(time.Millisecond),
		prefixed(", ", r.Note))
	return r
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// settled waits until all that was under way at the strike has its result.
func (in *Install) settled(ctx context.Context, s *strike) error {
	var waiting []string
	err := eventually(ctx, "results", func() (bool, error) {
		waiting = in.stillOpen(s)
		return len(waiting) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d runs that were under way have no result, %v: %w", len(waiting), waiting[:min(3, len(waiting))], err)
	}
	return nil
}

// stillOpen lists what was under way at the strike and has no result, less what was given up after an earlier fault.
func (in *Install) stillOpen(s *strike) []string {
	open := in.traffic.recorder.Open()
	return slices.DeleteFunc(slices.Clone(s.open), func(id string) bool { return !slices.Contains(open, id) || slices.Contains(in.given, id) })
}

// lost counts the runs that had begun before the strike and had to begin again after it, by the workers' own files.
func (in *Install) lost(s *strike) (int, error) {
	evidence, err := in.evidence()
	if err != nil {
		return 0, err
	}
	before, again := make(map[string]bool), make(map[string]bool)
	for _, e := range evidence.Executions {
		if e.At <= s.at.UnixMicro() {
			before[e.Run] = true
		} else {
			again[e.Run] = true
		}
	}
	lost := 0
	for id := range before {
		if again[id] {
			lost++
		}
	}
	return lost, nil
}

// nextStart is how long after the strike the code of a run began that was triggered after it.
func (in *Install) nextStart(ctx context.Context, s *strike) (time.Duration, error) {
	in.traffic.use(freshLanes)
	defer in.traffic.use(calmLanes)
	var first int64
	err := eventually(ctx, "a run triggered after the strike to begin", func() (bool, error) {
		evidence, err := in.evidence()
		if err != nil {
			return false, err
		}
		later := make(map[string]bool)
		for _, id := range in.traffic.recorder.SentAfter(s.at) {
			later[id] = true
		}
		for _, e := range evidence.Executions {
			if later[e.Run] && (first == 0 || e.At < first) {
				first = e.At
			}
		}
		return first != 0, nil
	})
	return time.Duration(first-s.at.UnixMicro()) * time.Microsecond, err
}

// Verdict lets the client finish, and holds everything against everything.
func (in *Install) Verdict(ctx context.Context) (Totals, error) {
	if err := in.traffic.drain(ctx); err != nil {
		in.totals.Violations = append(in.totals.Violations, err.Error())
	}
	for _, err := range in.traffic.failures() {
		in.totals.Violations = append(in.totals.Violations, err.Error())
	}
	evidence, err := in.evidence()
	if err != nil {
		return in.totals, err
	}
	verdict, err := history.Check(ctx, in.client.Runs(), evidence)
	in.totals.Acknowledged, in.totals.LostAttempts, in.totals.LostRuns = in.traffic.recorder.Acknowledgements(), max(0, verdict.Executions-verdict.Acknowledged), verdict.LostRuns
	in.totals.Violations = append(in.totals.Violations, verdict.Violations...)
	if judged := verdict.Acknowledged + verdict.LostRuns; err == nil && judged != in.totals.Acknowledged {
		err = fmt.Errorf("%d of %d acknowledged runs were judged", judged, in.totals.Acknowledged)
	}
	return in.totals, err
}
