package scheduler

import (
	"context"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

type (
	makeInputs = func(ref func(index int32) engine.Ref) []engine.Input
	makeReply  = func(replies []engine.Effect) *busv1.ShardReply
)

// translate turns a request into the engine's inputs, one for each item, and says how their answers become the reply.
func (o *owner) translate(ctx context.Context, req *busv1.ShardRequest) (makeInputs, makeReply, error) {
	tenant := req.GetTenantId()
	one := func(make func(to engine.Ref) engine.Input) makeInputs {
		return func(ref func(int32) engine.Ref) []engine.Input { return []engine.Input{make(ref(0))} }
	}
	var d decoder
	switch kind := req.GetKind().(type) {
	case *busv1.ShardRequest_Trigger:
		inputs, err := o.triggers(ctx, tenant, kind.Trigger)
		return inputs, triggerReply, err
	case *busv1.ShardRequest_Reports:
		inputs := d.reports(tenant, kind.Reports)
		return inputs, reportsReply, d.err
	case *busv1.ShardRequest_Cancel:
		in := &engine.CancelRun{Tenant: tenant, ID: d.id(kind.Cancel.GetRunId()), Parent: d.parent(kind.Cancel.GetParent())}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), runReply, d.err
	case *busv1.ShardRequest_Replay:
		in := &engine.ReplayRun{Tenant: tenant, ID: d.id(kind.Replay.GetRunId()), Tasks: kind.Replay.GetTasks()}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), runReply, d.err
	case *busv1.ShardRequest_Await:
		in := &engine.AwaitRuns{Tenant: tenant, IDs: d.ids(kind.Await.GetRunIds()), Parent: d.mustParent(kind.Await.GetParent())}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), awaitReply, d.err
	case *busv1.ShardRequest_Peek:
		in := &engine.Peek{Tenant: tenant, IDs: d.ids(kind.Peek.GetRunIds())}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), peekReply, d.err
	case *busv1.ShardRequest_OpenSession:
		in := d.openSession(tenant, kind.OpenSession)
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), sessionReply, d.err
	case *busv1.ShardRequest_LoseSession:
		m := kind.LoseSession
		in := &engine.LoseSession{Tenant: tenant, Worker: d.id(m.GetWorkerId()), Session: m.GetSession(), Gone: m.GetGone()}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), runReply, d.err
	case *busv1.ShardRequest_CheckSessions:
		in := &engine.CheckSessions{Tenant: tenant}
		for _, m := range kind.CheckSessions.GetSessions() {
			in.Sessions = append(in.Sessions, engine.SessionKey{Worker: d.id(m.GetWorkerId()), Session: m.GetSession()})
		}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), checkReply, d.err
	case *busv1.ShardRequest_DrainWorker:
		m := kind.DrainWorker
		in := &engine.DrainWorker{Tenant: tenant, Worker: d.id(m.GetWorkerId()), Session: m.GetSession()}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), runReply, d.err
	case *busv1.ShardRequest_Survey:
		m := kind.Survey
		in := &engine.Survey{Tenant: tenant, Runs: m.GetRuns(), All: m.GetWorkers(), Worker: d.id(m.GetWorkerId()), Queues: m.GetQueues()}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), surveyReply, d.err
	case *busv1.ShardRequest_PauseWorker:
		in := &engine.PauseWorker{Tenant: tenant, Worker: d.id(kind.PauseWorker.GetWorkerId()), Paused: kind.PauseWorker.GetPaused()}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), runReply, d.err
	case *busv1.ShardRequest_CheckParent:
		in := &engine.CheckParent{Tenant: tenant, Parent: d.mustParent(kind.CheckParent.GetParent())}
		return one(func(to engine.Ref) engine.Input { in.To = to; return in }), runReply, d.err
	default:
		return nil, nil, fault.Invalid("BAD_SHARD_REQUEST", "the request's kind is not known to this release")
	}
}

// triggers reads the plans first: the engine only ever sees runs of versions that exist.
func (o *owner) triggers(ctx context.Context, tenant int64, m *busv1.TriggerRuns) (makeInputs, error) {
	var d decoder
	inputs := make([]*engine.Trigger, 0, len(m.GetRuns()))
	for _, r := range m.GetRuns() {
		plan, err := o.cfg.Workflows.Plan(ctx, tenant, r.GetWorkflowId(), int(r.GetWorkflowVersion()))
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, &engine.Trigger{
			Tenant: tenant, ID: d.id(r.GetRunId()), Hash: r.GetRequestHash(), Fresh: r.GetFresh(), Plan: plan, Priority: int16(r.GetPriority()), //nolint:gosec // 0 to 9
			Input: d.payload(r.GetInput()), Parent: d.parent(r.GetParent()), Traceparent: r.GetTraceparent(), Labels: r.GetLabels(),
		})
	}
	return func(ref func(int32) engine.Ref) []engine.Input {
		out := make([]engine.Input, len(inputs))
		for i, in := range inputs {
			in.To = ref(int32(i)) //nolint:gosec // at most 10,000
			out[i] = in
		}
		return out
	}, d.err
}

// decoder reads ids and keeps the first fault.
type decoder struct{ err error }

func (d *decoder) id(b []byte) flow.ID {
	id, err := flow.IDFromBytes(b)
	if err != nil && d.err == nil {
		d.err = fault.Invalid("BAD_SHARD_REQUEST", "an id in the request has not 16 bytes")
	}
	return id
}

func (d *decoder) ids(list [][]byte) []flow.ID {
	out := make([]flow.ID, len(list))
	for i, b := range list {
		out[i] = d.id(b)
	}
	return out
}

func (d *decoder) payload(p *busv1.Payload) engine.Payload {
	out := engine.Payload{Ref: d.id(p.GetRef())}
	if out.Ref.IsZero() {
		out.Inline = p.GetJson()
	}
	return out
}

func (d *decoder) parent(p *busv1.Parent) *engine.ParentLink {
	if p == nil {
		return nil
	}
	return &engine.ParentLink{Run: d.id(p.GetRunId()), Task: p.GetTask(), Assignment: d.id(p.GetAssignmentId()), Key: p.GetChildKey()}
}

func (d *decoder) mustParent(p *busv1.Parent) engine.ParentLink {
	if link := d.parent(p); link != nil {
		return *link
	}
	return engine.ParentLink{}
}

func (d *decoder) openSession(tenant int64, m *busv1.OpenSession) *engine.OpenSession {
	in := &engine.OpenSession{
		Tenant: tenant, Worker: d.id(m.GetWorkerId()), Session: m.GetSession(), Dispatcher: m.GetDispatcher(), Actions: m.GetActions(), Queues: m.GetQueues(),
		Slots: int(m.GetSlots()), Draining: m.GetDraining(), Paused: m.GetPaused(), Opening: m.GetOpening(),
	}
	for _, h := range m.GetHeld() {
		in.Held = append(in.Held, engine.Held{
			Assignment: d.id(h.GetAssignmentId()), Run: d.id(h.GetRunId()), TaskNo: h.GetTaskNo(), Generation: h.GetGeneration(), Attempt: h.GetAttempt(),
			Started: h.GetStarted(), Running: max(0, h.GetRunning()),
		})
	}
	return in
}

func (d *decoder) reports(tenant int64, m *busv1.Reports) makeInputs {
	worker := d.id(m.GetWorkerId())
	inputs := make([]*engine.Report, 0, len(m.GetItems()))
	for _, r := range m.GetItems() {
		in := &engine.Report{
			Tenant: tenant, Worker: worker, Session: m.GetSession(), Assignment: d.id(r.GetAssignmentId()), Run: d.id(r.GetRunId()), TaskNo: r.GetTaskNo(),
			Generation: r.GetGeneration(), Attempt: r.GetAttempt(), Kind: engine.ReportKind(r.GetKind()), NeverRetry: r.GetNeverRetry(), RetryAfter: r.GetRetryAfter(),
			Running: r.GetRunning(),
		}
		if r.GetOutput() != nil {
			in.Output = d.payload(r.GetOutput())
		}
		if e := r.GetError(); e != nil {
			in.Error = &engine.TaskError{Kind: e.GetKind(), Message: e.GetMessage(), Stack: e.GetStack()}
			if in.Error.Kind == "" {
				in.Error.Kind = flow.KindError
			}
		}
		inputs = append(inputs, in)
	}
	return func(ref func(int32) engine.Ref) []engine.Input {
		out := make([]engine.Input, len(inputs))
		for i, in := range inputs {
			in.To = ref(int32(i)) //nolint:gosec // at most 10,000
			out[i] = in
		}
		return out
	}
}

func itemError(r *engine.Refusal) *runsv1.ItemError {
	if r == nil {
		return nil
	}
	return &runsv1.ItemError{Code: r.Code, Reason: r.Reason, Message: r.Message, Field: r.Field}
}

func refusalOf(e engine.Effect) *runsv1.ItemError {
	if r, ok := e.(*engine.Reply); ok {
		return itemError(r.Refusal)
	}
	return nil
}

func triggerReply(replies []engine.Effect) *busv1.ShardReply {
	out := &busv1.TriggerRunsReply{}
	for _, e := range replies {
		if r, ok := e.(*engine.TriggerReply); ok {
			out.Runs = append(out.Runs, &busv1.TriggerRunReply{RunId: r.ID[:], Created: r.Created, Error: itemError(r.Refusal)})
		}
	}
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Trigger{Trigger: out}}
}

func reportsReply(replies []engine.Effect) *busv1.ShardReply {
	out := &busv1.ReportsReply{}
	for _, e := range replies {
		if r, ok := e.(*engine.VerdictReply); ok {
			out.Verdicts = append(out.Verdicts, int32(r.Verdict)) //nolint:gosec // 1 or 2
		}
	}
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Reports{Reports: out}}
}

func runReply(replies []engine.Effect) *busv1.ShardReply {
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Run{Run: &busv1.RunReply{Error: refusalOf(replies[0])}}}
}

func awaitReply(replies []engine.Effect) *busv1.ShardReply {
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Await{Await: &busv1.AwaitRunsReply{Error: refusalOf(replies[0])}}}
}

func sessionReply(replies []engine.Effect) *busv1.ShardReply {
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Session{Session: &busv1.OpenSessionReply{Error: refusalOf(replies[0])}}}
}

func checkReply(replies []engine.Effect) *busv1.ShardReply {
	out := &busv1.CheckSessionsReply{}
	if r, ok := replies[0].(*engine.SessionsReply); ok {
		for _, key := range r.Missing {
			out.Missing = append(out.Missing, &busv1.SessionName{WorkerId: key.Worker[:], Session: key.Session})
		}
	}
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Sessions{Sessions: out}}
}

func peekReply(replies []engine.Effect) *busv1.ShardReply {
	out := &busv1.PeekRunsReply{}
	if r, ok := replies[0].(*engine.PeekReply); ok {
		for _, rows := range r.Runs {
			out.Runs = append(out.Runs, peeked(rows))
		}
	}
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Peek{Peek: out}}
}

func peeked(rows []engine.Row) *busv1.PeekedRun {
	top := rows[0]
	out := &busv1.PeekedRun{RunId: top.ID[:], Status: string(top.State), StartTime: top.StartedAt}
	for i := range rows {
		w := &rows[i]
		out.Revision += w.Revision
		if w.TaskNo == 0 && !w.Single {
			continue
		}
		task := &busv1.PeekedTask{
			TaskNo: int32(w.TaskNo), Status: string(w.State), Attempt: w.Attempt, Lost: w.Lost, WorkerId: w.WorkerID[:], StartTime: w.StartedAt, QueueTime: w.QueuedAt,
		}
		if w.State == flow.BackingOff {
			task.RetryTime = w.DueAt
		}
		out.Tasks = append(out.Tasks, task)
	}
	return out
}
