package scheduler

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// inlineLimit is how many payload bytes an assignment carries; the rest the worker fetches by reference.
const inlineLimit = 256 << 10

// orderLimit keeps a message to a dispatcher below the bus's limit.
const orderLimit = bus.MaxMessage - (64 << 10)

// fencedShards reads the shards that the fence's message names.
func fencedShards(err error) []int32 {
	var out []int32
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		for name := range strings.SplitSeq(pgErr.Message, ",") {
			if id, err := strconv.ParseInt(name, 10, 32); err == nil {
				out = append(out, int32(id))
			}
		}
	}
	return out
}

// letOut releases a batch that is durable: answers, orders and notices in step order, then what the engine asked to see.
func (o *owner) letOut(ctx context.Context, b *batch) {
	for _, p := range b.parts {
		if p.shard.dropped {
			continue
		}
		out := outbox{owner: o, shard: p.shard, orders: make(map[string]*busv1.DispatcherOrder), notices: make(map[int64]*busv1.RunNotices)}
		for _, e := range p.effects {
			out.effect(e)
		}
		out.send()
		for _, ask := range p.asks {
			o.look(ctx, p.shard, ask)
		}
	}
	for _, p := range b.parts {
		if len(p.changes) > 0 && !p.shard.dropped && !p.shard.leaving {
			o.step(p.shard, []engine.Input{&engine.Committed{Seq: p.seq}})
		}
	}
}

// outbox gathers one shard's effects by receiver, so that each gets one message.
type outbox struct {
	owner     *owner
	shard     *shard
	orders    map[string]*busv1.DispatcherOrder
	sizes     map[string]int
	receivers []string
	notices   map[int64]*busv1.RunNotices
	tenants   []int64
}

func (x *outbox) effect(e engine.Effect) {
	switch e := e.(type) {
	case *engine.TriggerReply:
		x.owner.reply(e.To, e)
	case *engine.Reply:
		x.owner.reply(e.To, e)
	case *engine.SessionsReply:
		x.owner.reply(e.To, e)
	case *engine.VerdictReply:
		x.owner.reply(e.To, e)
	case *engine.PeekReply:
		x.owner.reply(e.To, e)
	case *engine.SurveyReply:
		e.Notices, e.Epoch = x.shard.notices[e.Tenant], x.shard.epoch
		x.owner.reply(e.To, e)
	case *engine.Assign:
		order := x.session(e.SessionName, assignSize(e))
		order.Assignments = append(order.Assignments, ordered(e))
	case *engine.Stop:
		order := x.session(e.SessionName, 0)
		order.Cancels = append(order.Cancels, &busv1.OrderedCancel{AssignmentId: e.Assignment[:], Reason: e.Reason})
	case *engine.Withdraw:
		order := x.session(e.SessionName, 0)
		order.Withdrawals = append(order.Withdrawals, e.Assignment[:])
	case *engine.Close:
		x.session(e.SessionName, 0).Close = true
	case *engine.Notice:
		x.notice(e)
	case *engine.WorkersNotice:
		x.noticesOf(e.Tenant).Workers = true
	}
}

// noticesOf is what readers of a tenant will hear.
func (x *outbox) noticesOf(tenant int64) *busv1.RunNotices {
	n := x.notices[tenant]
	if n == nil {
		n = &busv1.RunNotices{TenantId: tenant, Epoch: x.shard.epoch}
		x.notices[tenant] = n
		x.tenants = append(x.tenants, tenant)
	}
	return n
}

func (x *outbox) notice(e *engine.Notice) {
	n := x.noticesOf(e.Tenant)
	n.Runs = append(n.Runs, &busv1.RunNotice{RunId: e.ID[:], Revision: e.Revision, Final: e.Final, WorkflowId: e.Workflow})
	const most = 8000 // some 30 bytes each
	if len(n.Runs) >= most {
		x.sendNotices(n)
		n.Runs, n.Workers = nil, false
	}
}

// session finds the order that goes to a session; a message that grows too large leaves first.
func (x *outbox) session(name engine.SessionName, size int) *busv1.SessionOrder {
	order := x.orders[name.Dispatcher]
	if order != nil && x.sizes[name.Dispatcher]+size > orderLimit {
		x.publish(subjectDispatcher+name.Dispatcher, order)
		order.Sessions, x.sizes[name.Dispatcher] = nil, 0
	}
	if order == nil {
		order = &busv1.DispatcherOrder{Shard: x.shard.id, Epoch: x.shard.epoch}
		x.orders[name.Dispatcher] = order
		x.receivers = append(x.receivers, name.Dispatcher)
		if x.sizes == nil {
			x.sizes = make(map[string]int)
		}
	}
	const overhead = 200
	x.sizes[name.Dispatcher] += size + overhead
	i := slices.IndexFunc(order.Sessions, func(s *busv1.SessionOrder) bool {
		return s.GetSession() == name.Session && s.GetOpening() == name.Opening && s.GetTenantId() == name.Tenant && string(s.GetWorkerId()) == string(name.Worker[:])
	})
	if i >= 0 {
		return order.Sessions[i]
	}
	s := &busv1.SessionOrder{TenantId: name.Tenant, WorkerId: name.Worker[:], Session: name.Session, Opening: name.Opening}
	order.Sessions = append(order.Sessions, s)
	return s
}

func (x *outbox) send() {
	for _, name := range x.receivers {
		x.publish(subjectDispatcher+name, x.orders[name])
	}
	for _, tenant := range x.tenants {
		if n := x.notices[tenant]; len(n.Runs) > 0 || n.Workers {
			x.sendNotices(n)
		}
	}
}

// sendNotices numbers a tenant's notices: whoever misses a message finds that out with the next.
func (x *outbox) sendNotices(n *busv1.RunNotices) {
	if x.shard.notices == nil {
		x.shard.notices = make(map[int64]int64)
	}
	x.shard.notices[n.GetTenantId()]++
	n.Number = x.shard.notices[n.GetTenantId()]
	x.publish(subjectNotices+strconv.FormatInt(n.GetTenantId(), 10), n)
}

func (x *outbox) publish(subject string, m proto.Message) {
	data, err := proto.Marshal(m)
	if err == nil {
		err = x.owner.cfg.Bus.Publish(subject, data)
	}
	if err != nil {
		// A hint that is lost is found again: unacknowledged assignments are withdrawn, readers read again.
		x.owner.log.Warn("scheduler: message not sent", "subject", subject, "error", err)
	}
}

func (o *owner) reply(to engine.Ref, e engine.Effect) {
	c := o.calls[to.Call]
	if c == nil || c.replies[to.Index] != nil {
		return
	}
	c.replies[to.Index] = e
	if c.left--; c.left == 0 {
		delete(o.calls, to.Call)
		c.done <- nil
	}
}

func assignSize(e *engine.Assign) int {
	size := len(e.Input.Inline)
	for _, p := range e.Parents {
		size += len(p.Output.Inline)
	}
	return min(size, inlineLimit)
}

// ordered writes an assignment. Payloads beyond the inline limit are named, and fetched by the worker.
func ordered(e *engine.Assign) *busv1.OrderedAssignment {
	out := &busv1.OrderedAssignment{
		AssignmentId: e.Assignment[:], RunId: e.Run[:], TaskNo: e.TaskNo, Generation: e.Generation, Attempt: e.Attempt,
		WorkflowId: e.Plan.WorkflowID, WorkflowVersion: int32(e.Plan.Version), Input: wirePayload(e.Input), ExecutionTimeout: e.Timeout, //nolint:gosec // at most 10,000
		Traceparent: e.Trace, Class: int32(e.Class), Workflow: e.Plan.Workflow.Name, Task: e.Plan.Workflow.Tasks[e.TaskNo-1].Name,
	}
	for _, p := range e.Parents {
		out.Parents = append(out.Parents, &busv1.OrderedParent{Task: p.Task, Output: wirePayload(p.Output)})
	}
	return out
}

func wirePayload(p engine.Payload) *busv1.Payload {
	out := &busv1.Payload{Json: p.Inline, Size: int64(len(p.Inline))}
	if !p.Ref.IsZero() {
		out.Ref = slices.Clone(idBytes(p.Ref))
	}
	return out
}

func idBytes(id flow.ID) []byte { return id[:] }
