package scheduler

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenon-run/tenon/internal/testkit"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// scripted gives what the test has put in next, and notes up to where its steps are known to be stored.
type scripted struct {
	next   engine.Output
	seq    int64
	stored []int64
}

func (*scripted) LoadTenant(time.Time, int64) engine.Output { return engine.Output{} }
func (*scripted) HandOver(time.Time) engine.Output          { return engine.Output{} }
func (*scripted) Settled() bool                             { return true }

func (c *scripted) Step(_ time.Time, in []engine.Input) engine.Output {
	for _, i := range in {
		if known, ok := i.(*engine.Committed); ok {
			c.stored = append(c.stored, known.Seq)
			return engine.Output{Seq: c.seq}
		}
	}
	c.seq++
	out := c.next
	out.Seq, c.next = c.seq, engine.Output{}
	return out
}

// pipe is an owner of two shards whose commits the test ends.
type pipe struct {
	*owner

	t      *testing.T
	out    *commits
	shards [2]*shard
	cores  [2]*scripted
}

func newPipe(t *testing.T) *pipe {
	t.Helper()
	p := &pipe{t: t, out: &commits{}}
	p.owner = newOwner(Config{Bus: testkit.Bus(t), Log: testkit.Logger(t)}.WithDefaults(), make(chan struct{}))
	p.out.outside, p.outside = p.outside, p.out
	for i := range p.shards {
		p.cores[i] = &scripted{}
		p.shards[i] = &shard{id: int32(i), core: p.cores[i], sub: stopped{}} //nolint:gosec // two
		p.owner.shards[int32(i)] = p.shards[i]                               //nolint:gosec // two
	}
	return p
}

type stopped struct{}

func (stopped) Stop() {}

// step lets a shard want rows written that build on a step.
func (p *pipe) step(shard int, after int64, changes ...engine.Change) {
	p.cores[shard].next = engine.Output{Changes: changes, After: after}
	p.owner.step(p.shards[shard], nil)
	p.startCommit(p.t.Context())
}

func (p *pipe) end(i int, err error) {
	p.afterCommit(p.t.Context(), committed{p.out.begun[i], err})
	p.startCommit(p.t.Context())
}

func (p *pipe) want(begun int, stored ...int64) {
	p.t.Helper()
	if len(p.out.begun) != begun || !slices.Equal(p.cores[0].stored, stored) {
		p.t.Fatalf("%d commits have begun and steps %v are known to be stored, want %d and %v", len(p.out.begun), p.cores[0].stored, begun, stored)
	}
}

func row() engine.Change { return &engine.InsertRun{Rows: []engine.Row{{}}} }

// A second commit leaves beside the first; what both hold is let out in order, and each counts in rows of its own.
func TestTwoCommitsAreUnderWay(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.step(0, 0, row())
	p.step(0, 0, row())
	p.step(0, 0, row())
	p.want(2)
	if a, b := p.out.begun[0].slot, p.out.begun[1].slot; a == b {
		t.Errorf("both count in slot %d", a)
	}
	p.end(1, nil)
	p.want(2)
	p.end(0, nil)
	p.want(3, 1, 2)
	p.end(2, nil)
	p.want(3, 1, 2, 3)
}

// A batch that builds on one under way, or that changes a session, waits until none is.
func TestWhatBuildsOnACommitWaitsForIt(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]func(p *pipe){
		"the same run":    func(p *pipe) { p.step(0, 1, row()) },
		"a session":       func(p *pipe) { p.step(0, 0, &engine.PutSession{}) },
		"a session's end": func(p *pipe) { p.step(0, 0, &engine.EndSession{}) },
		"nothing written": func(p *pipe) { p.step(0, 0) },
		"many rows":       func(p *pipe) { p.step(0, 0, slices.Repeat([]engine.Change{row()}, fewRows)...) },
	} {
		p := newPipe(t)
		p.step(0, 0, row())
		second(p)
		if len(p.out.begun) != 1 {
			t.Errorf("%s: %d commits are under way", name, len(p.out.begun))
		}
		p.end(0, nil)
		if begun := 2; len(p.out.begun) != begun && name != "nothing written" {
			t.Errorf("%s: it did not leave after the first", name)
		}
	}
	p := newPipe(t)
	p.step(0, 0, &engine.PutSession{})
	p.step(0, 0, row())
	p.want(1)
	p = newPipe(t)
	p.step(0, 0, row())
	p.step(1, 1, row()) // the step of another shard
	p.want(2)
}

// The first of two fails for the moment: it is written again, and the second, stored already, is not, but waits to be let out with it.
func TestAStoredCommitWaitsForTheOneBefore(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.step(0, 0, row())
	p.step(0, 0, row(), row())
	p.end(0, &pgconn.PgError{Code: "53300"})
	p.want(2)
	p.step(0, 0, row())
	p.want(2)
	p.end(1, nil)
	p.want(2)
	p.pause = nil
	p.startCommit(t.Context())
	p.want(3)
	if got := p.out.begun[2].rows; got != 2 {
		t.Errorf("%d rows are written again, want the first commit's and the third's", got)
	}
	p.end(2, nil)
	p.want(3, 3)
}

// The outcome of the first is unknown: its shard is owned anew, whatever became of the second, and the other shard's part of that is let out.
func TestAnUnknownOutcomeDropsItsShardAlone(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.step(0, 0, row())
	p.cores[0].next = engine.Output{Changes: []engine.Change{row()}}
	p.owner.step(p.shards[0], nil)
	p.step(1, 0, row())
	p.end(1, nil)
	p.end(0, io.ErrUnexpectedEOF)
	p.want(2)
	if !p.shards[0].dropped || p.shards[1].dropped {
		t.Errorf("dropped: %t and %t, want the first shard alone", p.shards[0].dropped, p.shards[1].dropped)
	}
	if !slices.Equal(p.cores[1].stored, []int64{1}) {
		t.Errorf("of the other shard steps %v are known to be stored", p.cores[1].stored)
	}
}

// A fence names a shard; the other's changes in both commits are written again.
func TestAFenceLeavesTheOtherShard(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.cores[0].next = engine.Output{Changes: []engine.Change{row()}}
	p.owner.step(p.shards[0], nil)
	p.step(1, 0, row())
	p.step(1, 0, row())
	p.end(0, &pgconn.PgError{Code: "TN001", Message: "0"})
	p.end(1, &pgconn.PgError{Code: "53300"})
	p.pause = nil
	p.startCommit(t.Context())
	if !p.shards[0].dropped || p.shards[1].dropped || len(p.out.begun) != 3 || p.out.begun[2].rows != 2 || p.out.begun[2].has(p.shards[0]) {
		t.Errorf("dropped: %t and %t; %d commits", p.shards[0].dropped, p.shards[1].dropped, len(p.out.begun))
	}
}
