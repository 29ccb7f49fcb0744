package scheduler

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/payload"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// NewRun is what a caller says of a run.
type NewRun struct {
	ID          flow.ID // zero: the service makes one
	Workflow    string
	Version     int
	Priority    int // negative: the workflow's
	Input       []byte
	FirstSend   bool
	Parent      *Parent
	Traceparent string
	Labels      map[string]string
	// Err is set when the item could not even be read; it is answered with it.
	Err error
}

// Triggered is the answer to one NewRun.
type Triggered struct {
	ID      flow.ID
	Created bool
	Err     error
}

// Ids older or newer than this are refused: partitions and look-ups rely on an id's time being about now.
const (
	oldestID = 24 * time.Hour
	newestID = time.Hour
)

// requestLimit keeps a request to the owner below the bus's limit.
const (
	requestLimit = bus.MaxMessage - (32 << 10)
	requestRuns  = 2000
)

// Trigger starts runs. The answers come in order; a bad item spoils no other.
func (s *Service) Trigger(ctx context.Context, runs []NewRun) ([]Triggered, error) {
	tenant := authn.From(ctx).TenantID
	out := make([]Triggered, len(runs))
	req := &busv1.TriggerRuns{}
	var places []int
	size := 0
	flush := func() error {
		if len(places) == 0 {
			return nil
		}
		err := s.sendTriggers(ctx, tenant, req, places, out)
		req, places, size = &busv1.TriggerRuns{}, nil, 0
		return err
	}
	for i := range runs {
		item, err := s.prepare(ctx, tenant, &runs[i])
		out[i] = Triggered{ID: runs[i].ID, Err: err}
		if err != nil {
			continue
		}
		const overhead = 300
		more := len(item.GetInput().GetJson()) + len(item.GetLabels()) + overhead
		if size+more > requestLimit || len(places) >= requestRuns {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		size += more
		req.Runs = append(req.Runs, item)
		places = append(places, i)
	}
	return out, flush()
}

func (s *Service) sendTriggers(ctx context.Context, tenant int64, req *busv1.TriggerRuns, places []int, out []Triggered) error {
	reply, _, err := s.caller.Call(ctx, tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Trigger{Trigger: req}})
	if err != nil {
		return err
	}
	answers := reply.GetTrigger().GetRuns()
	if len(answers) != len(places) {
		return fault.Internal(errors.New("owner answered another number of runs"), "the scheduler gave an answer that does not fit: send the same call again")
	}
	for j, a := range answers {
		id, err := flow.IDFromBytes(a.GetRunId())
		if err != nil {
			return fault.Internal(err, "the scheduler gave an answer that cannot be read")
		}
		out[places[j]] = Triggered{ID: id, Created: a.GetCreated(), Err: toFault(a.GetError())}
	}
	return nil
}

// prepare checks one item and writes its payload, if that is too large to travel.
func (s *Service) prepare(ctx context.Context, tenant int64, r *NewRun) (*busv1.TriggerRun, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	if err := forTask(ctx, r.Parent, "run.parent"); err != nil {
		return nil, err
	}
	if r.Parent != nil && r.Parent.Key == "" {
		return nil, fault.InvalidField("run.parent.child_key", "a child needs a key that is unique among its parent's children")
	}
	fresh := r.FirstSend
	if r.ID.IsZero() {
		r.ID, fresh = newID(), true
	} else if err := checkID(r.ID); err != nil {
		return nil, err
	}
	if len(r.Input) == 0 {
		r.Input = []byte("null")
	}
	if err := payload.Check(r.Input, s.cfg.PayloadLimit); err != nil {
		return nil, inField(err, "run.input_json")
	}
	plan, err := s.cfg.Workflows.Resolve(ctx, tenant, r.Workflow, r.Version)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Workflows.CheckInput(ctx, tenant, plan, r.Input); err != nil {
		return nil, err
	}
	labels := encodeLabels(r.Labels)
	hash := requestHash(tenant, r, plan.WorkflowID, labels)
	priority := r.Priority
	if priority < 0 {
		priority = plan.Workflow.Priority
	}
	input, err := s.store(ctx, tenant, plan.Workflow.Class, r.Input)
	if err != nil {
		return nil, err
	}
	return &busv1.TriggerRun{
		RunId: idBytes(r.ID), RequestHash: hash, Fresh: fresh, WorkflowId: plan.WorkflowID, WorkflowVersion: int32(plan.Version), Priority: int32(priority), //nolint:gosec // capped at 10,000; 0 to 9
		Input: input, Parent: r.Parent.wire(), Traceparent: r.Traceparent, Labels: labels,
	}, nil
}

// store writes a large payload before the request that names it. Nothing refers to it if the request fails; it goes with its partition.
func (s *Service) store(ctx context.Context, tenant int64, class flow.Class, body []byte) (*busv1.Payload, error) {
	if len(body) <= payload.InlineLimit {
		return &busv1.Payload{Json: bytes.TrimSpace(body), Size: int64(len(body))}, nil
	}
	id := newID()
	err := schedulerq.New(s.cfg.Pool).InsertPayload(ctx, schedulerq.InsertPayloadParams{TenantID: tenant, Class: int16(class), ID: id, Body: body})
	if err != nil {
		return nil, pg.Fault(err)
	}
	return &busv1.Payload{Ref: idBytes(id), Size: int64(len(body))}, nil
}

func checkID(id flow.ID) error {
	if id.Version() != 7 {
		return fault.InvalidField("run.run_id", "the id is no UUIDv7: make one at the time of the call, or leave it out")
	}
	if age := time.Since(id.Time()); age > oldestID || age < -newestID {
		return fault.InvalidField("run.run_id", "the id was made at %s; it must be from the last 24 hours and at most 1 hour ahead: check the clock, or leave it out", id.Time().Format(time.RFC3339))
	}
	return nil
}

// inField names the field that a payload's fault is about.
func inField(err error, path string) error {
	f := fault.Of(err)
	if f.Code != fault.CodeInvalid {
		return err
	}
	return fault.Invalid(f.Reason, "the request is not valid", fault.Field{Path: path, Message: f.Message})
}
