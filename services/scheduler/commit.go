package scheduler

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// batch is what several steps of several shards want: written in one transaction, and let out together after it.
type batch struct {
	parts   []*part
	rows    int
	newRuns map[int64]int // that it took in, by tenant
}

// part is one shard's share of a batch, in step order.
type part struct {
	shard   *shard
	seq     int64
	changes []engine.Change
	effects []engine.Effect
	asks    []engine.Ask
}

func (b *batch) add(s *shard, out engine.Output) {
	var p *part
	if i := slices.IndexFunc(b.parts, func(p *part) bool { return p.shard == s }); i >= 0 {
		p = b.parts[i]
	} else {
		p = &part{shard: s}
		b.parts = append(b.parts, p)
	}
	p.seq = out.Seq
	p.changes = append(p.changes, out.Changes...)
	p.effects = append(p.effects, out.Effects...)
	p.asks = append(p.asks, out.Asks...)
	b.rows += len(out.Changes)
}

func (b *batch) has(s *shard) bool {
	return slices.ContainsFunc(b.parts, func(p *part) bool { return p.shard == s })
}

// without is the batch less the parts of shards that are gone.
func (b *batch) without(gone func(*shard) bool) *batch {
	out := &batch{}
	for _, p := range b.parts {
		if !gone(p.shard) {
			out.parts = append(out.parts, p)
			out.rows += len(p.changes)
		}
	}
	return out
}

// capture is a sqlc database that only notes statements, so that a whole commit leaves in one pipeline with one Sync.
type capture struct{ batch pgx.Batch }

func (c *capture) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	c.batch.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

func (c *capture) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return nil, fmt.Errorf("a commit only writes")
}

func (c *capture) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	c.batch.Queue(sql, args...)
	return noRow{}
}

type noRow struct{}

func (noRow) Scan(...any) error { return nil }

// errRowCount means that a statement did not find the rows that memory says are there.
type rowCountError struct {
	statement string
	got, want int64
}

func (e *rowCountError) Error() string {
	return fmt.Sprintf("%s touched %d rows, memory says %d", e.statement, e.got, e.want)
}

// write commits a batch. Locks and epochs come first, then the changes in segments: a row that is finished and begun anew in one batch
// needs its statements in that order.
func write(ctx context.Context, pool *pgxpool.Pool, b *batch) error {
	if b.rows == 0 {
		return nil
	}
	c := &capture{}
	q := schedulerq.New(c)
	parts := slices.SortedFunc(slices.Values(b.parts), func(x, y *part) int { return cmp.Compare(x.shard.id, y.shard.id) })
	var shards []int32
	var epochs []int64
	for _, p := range parts {
		shards = append(shards, p.shard.id)
		epochs = append(epochs, p.shard.epoch)
	}
	if err := q.LockShards(ctx, shards); err != nil {
		return err
	}
	if err := q.CheckEpochs(ctx, schedulerq.CheckEpochsParams{Shards: shards, Epochs: epochs}); err != nil {
		return err
	}
	wants := []expectation{{}, {}}
	for _, seg := range segments(parts) {
		more, err := seg.queue(ctx, q)
		if err != nil {
			return err
		}
		wants = append(wants, more...)
	}
	return send(ctx, pool, c, wants)
}

// expectation is how many rows a statement must touch; name is empty where it does not matter.
type expectation struct {
	name  string
	rows  int64
	count bool // the statement answers with the number
}

func send(ctx context.Context, pool *pgxpool.Pool, c *capture, wants []expectation) (err error) {
	results := pool.SendBatch(ctx, &c.batch)
	defer func() {
		if closeErr := results.Close(); err == nil {
			err = closeErr
		}
	}()
	var mismatch error
	for _, want := range wants {
		var got int64
		if want.count {
			if err := results.QueryRow().Scan(&got); err != nil {
				return err
			}
		} else {
			tag, err := results.Exec()
			if err != nil {
				return err
			}
			got = tag.RowsAffected()
		}
		if want.name != "" && got != want.rows && mismatch == nil {
			mismatch = &rowCountError{want.name, got, want.rows}
		}
	}
	if mismatch == nil {
		return nil
	}
	return mismatch
}

type rowKey struct {
	engine.RunKey
	no int16
}

// segment is a stretch of changes in which each row is inserted, updated and finished at most once, in that order.
type segment struct {
	inserts  []*engine.Row
	updates  []*engine.Row
	finishes []*engine.Row
	attempts []*engine.AddAttempt
	opened   []*engine.PutSession
	ended    []*engine.EndSession
	inserted map[rowKey]int
	updated  map[rowKey]int
	finished map[engine.RunKey]bool
}

func newSegment() *segment {
	return &segment{inserted: make(map[rowKey]int), updated: make(map[rowKey]int), finished: make(map[engine.RunKey]bool)}
}

func segments(parts []*part) []*segment {
	at := newSegment()
	out := []*segment{at}
	for _, p := range parts {
		for _, change := range p.changes {
			if in, ok := change.(*engine.InsertRun); ok && at.finished[in.Rows[0].RunKey] {
				at = newSegment()
				out = append(out, at)
			}
			at.add(change)
		}
	}
	return out
}

func (s *segment) add(change engine.Change) {
	switch c := change.(type) {
	case *engine.InsertRun:
		for i := range c.Rows {
			r := &c.Rows[i]
			s.inserted[rowKey{r.RunKey, r.TaskNo}] = len(s.inserts)
			s.inserts = append(s.inserts, r)
		}
	case *engine.UpdateRow:
		key := rowKey{c.Row.RunKey, c.Row.TaskNo}
		if i, ok := s.inserted[key]; ok {
			s.inserts[i] = &c.Row
		} else if i, ok := s.updated[key]; ok {
			s.updates[i] = &c.Row
		} else {
			s.updated[key] = len(s.updates)
			s.updates = append(s.updates, &c.Row)
		}
	case *engine.FinishRun:
		s.finished[c.Rows[0].RunKey] = true
		for i := range c.Rows {
			s.finishes = append(s.finishes, &c.Rows[i])
		}
	case *engine.AddAttempt:
		s.attempts = append(s.attempts, c)
	case *engine.PutSession:
		s.opened = append(s.opened, c)
	case *engine.EndSession:
		s.ended = append(s.ended, c)
	}
}

func byRow(a, b *engine.Row) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.TaskNo, b.TaskNo))
}

func (s *segment) queue(ctx context.Context, q *schedulerq.Queries) ([]expectation, error) {
	var wants []expectation
	expect := func(name string, rows int, count bool) {
		wants = append(wants, expectation{name, int64(rows), count})
	}
	slices.SortFunc(s.inserts, byRow)
	slices.SortFunc(s.updates, byRow)
	slices.SortFunc(s.finishes, byRow)
	if err := s.queueInserts(ctx, q, expect); err != nil {
		return nil, err
	}
	if len(s.updates) > 0 {
		if _, err := q.UpdateLive(ctx, updateParams(s.updates)); err != nil {
			return nil, err
		}
		expect("UpdateLive", len(s.updates), true)
	}
	if len(s.finishes) > 0 {
		if _, err := q.FinishRuns(ctx, finishParams(s.finishes)); err != nil {
			return nil, err
		}
		expect("FinishRuns", len(s.finishes), true)
		if err := q.CountRuns(ctx, countParams(s.finishes)); err != nil {
			return nil, err
		}
		expect("", 0, false)
	}
	more, err := s.queueRest(ctx, q)
	return append(wants, more...), err
}

func (s *segment) queueInserts(ctx context.Context, q *schedulerq.Queries, expect func(name string, rows int, count bool)) error {
	queued, others := split(s.inserts, justQueued)
	if len(queued) > 0 {
		if _, err := q.InsertQueued(ctx, queuedParams(queued)); err != nil {
			return err
		}
		expect("InsertQueued", len(queued), false)
	}
	if len(others) == 0 {
		return nil
	}
	if _, err := q.InsertLive(ctx, insertParams(others)); err != nil {
		return err
	}
	expect("InsertLive", len(others), false)
	if labels := labelsParams(others); len(labels.RunIds) > 0 {
		if err := q.InsertRunLabels(ctx, labels); err != nil {
			return err
		}
		expect("", 0, false)
	}
	if children := childParams(others); len(children.RunIds) > 0 {
		if err := q.InsertChildRuns(ctx, children); err != nil {
			return err
		}
		expect("", 0, false)
	}
	return nil
}

// split parts rows in two, each in the order they had.
func split(rows []*engine.Row, first func(*engine.Row) bool) (these, others []*engine.Row) {
	for _, r := range rows {
		if first(r) {
			these = append(these, r)
		} else {
			others = append(others, r)
		}
	}
	return these, others
}

// justQueued tells whether a new row is what InsertQueued writes.
func justQueued(r *engine.Row) bool {
	return r.Single && r.State == flow.Queued && r.Generation == 1 && r.Attempt == 1 && r.Lost == 0 && r.QueuedAt == r.CreatedAt && r.StartedAt == 0 &&
		r.EndedAt == 0 && r.AssignmentID.IsZero() && r.WorkerID.IsZero() && r.Session == 0 && r.StopReason == engine.NotStopping && r.ParentRun.IsZero() &&
		r.ParentTask == 0 && r.ParentGeneration == 0 && r.ChildKey == "" && r.ChildRuns == 0 && r.Output.None() && r.Error == nil && r.Labels == nil && r.Revision == 1
}

func (s *segment) queueRest(ctx context.Context, q *schedulerq.Queries) ([]expectation, error) {
	var wants []expectation
	if len(s.attempts) > 0 {
		if err := q.InsertAttempts(ctx, attemptParams(s.attempts)); err != nil {
			return nil, err
		}
		wants = append(wants, expectation{})
	}
	if len(s.opened) > 0 {
		var p schedulerq.PutSessionsParams
		seen := make(map[sessionKey]int)
		for _, o := range s.opened {
			key := sessionKey{o.Tenant, o.Worker, o.Session}
			if i, ok := seen[key]; ok {
				p.Dispatchers[i], p.OpenedAts[i] = o.Dispatcher, o.OpenedAt
				continue
			}
			seen[key] = len(p.TenantIds)
			p.TenantIds, p.WorkerIds, p.Sessions = append(p.TenantIds, o.Tenant), append(p.WorkerIds, o.Worker), append(p.Sessions, o.Session)
			p.Dispatchers, p.OpenedAts = append(p.Dispatchers, o.Dispatcher), append(p.OpenedAts, o.OpenedAt)
		}
		if err := q.PutSessions(ctx, p); err != nil {
			return nil, err
		}
		wants = append(wants, expectation{})
	}
	if len(s.ended) > 0 {
		var p schedulerq.EndSessionsParams
		for _, e := range s.ended {
			p.TenantIds, p.WorkerIds = append(p.TenantIds, e.Tenant), append(p.WorkerIds, e.Worker)
			p.Sessions, p.ClosedAts = append(p.Sessions, e.Session), append(p.ClosedAts, e.ClosedAt)
		}
		if err := q.EndSessions(ctx, p); err != nil {
			return nil, err
		}
		wants = append(wants, expectation{})
	}
	return wants, nil
}

type sessionKey struct {
	tenant  int64
	worker  flow.ID
	session int64
}

// errorJSON is how an error stands in its column.
type errorJSON struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Stack   string `json:"stack,omitempty"`
}

func encodeError(e *engine.TaskError) []byte {
	if e == nil {
		return nil
	}
	out, _ := json.Marshal(errorJSON{e.Kind, e.Message, e.Stack}) // strings always encode
	return out
}

func decodeError(b []byte) *engine.TaskError {
	if b == nil {
		return nil
	}
	var e errorJSON
	if json.Unmarshal(b, &e) != nil {
		return &engine.TaskError{Kind: flow.KindError, Message: string(b)}
	}
	return &engine.TaskError{Kind: e.Kind, Message: e.Message, Stack: e.Stack}
}
