package engine

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

func (b *bench) survey(in *Survey) *SurveyReply {
	b.t.Helper()
	in.To, in.Tenant = b.ref(nil), simTenant
	return one[*SurveyReply](b, b.do(in))
}

func (b *bench) pause(worker flow.ID, paused bool) []Effect {
	b.t.Helper()
	return b.do(&PauseWorker{To: b.ref(nil), Tenant: simTenant, Worker: worker, Paused: paused})
}

func TestAPausedWorkerKeepsWhatItHasAndGetsNothing(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	first, second := b.trigger(p), b.trigger(p)
	a := one[*Assign](b, b.session(b.work, 1, 1, nil, p))
	b.pause(b.work, true)
	none[*Assign](b, b.says(a, Succeeded))
	b.wants(first, 0, flow.Completed)
	none[*Assign](b, b.wait(time.Minute))
	none[*Assign](b, b.session(b.work, 2, 1, nil, p)) // a new session of the same worker is as paused
	if w := b.survey(&Survey{All: true}).Workers; len(w) != 1 || !w[0].Paused || w[0].Session != 2 {
		t.Fatalf("the survey shows %+v", w)
	}
	if a := one[*Assign](b, b.pause(b.work, false)); a.Run != second {
		t.Fatalf("once resumed, the worker got %+v", a)
	}
}

// A pause that comes before the session that it is about is not lost, nor is one that the session's own opening tells of.
func TestAPauseMeetsTheSessionThatOpens(t *testing.T) {
	b := newBench(t)
	p := b.plan(oneTask(flow.Task{}))
	b.trigger(p)
	b.pause(b.work, true)
	none[*Assign](b, b.session(b.work, 1, 1, nil, p))
	in := &OpenSession{To: b.ref(nil), Tenant: simTenant, Worker: flow.ID{2}, Session: 1, Dispatcher: "d", Slots: 1, Actions: p.Actions, Paused: true}
	none[*Assign](b, b.do(in))
	one[*Assign](b, b.pause(flow.ID{2}, false))
}

func TestASurveyShowsWhatRowsDoNotSay(t *testing.T) {
	b := newBench(t)
	single := b.plan(oneTask(flow.Task{Queue: "line"}))
	chain := b.plan(flow.Workflow{Name: "chain", Tasks: []flow.Task{{Name: "a", Queue: "other"}, {Name: "b", Parents: []string{"a"}}}})
	idle := b.survey(&Survey{Runs: true, All: true, Queues: true})
	if len(idle.Runs)+len(idle.Workers)+len(idle.Queues) != 0 {
		t.Fatalf("of nothing the survey shows %+v", idle)
	}
	running, waiting, dag := b.trigger(single), b.trigger(single), b.trigger(chain)
	b.says(one[*Assign](b, b.session(b.work, 1, 1, nil, single)), Started)
	b.says(one[*Assign](b, b.session(flow.ID{7}, 1, 5, nil, chain)), Started)
	got := b.survey(&Survey{Runs: true, Worker: b.work, Queues: true})
	begun := map[flow.ID]bool{}
	for _, r := range got.Runs {
		begun[r.ID] = true
	}
	if len(got.Runs) != 2 || !begun[running] || !begun[dag] {
		t.Errorf("begun are %v", got.Runs)
	}
	if len(got.Workers) != 1 || got.Workers[0].Used != 1 || len(got.Workers[0].Held) != 1 || got.Workers[0].Held[0].Run != running || got.Workers[0].Held[0].State != flow.Running {
		t.Errorf("the worker is %+v", got.Workers)
	}
	if len(got.Queues) != 1 || got.Queues[0].Name != "line" || got.Queues[0].Oldest != waiting || got.Queues[0].Waiting != 1 || got.Queues[0].Workers != 1 || got.Queues[0].Free != 0 {
		t.Errorf("the queues are %+v", got.Queues)
	}
	b.wait(2 * time.Second) // by then both are written as running
	if got := b.survey(&Survey{Runs: true}); len(got.Runs) != 0 {
		t.Errorf("rows that say so themselves are shown again: %v", got.Runs)
	}
	b.lose(b.work, 1, false)
	if w := b.survey(&Survey{Worker: b.work}).Workers; len(w) != 1 || !w[0].Lost || w[0].LostAt == 0 {
		t.Errorf("the lost worker is %+v", w)
	}
}
