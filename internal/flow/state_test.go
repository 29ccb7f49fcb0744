package flow_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenon-run/tenon/internal/flow"
)

func TestMovesNameKnownStates(t *testing.T) {
	t.Parallel()
	seen := map[[2]flow.State]bool{}
	for _, m := range flow.TaskMoves() {
		if !slices.Contains(flow.TaskStates(), m.From) || !slices.Contains(flow.TaskStates(), m.To) || m.Why == "" || m.From == m.To {
			t.Errorf("move %+v", m)
		}
		pair := [2]flow.State{m.From, m.To}
		if seen[pair] {
			t.Errorf("%s to %s stands twice in the table", m.From, m.To)
		}
		seen[pair] = true
	}
	for _, from := range flow.TaskStates() {
		for _, to := range flow.TaskStates() {
			if flow.MayMove(from, to) != seen[[2]flow.State{from, to}] {
				t.Errorf("MayMove(%s, %s) does not say what the table says", from, to)
			}
		}
	}
}

// Only a replay leaves a final state, and it leaves all of them.
func TestFinalStates(t *testing.T) {
	t.Parallel()
	for _, m := range flow.TaskMoves() {
		if replay := strings.HasPrefix(m.Why, "replay"); m.From.Final() != replay || replay && m.To != flow.Queued && m.To != flow.Blocked {
			t.Errorf("move %+v", m)
		}
	}
	for _, s := range flow.TaskStates() {
		if s.Final() && (!flow.MayMove(s, flow.Queued) || !flow.MayMove(s, flow.Blocked)) {
			t.Errorf("a replay cannot take a task out of %s", s)
		}
		if s.Final() && s.InFlight() {
			t.Errorf("%s is final and in flight", s)
		}
	}
}

// From every state there is a way to an end, and every state can be reached from the two that a task begins in.
func TestStatesAreConnected(t *testing.T) {
	t.Parallel()
	reach := func(from flow.State, through func(flow.State) bool) map[flow.State]bool {
		seen := map[flow.State]bool{from: true}
		open := []flow.State{from}
		for len(open) > 0 {
			s := open[0]
			open = open[1:]
			for _, m := range flow.TaskMoves() {
				if m.From == s && through(s) && !seen[m.To] {
					seen[m.To] = true
					open = append(open, m.To)
				}
			}
		}
		return seen
	}
	forward := func(s flow.State) bool { return !s.Final() }
	all := reach(flow.Blocked, forward)
	for _, s := range flow.TaskStates() {
		if !all[s] {
			t.Errorf("%s cannot be reached from %s", s, flow.Blocked)
		}
		ends := 0
		for to := range reach(s, forward) {
			if to.Final() {
				ends++
			}
		}
		if ends == 0 {
			t.Errorf("%s never ends", s)
		}
	}
	if fromQueued := reach(flow.Queued, forward); fromQueued[flow.Blocked] || fromQueued[flow.Skipped] {
		t.Error("a task that was ready is blocked or skipped without a replay")
	}
}

// A task that a worker may hold stops before it is cancelled or timed out: its slot is not free earlier.
func TestInFlightStopsFirst(t *testing.T) {
	t.Parallel()
	for _, s := range []flow.State{flow.Assigned, flow.Running, flow.Waiting} {
		if !s.InFlight() || flow.MayMove(s, flow.Cancelled) || flow.MayMove(s, flow.TimedOut) || !flow.MayMove(s, flow.Stopping) {
			t.Errorf("%s can end without stopping", s)
		}
	}
	for _, s := range []flow.State{flow.Blocked, flow.Queued, flow.BackingOff} {
		if s.InFlight() {
			t.Errorf("%s is in flight", s)
		}
	}
}

func TestRunOutcome(t *testing.T) {
	t.Parallel()
	order := []flow.State{flow.Completed, flow.Cancelled, flow.TimedOut, flow.Failed} // a later one beats those before it
	rapid.Check(t, func(t *rapid.T) {
		states := rapid.SliceOf(rapid.SampledFrom(append(order, flow.Skipped))).Draw(t, "states")
		want := 0
		for _, s := range states {
			want = max(want, slices.Index(order, s))
		}
		if got := flow.RunOutcome(states); got != order[want] {
			t.Fatalf("RunOutcome(%v) = %s, want %s", states, got, order[want])
		}
	})
	for _, s := range order {
		if !slices.Contains(flow.RunStates(), s) {
			t.Errorf("a run cannot be %s", s)
		}
	}
}

// The schema repeats the states: live rows may be in any, finished runs and tasks in the final ones that the vocabulary gives them.
func TestSchemaKnowsTheStates(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../db/migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	var sql []byte
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // our own migrations
		if err != nil {
			t.Fatal(err)
		}
		sql = append(sql, text...)
	}
	final := func(states []flow.State) []flow.State {
		return slices.DeleteFunc(slices.Clone(states), func(s flow.State) bool { return !s.Final() })
	}
	for table, want := range map[string][]flow.State{
		"live": flow.TaskStates(), "history_runs": final(flow.RunStates()), "history_tasks": final(flow.TaskStates()),
	} {
		check := regexp.MustCompile(`(?s)CREATE TABLE ` + table + ` \(.*?\bstate\s+text NOT NULL CHECK \(state IN \(([^)]*)\)\)`).FindSubmatch(sql)
		if check == nil {
			t.Errorf("table %s has no CHECK of its state", table)
			continue
		}
		var got []flow.State
		for quoted := range strings.SplitSeq(string(check[1]), ", ") {
			got = append(got, flow.State(strings.Trim(quoted, "'")))
		}
		if !slices.Equal(got, want) {
			t.Errorf("table %s takes the states %v, the vocabulary has %v", table, got, want)
		}
	}
}
