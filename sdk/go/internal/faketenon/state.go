package faketenon

import (
	"encoding/binary"
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// Seen is what the server has seen; read it within Until and Look only.
type Seen struct {
	Calls    map[string]int                // by procedure
	Bulks    []int                         // items of each TriggerBulk, in order
	Triggers []*runsv1.NewRun              // as they came, resends included
	Awaits   []*runsv1.AwaitRunsRequest    // in order
	Awaiting int                           // streams of AwaitRuns that are open
	Batches  [][]*workersv1.Report         // of each Report, in order
	Listens  []*workersv1.ListenRequest    // in order
	Beats    []*workersv1.HeartbeatRequest // in order
	Logs     []*workersv1.LogEntry         // each line once
	Runs     map[string]*runsv1.Run        // by id, as they are
	Specs    map[string]*registryv1.WorkflowSpec
}

type state struct {
	seen     Seen
	order    []*run // by creation
	byKey    map[string]*run
	workers  map[string]*worker
	payloads map[string]string
	logged   map[string]bool
	next     uint64
}

type run struct {
	*runsv1.Run
	steps []*step
	spec  *registryv1.WorkflowSpec
}

type step struct {
	*runsv1.Task
	run        *run
	number     int32
	assignment []byte
	worker     string
	waiting    int  // awaits without the slot
	stopping   bool // a cancel was sent
}

type worker struct {
	id      string
	req     *workersv1.RegisterRequest
	session int64
	broken  int64 // sessions up to this one were broken off
	open    bool
	drain   bool
	outbox  []*workersv1.ListenResponse
}

func newState() state {
	return state{
		seen:    Seen{Calls: map[string]int{}, Runs: map[string]*runsv1.Run{}, Specs: map[string]*registryv1.WorkflowSpec{}},
		byKey:   map[string]*run{},
		workers: map[string]*worker{}, payloads: map[string]string{}, logged: map[string]bool{},
	}
}

func (s *state) id16() []byte {
	s.next++
	return binary.BigEndian.AppendUint64(make([]byte, 8), s.next)
}

// admit makes a run unless there is one with its id or child key.
func (s *Server) admit(n *runsv1.NewRun) *runsv1.TriggerResult {
	spec := s.seen.Specs[n.GetWorkflow()]
	if spec == nil {
		return &runsv1.TriggerResult{Error: &runsv1.ItemError{Code: "not_found", Reason: "UNKNOWN_WORKFLOW", Message: "there is no workflow " + n.GetWorkflow()}}
	}
	if n.GetPriority() > 9 {
		return &runsv1.TriggerResult{Error: &runsv1.ItemError{Code: "invalid_argument", Message: "must be at most 9", Field: "priority"}}
	}
	key := n.GetRunId()
	if p := n.GetParent(); p != nil {
		if s.stepOf(p.GetAssignmentId()) == nil {
			return &runsv1.TriggerResult{Error: &runsv1.ItemError{Code: "failed_precondition", Reason: "PARENT_NOT_RUNNING", Message: "the parent is not running"}}
		}
		key = p.GetRunId() + "/" + p.GetTask() + "/" + p.GetChildKey()
	}
	if have := s.byKey[key]; have != nil {
		return &runsv1.TriggerResult{RunId: have.GetId()}
	}
	r := &run{spec: spec, Run: &runsv1.Run{
		Id: n.GetRunId(), Workflow: n.GetWorkflow(), WorkflowVersion: 1, Generation: 1, Status: runsv1.RunStatus_RUN_STATUS_QUEUED, InputJson: n.GetInputJson(),
		Labels: n.GetLabels(),
	}}
	for i, t := range spec.GetTasks() {
		st := &step{run: r, number: int32(i + 1), Task: &runsv1.Task{Name: t.GetName(), Parents: t.GetParents(), Attempt: 1, Status: runsv1.TaskStatus_TASK_STATUS_BLOCKED}}
		r.steps = append(r.steps, st)
		r.Tasks = append(r.Tasks, st.Task)
	}
	s.byKey[key] = r
	s.order = append(s.order, r)
	s.seen.Runs[r.GetId()] = r.Run
	r.advance()
	s.assign()
	return &runsv1.TriggerResult{RunId: r.GetId(), Created: true}
}

// advance queues what is ready and ends the run when all of its tasks are final.
func (r *run) advance() {
	left, bad := 0, runsv1.RunStatus_RUN_STATUS_COMPLETED
	for _, st := range r.steps {
		if st.Status == runsv1.TaskStatus_TASK_STATUS_BLOCKED && st.ready() {
			st.Status = runsv1.TaskStatus_TASK_STATUS_QUEUED
		}
		switch st.Status {
		case runsv1.TaskStatus_TASK_STATUS_COMPLETED:
		case runsv1.TaskStatus_TASK_STATUS_FAILED:
			bad = runsv1.RunStatus_RUN_STATUS_FAILED
			r.Error = st.Error
		case runsv1.TaskStatus_TASK_STATUS_CANCELLED:
			bad = max(bad, runsv1.RunStatus_RUN_STATUS_COMPLETED)
			if bad == runsv1.RunStatus_RUN_STATUS_COMPLETED {
				bad = runsv1.RunStatus_RUN_STATUS_CANCELLED
			}
		default:
			left++
		}
	}
	if bad == runsv1.RunStatus_RUN_STATUS_FAILED {
		for _, st := range r.steps {
			if st.Status == runsv1.TaskStatus_TASK_STATUS_BLOCKED {
				st.Status = runsv1.TaskStatus_TASK_STATUS_CANCELLED
				left--
			}
		}
	}
	if left == 0 {
		r.Status = bad
		last := r.steps[len(r.steps)-1]
		r.OutputJson = last.GetOutputJson()
	}
}

func (st *step) ready() bool {
	return !slices.ContainsFunc(st.GetParents(), func(name string) bool {
		return st.run.step(name).Status != runsv1.TaskStatus_TASK_STATUS_COMPLETED
	})
}

func (r *run) step(name string) *step {
	return r.steps[slices.IndexFunc(r.steps, func(st *step) bool { return st.GetName() == name })]
}

func (r *run) final() bool { return r.GetStatus() > runsv1.RunStatus_RUN_STATUS_RUNNING }

func (s *Server) stepOf(assignment []byte) *step {
	for _, r := range s.order {
		for _, st := range r.steps {
			if len(assignment) > 0 && string(st.assignment) == string(assignment) {
				return st
			}
		}
	}
	return nil
}

// used counts a worker's busy slots.
func (s *Server) used(w *worker) int {
	n := 0
	for _, r := range s.order {
		for _, st := range r.steps {
			if st.worker == w.id && st.assignment != nil && st.waiting == 0 {
				n++
			}
		}
	}
	return n
}

// assign gives queued tasks to workers with free slots.
func (s *Server) assign() {
	for _, r := range s.order {
		for _, st := range r.steps {
			if st.Status != runsv1.TaskStatus_TASK_STATUS_QUEUED {
				continue
			}
			for _, w := range s.workers {
				if w.open && !w.drain && slices.Contains(w.req.GetActions(), r.GetWorkflow()+"/"+st.GetName()) && s.used(w) < int(w.req.GetSlots()) {
					s.give(w, st)
					break
				}
			}
		}
	}
	s.change()
}

func (s *Server) give(w *worker, st *step) {
	st.Status, st.worker, st.assignment = runsv1.TaskStatus_TASK_STATUS_ASSIGNED, w.id, s.id16()
	st.run.Status = runsv1.RunStatus_RUN_STATUS_RUNNING
	a := &workersv1.Assignment{
		AssignmentId: st.assignment, RunId: st.run.GetId(), Workflow: st.run.GetWorkflow(), WorkflowVersion: 1, Task: st.GetName(), TaskNo: st.number,
		Generation: 1, Attempt: st.GetAttempt(), ExecutionTimeout: durationpb.New(300e9),
	}
	a.InputJson, a.InputRef = s.carry(st.run.GetInputJson())
	for _, name := range st.GetParents() {
		p := &workersv1.ParentOutput{Task: name}
		p.OutputJson, p.OutputRef = s.carry(st.run.step(name).GetOutputJson())
		a.Parents = append(a.Parents, p)
	}
	w.outbox = append(w.outbox, &workersv1.ListenResponse{Assignments: []*workersv1.Assignment{a}})
}

// carry gives a payload inline, or stores it and gives its reference.
func (s *Server) carry(text string) (string, []byte) {
	if len(text) <= s.InlineLimit {
		return text, nil
	}
	ref := s.id16()
	s.payloads[string(ref)] = text
	return "", ref
}

// apply deals with one report.
func (s *Server) apply(r *workersv1.Report) *workersv1.ReportAnswer {
	if s.Verdict != nil {
		if v := s.Verdict(r); v == workersv1.ReportVerdict_REPORT_VERDICT_REFUSED {
			return &workersv1.ReportAnswer{Verdict: v, Error: &runsv1.ItemError{Code: "invalid_argument", Message: "refused on purpose"}}
		} else if v > workersv1.ReportVerdict_REPORT_VERDICT_ACCEPTED {
			return &workersv1.ReportAnswer{Verdict: v}
		}
	}
	st := s.stepOf(r.GetAssignmentId())
	if st == nil {
		return &workersv1.ReportAnswer{Verdict: workersv1.ReportVerdict_REPORT_VERDICT_SUPERSEDED}
	}
	done := &workersv1.ReportAnswer{Verdict: workersv1.ReportVerdict_REPORT_VERDICT_ACCEPTED}
	switch news := r.GetNews().(type) {
	case *workersv1.Report_Acknowledged:
		return done
	case *workersv1.Report_Started:
		st.Status = runsv1.TaskStatus_TASK_STATUS_RUNNING
		return done
	case *workersv1.Report_Completed:
		st.Status, st.OutputJson = runsv1.TaskStatus_TASK_STATUS_COMPLETED, news.Completed.GetOutputJson()
	case *workersv1.Report_Failed:
		s.failed(st, news.Failed)
	case *workersv1.Report_Stopped:
		st.Status = runsv1.TaskStatus_TASK_STATUS_CANCELLED
		if !st.stopping {
			st.Status = runsv1.TaskStatus_TASK_STATUS_QUEUED
		}
	case *workersv1.Report_Withdrawn:
		st.Status = runsv1.TaskStatus_TASK_STATUS_QUEUED
	}
	st.assignment = nil
	st.run.advance()
	s.assign()
	return done
}

// failed retries a task at once while it may.
func (s *Server) failed(st *step, f *workersv1.Failed) {
	policy := st.run.spec.GetTasks()[st.number-1].GetRetry()
	if policy == nil {
		policy = st.run.spec.GetDefaults().GetRetry()
	}
	if !f.GetNeverRetry() && st.GetAttempt() <= policy.GetMaxRetries() {
		st.Attempt++
		st.Status = runsv1.TaskStatus_TASK_STATUS_QUEUED
		return
	}
	st.Status, st.Error = runsv1.TaskStatus_TASK_STATUS_FAILED, f.GetError()
}

// attach notes a worker's new session; what it does not hold goes back to the queue.
func (s *Server) attach(w *worker, req *workersv1.ListenRequest) {
	w.session, w.open, w.outbox = req.GetSession(), true, nil
	for _, r := range s.order {
		for _, st := range r.steps {
			held := slices.ContainsFunc(req.GetHeld(), func(h *workersv1.Held) bool { return string(h.GetAssignmentId()) == string(st.assignment) })
			if st.worker == w.id && st.assignment != nil && !held {
				st.assignment, st.Status = nil, runsv1.TaskStatus_TASK_STATUS_QUEUED
			}
		}
	}
	w.outbox = append([]*workersv1.ListenResponse{{Opened: true}}, w.outbox...)
	s.assign()
}

// validJSON says whether a text is JSON; nothing at all is null.
func validJSON(text string) bool { return text == "" || json.Valid([]byte(text)) }
