package engine

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
)

// Survey asks for what memory knows of a tenant beyond its rows.
type Survey struct {
	To     Ref
	Tenant int64
	Runs   bool    // those that have begun while their row does not say so yet
	All    bool    // every worker
	Worker flow.ID // this worker, with what it runs
	Queues bool
}

// SurveyReply answers Survey.
type SurveyReply struct {
	To      Ref
	Tenant  int64
	Runs    []BegunRun   // newest first
	Workers []WorkerView // in the order of their attachment
	Queues  []QueueView  // the longest wait first
	Notices int64        // filled in by the shell: messages of notices that it has sent for the tenant
	Epoch   int64        // filled in by the shell
}

// BegunRun is a run that has begun.
type BegunRun struct {
	ID         flow.ID
	WorkflowID int64
}

// WorkerView is an attached worker.
type WorkerView struct {
	SessionName
	Slots, Used            int
	Draining, Paused, Lost bool
	LostAt                 int64
	Assignments            int
	Held                   []HeldView // of the worker that was asked for
}

// HeldView is a task that a worker has.
type HeldView struct {
	Run       flow.ID
	Plan      *flow.Plan
	TaskNo    int32
	Attempt   int32
	State     flow.State
	StartedAt int64
	QueuedAt  int64
}

// QueueView is what waits in a queue, as far as its windows reach.
type QueueView struct {
	Name     string
	Waiting  int
	More     bool // beyond the windows
	Oldest   flow.ID
	Plan     *flow.Plan
	TaskNo   int32
	QueuedAt int64
	Workers  int
	Free     int
}

// An answer has to fit into one message of the bus.
const (
	surveyedRuns    = 10_000
	surveyedWorkers = 4000
	surveyedHeld    = 1000
)

func (s *Shard) survey(t *tenant, in *Survey) {
	out := &SurveyReply{To: in.To, Tenant: t.id}
	if in.Runs {
		out.Runs = t.begunRuns()
	}
	for _, ses := range t.sessions {
		if (in.All && len(out.Workers) < surveyedWorkers) || ses.worker == in.Worker {
			out.Workers = append(out.Workers, ses.view(!in.All))
		}
	}
	if in.Queues {
		out.Queues = t.queueViews()
	}
	s.effect(out)
}

// begunRuns finds the runs that rows alone would show as queued. An assignment that is recorded has its state in the row.
func (t *tenant) begunRuns() []BegunRun {
	var out []BegunRun
	for _, ses := range t.sessions {
		for _, a := range ses.held {
			top := a.row.run.rows[0]
			unwritten := top.dirty
			if top.Single {
				unwritten = !a.recorded && top.Attempt == 1 && top.Lost == 0
			}
			if top.StartedAt > 0 && unwritten {
				out = append(out, BegunRun{top.ID, top.WorkflowID})
			}
		}
	}
	slices.SortFunc(out, func(a, b BegunRun) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	out = slices.Compact(out)
	return out[:min(len(out), surveyedRuns)]
}

func (s *session) view(whole bool) WorkerView {
	v := WorkerView{
		SessionName: s.name(), Slots: s.slots, Used: s.used, Draining: s.draining, Paused: s.paused, Lost: s.lost, Assignments: len(s.held),
	}
	if s.lost {
		v.LostAt = s.lostAt
	}
	if !whole {
		return v
	}
	for _, a := range s.held {
		w := a.row
		v.Held = append(v.Held, HeldView{w.ID, w.run.plan, w.number(), w.Attempt, w.State, w.StartedAt, w.QueuedAt})
	}
	slices.SortFunc(v.Held, func(a, b HeldView) int {
		return cmp.Or(bytes.Compare(a.Run[:], b.Run[:]), cmp.Compare(a.TaskNo, b.TaskNo))
	})
	v.Held = v.Held[:min(len(v.Held), surveyedHeld)]
	return v
}

// queueViews gathers the tenant's lanes by queue. A worker that serves several lanes of a queue counts once.
func (t *tenant) queueViews() []QueueView {
	var out []QueueView
	serving := make(map[string][]*session)
	for _, l := range t.laneList {
		if len(l.items) == 0 && l.end == wholeLane {
			continue
		}
		i := slices.IndexFunc(out, func(v QueueView) bool { return v.Name == l.queue })
		if i < 0 {
			i = len(out)
			out = append(out, QueueView{Name: l.queue})
		}
		v := &out[i]
		v.Waiting += len(l.items)
		v.More = v.More || l.end != wholeLane
		for _, w := range l.items {
			if v.QueuedAt == 0 || w.QueuedAt < v.QueuedAt {
				v.Oldest, v.Plan, v.TaskNo, v.QueuedAt = w.ID, w.run.plan, w.number(), w.QueuedAt
			}
		}
		for _, ses := range l.sessions {
			if !ses.lost && !slices.Contains(serving[l.queue], ses) {
				serving[l.queue] = append(serving[l.queue], ses)
				v.Workers++
				v.Free += max(0, ses.free())
			}
		}
	}
	slices.SortFunc(out, func(a, b QueueView) int {
		return cmp.Or(cmp.Compare(a.QueuedAt, b.QueuedAt), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// PauseWorker stops or resumes assignments to a worker, whatever its session.
type PauseWorker struct {
	To     Ref
	Tenant int64
	Worker flow.ID
	Paused bool
}

// pauseWorker also remembers a worker that is not attached: the session that it is opening may not know of the pause yet.
func (s *Shard) pauseWorker(t *tenant, in *PauseWorker) {
	if ses := t.session(in.Worker); ses != nil {
		ses.paused = in.Paused
		s.effect(&WorkersNotice{t.id})
		t.match = true
	}
	if in.Paused {
		if t.paused == nil {
			t.paused = make(map[flow.ID]bool)
		}
		t.paused[in.Worker] = true
	} else {
		delete(t.paused, in.Worker)
	}
	s.effect(&Reply{To: in.To})
}

func (i *Survey) tenant() int64      { return i.Tenant }
func (i *PauseWorker) tenant() int64 { return i.Tenant }
func (*SurveyReply) isEffect()       {}
