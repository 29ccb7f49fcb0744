package engine

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

// bench is a quiet world that a test drives by hand: every call is stepped, committed and answered at once, and effects are only kept.
type bench struct {
	*simWorld
	t    *testing.T
	ids  int
	work flow.ID // the worker w

	openings int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, simWorld: newSimWorld(t, Config{}, 1), work: flow.ID{1}}
	b.manual = true
	return b
}

// do steps inputs, and everything that follows at once; it answers with the effects that were let out.
func (b *bench) do(in ...Input) []Effect {
	b.t.Helper()
	from := len(b.effects)
	b.inbox = append(b.inbox, in...)
	b.flush()
	return b.effects[from:]
}

// wait moves time on, timer by timer.
func (b *bench) wait(d time.Duration) []Effect {
	b.t.Helper()
	from := len(b.effects)
	end := b.now + d.Microseconds()
	for b.wake > 0 && b.wake <= end {
		b.now = max(b.now, b.wake)
		b.step()
		b.flush()
	}
	b.now = end
	b.step()
	b.flush()
	return b.effects[from:]
}

// takeOver loses the owner; the next one has read what it needs.
func (b *bench) takeOver() {
	b.t.Helper()
	b.crash()
	b.flush()
}

func (b *bench) id() flow.ID {
	b.ids++
	return flow.MakeID(b.now/1000, [10]byte{9: byte(b.ids), 8: byte(b.ids >> 8)})
}

// plan declares a workflow; tasks without a name are called a, b, c.
func (b *bench) plan(w flow.Workflow) *flow.Plan {
	b.t.Helper()
	if w.Name == "" {
		w.Name = "w"
	}
	w.Class = flow.Standard
	for i := range w.Tasks {
		task := &w.Tasks[i]
		if task.Name == "" {
			task.Name = string(rune('a' + i))
		}
		if task.MaxLost == 0 {
			task.MaxLost = flow.DefaultMaxLost
		}
	}
	p, faults := flow.NewPlan(&w)
	if len(faults) > 0 {
		b.t.Fatalf("plan: %v", faults)
	}
	p.WorkflowID, p.Version = int64(len(b.store.plans)+1), 1
	b.store.plans[p.WorkflowID] = p
	return p
}

func oneTask(task flow.Task) flow.Workflow { return flow.Workflow{Tasks: []flow.Task{task}} }

func retries(n int) flow.Retry {
	return flow.Retry{Max: n, Initial: time.Second, Factor: 2, MaxBackoff: time.Minute}
}

// trigger starts a run.
func (b *bench) trigger(p *flow.Plan) flow.ID {
	b.t.Helper()
	return b.triggerAt(p, 4)
}

func (b *bench) triggerAt(p *flow.Plan, priority int16) flow.ID {
	b.t.Helper()
	id := b.id()
	r := one[*TriggerReply](b, b.do(&Trigger{To: b.ref(nil), Tenant: simTenant, ID: id, Hash: id[:], Plan: p, Priority: priority}))
	if r.Refusal != nil || !r.Created {
		b.t.Fatalf("trigger was answered with %+v", r)
	}
	return id
}

// worker opens a session, by default number 1 of the worker w, for the plans' tasks.
func (b *bench) worker(slots int, plans ...*flow.Plan) []Effect {
	b.t.Helper()
	return b.session(b.work, 1, slots, nil, plans...)
}

func (b *bench) session(worker flow.ID, number int64, slots int, held []Held, plans ...*flow.Plan) []Effect {
	b.t.Helper()
	b.openings++
	in := &OpenSession{To: b.ref(nil), Tenant: simTenant, Worker: worker, Session: number, Dispatcher: "d", Slots: slots, Held: held, Opening: b.openings}
	for _, p := range plans {
		in.Actions = append(in.Actions, p.Actions...)
	}
	out := b.do(in)
	if r := all[*Reply](out); r[0].Refusal != nil {
		b.t.Fatalf("the session was refused: %+v", r[0].Refusal)
	}
	return out
}

func (b *bench) lose(worker flow.ID, number int64, gone bool) []Effect {
	b.t.Helper()
	return b.do(&LoseSession{To: b.ref(nil), Tenant: simTenant, Worker: worker, Session: number, Gone: gone})
}

func reportOf(a *Assign, kind ReportKind) *Report {
	return &Report{
		Tenant: simTenant, Worker: a.Worker, Session: a.Session, Assignment: a.Assignment, Run: a.Run, TaskNo: a.TaskNo, Generation: a.Generation, Attempt: a.Attempt, Kind: kind,
	}
}

// says reports on an assignment.
func (b *bench) says(a *Assign, kind ReportKind) []Effect {
	b.t.Helper()
	return b.sends(reportOf(a, kind))
}

func (b *bench) sends(in *Report) []Effect {
	b.t.Helper()
	in.To = b.ref(nil)
	return b.do(in)
}

func (b *bench) fails(a *Assign, kind string) []Effect {
	b.t.Helper()
	in := reportOf(a, FailedAttempt)
	in.Error = &TaskError{Kind: kind}
	return b.sends(in)
}

// child starts a child of a running task.
func (b *bench) child(a *Assign, key string, p *flow.Plan) (*TriggerReply, []Effect) {
	b.t.Helper()
	out := b.do(&Trigger{To: b.ref(nil), Tenant: simTenant, Hash: []byte(key), Fresh: true, Plan: p, Priority: 4, Parent: link(a, key)})
	return one[*TriggerReply](b, out), out
}

func link(a *Assign, key string) *ParentLink {
	return &ParentLink{Run: a.Run, Task: a.Plan.Workflow.Tasks[a.TaskNo-1].Name, Assignment: a.Assignment, Key: key}
}

func (b *bench) cancel(id flow.ID) []Effect {
	b.t.Helper()
	return b.do(&CancelRun{To: b.ref(nil), Tenant: simTenant, ID: id})
}

func (b *bench) replay(id flow.ID, tasks ...string) []Effect {
	b.t.Helper()
	out := b.do(&ReplayRun{To: b.ref(nil), Tenant: simTenant, ID: id, Tasks: tasks})
	if r := one[*Reply](b, out); r.Refusal != nil {
		b.t.Fatalf("the replay was refused: %+v", r.Refusal)
	}
	return out
}

// row is a row as memory has it, else as the store has it; task 0 is the run.
func (b *bench) row(id flow.ID, task int) Row {
	b.t.Helper()
	key := RunKey{simTenant, id}
	if r := b.shard.runs[key]; r != nil {
		return r.rows[task].Row
	}
	found := b.store.newest(key)
	if found == nil {
		b.t.Fatalf("there is no run %v", id)
	}
	return found.Rows[task]
}

func (b *bench) wants(id flow.ID, task int, want flow.State) Row {
	b.t.Helper()
	r := b.row(id, task)
	if r.State != want {
		b.t.Fatalf("run %v task %d is %s, expected %s (%+v)", id, task, r.State, want, r.Error)
	}
	return r
}

func (b *bench) wantsKind(id flow.ID, task int, want flow.State, kind string) {
	b.t.Helper()
	if r := b.wants(id, task, want); r.Error == nil || r.Error.Kind != kind {
		b.t.Fatalf("run %v task %d has the error %+v, expected kind %s", id, task, r.Error, kind)
	}
}

// wantsAttempts compares the outcomes of the recorded attempts.
func (b *bench) wantsAttempts(outcomes ...string) {
	b.t.Helper()
	if len(b.store.attempts) != len(outcomes) {
		b.t.Fatalf("%d attempts are recorded, expected %v: %+v", len(b.store.attempts), outcomes, b.store.attempts)
	}
	for i, want := range outcomes {
		if got := b.store.attempts[i].Outcome; got != want {
			b.t.Fatalf("attempt %d is recorded as %s, expected %s", i, got, want)
		}
	}
}

// all are the effects of one kind.
func all[E Effect](effects []Effect) []E {
	var out []E
	for _, e := range effects {
		if of, ok := e.(E); ok {
			out = append(out, of)
		}
	}
	return out
}

// one is the only effect of its kind.
func one[E Effect](b *bench, effects []Effect) E {
	b.t.Helper()
	found := all[E](effects)
	if len(found) != 1 {
		b.t.Fatalf("%d effects %T, expected one, among %+v", len(found), *new(E), effects)
	}
	return found[0]
}

func none[E Effect](b *bench, effects []Effect) {
	b.t.Helper()
	if found := all[E](effects); len(found) > 0 {
		b.t.Fatalf("expected no %T, got %+v", found[0], found)
	}
}
