package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/internal/testkit"
)

// explained asks for the plan of every query instead of its rows.
type explained struct {
	conn *pgx.Conn
	plan string
}

func (e *explained) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) { panic("unused") }

func (e *explained) QueryRow(context.Context, string, ...any) pgx.Row { panic("unused") }

func (e *explained) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := e.conn.Query(ctx, "EXPLAIN "+sql, args...)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	e.plan = strings.Join(lines, "\n")
	return nil, fmt.Errorf("explained: %w", err)
}

// Look-ups by keys use the whole key, although the planner believes the tables to be empty: it did so when these plans were made, and a batch then
// read all of the tenant's rows.
func TestLookUpsUseTheWholeKey(t *testing.T) {
	t.Parallel()
	url := testkit.DatabaseURL(t)
	for _, pinned := range []bool{true, false} {
		pool, err := pg.Open(t.Context(), pg.Config{URL: url, PinPlans: pinned})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		for _, analysed := range []bool{false, true} {
			if analysed {
				if _, err := pool.Exec(t.Context(), "ANALYZE"); err != nil {
					t.Fatal(err)
				}
			}
			ids := []flow.ID{flow.ID(uuid.Must(uuid.NewV7()))}
			for name, c := range map[string]struct {
				run  func(q *schedulerq.Queries) error
				cond string
			}{
				"LiveRuns": {func(q *schedulerq.Queries) error {
					_, err := q.LiveRuns(t.Context(), schedulerq.LiveRunsParams{TenantID: 1, RunIds: ids})
					return err
				}, "(run_id = k.run_id)"},
				"FinishedRuns": {func(q *schedulerq.Queries) error {
					_, err := q.FinishedRuns(t.Context(), schedulerq.FinishedRunsParams{TenantID: 1, RunIds: ids})
					return err
				}, "(run_id = k.run_id)"},
				"RunVersions": {func(q *schedulerq.Queries) error {
					_, err := q.RunVersions(t.Context(), schedulerq.RunVersionsParams{TenantID: 1, RunIds: ids})
					return err
				}, "(run_id = k.run_id)"},
			} {
				conn, err := pool.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				e := &explained{conn: conn.Conn()}
				_ = c.run(schedulerq.New(e)) // the plan is all that is wanted
				conn.Release()
				checkPlan(t, fmt.Sprintf("%s (pinned %v, analysed %v)", name, pinned, analysed), e.plan, c.cond)
			}
		}
	}
}

// checkPlan wants each scan of a table to be by its primary key up to the run's id.
func checkPlan(t *testing.T, name, plan, cond string) {
	t.Helper()
	scans := 0
	for line := range strings.SplitSeq(plan, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "Seq Scan on"), strings.Contains(line, "_workflow_id_"), strings.Contains(line, "live_lane"):
			t.Errorf("%s scans otherwise than by its key: %s\n%s", name, line, plan)
			return
		case strings.Contains(line, "Index Scan"), strings.Contains(line, "Index Only Scan"):
			scans++
		case strings.HasPrefix(line, "Index Cond:"):
			if !strings.Contains(line, cond) && !strings.Contains(line, "run_id = ") {
				t.Errorf("%s looks up without the run's id: %s\n%s", name, line, plan)
				return
			}
		}
	}
	if scans == 0 {
		t.Errorf("%s has no look-up:\n%s", name, plan)
	}
}
