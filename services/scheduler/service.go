package scheduler

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Service answers callers in any process: it checks, asks the shard's owner, and reads rows.
type Service struct {
	cfg     Config
	caller  lease.Caller
	log     *slog.Logger
	notices *notices
	ready   chan struct{} // closed when Run has looked for shards for the first time
}

// New makes a scheduler. Run owns shards; without it the service still answers, through the owners in other processes.
func New(cfg Config) (*Service, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Service{
		cfg: cfg, caller: lease.Caller{Bus: cfg.Bus, Directory: lease.NewDirectory(cfg.Pool)}, log: cfg.Log,
		notices: &notices{bus: cfg.Bus, tenants: make(map[int64]*heard)}, ready: make(chan struct{}),
	}, nil
}

// Run takes the process's share of the shards and works them until the context ends; then it hands them over. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	moves, err := s.cfg.Bus.Subscribe(SubjectSessionsWanted, s.moved)
	if err != nil {
		return fmt.Errorf("hear of new owners of shards: %w", err)
	}
	defer moves.Stop()
	return newOwner(s.cfg, s.ready).run(ctx)
}

// moved hears of a new owner: this process's calls go there.
func (s *Service) moved(msg bus.Msg) {
	var wanted busv1.SessionsWanted
	if err := proto.Unmarshal(msg.Data, &wanted); err != nil {
		s.log.Warn("scheduler: a call for sessions cannot be read", "error", err)
		return
	}
	s.caller.Moved(wanted.GetShard(), wanted.GetEpoch())
}

// Ready tells whether Run has taken its share of the shards.
func (s *Service) Ready(context.Context) error {
	select {
	case <-s.ready:
		return nil
	default:
		return fault.Unavailable("SCHEDULER_STARTING", "the scheduler has not taken its shards yet")
	}
}

// Parent is the running task that a worker acts for.
type Parent struct {
	RunID      flow.ID
	Task       string
	Assignment flow.ID
	Key        string
}

func (p *Parent) wire() *busv1.Parent {
	if p == nil {
		return nil
	}
	return &busv1.Parent{RunId: idBytes(p.RunID), Task: p.Task, AssignmentId: idBytes(p.Assignment), ChildKey: p.Key}
}

// forTask holds a worker to what it may do: act for a task that it is running.
func forTask(ctx context.Context, parent *Parent, field string) error {
	if authn.From(ctx).Kind == authn.KindWorker && parent == nil {
		return fault.PermissionDenied("PARENT_REQUIRED", "a worker token may only do this for a task that its worker is running: set %s, or use an API token", field)
	}
	return nil
}

func newID() flow.ID {
	id, err := uuid.NewV7()
	if err != nil {
		panic("no randomness: " + err.Error()) // crypto/rand itself ends the process then
	}
	return flow.ID(id)
}

// requestHash tells two calls with one id apart: it covers everything the caller said of the run.
func requestHash(tenant int64, r *NewRun, workflowID int64, labels []byte) []byte {
	h := sha256.New()
	var n [8]byte
	number := func(v int64) {
		binary.BigEndian.PutUint64(n[:], uint64(v)) //nolint:gosec // bits for a hash
		h.Write(n[:])
	}
	number(tenant)
	number(workflowID)
	number(int64(r.Version))
	number(int64(r.Priority))
	h.Write(r.Input)
	if labels != nil { // of a run without any the hash is what it was before there were labels
		h.Write(labels)
		number(int64(len(labels)))
	}
	return h.Sum(nil)[:16]
}

// toFault makes the owner's refusal an error again.
func toFault(e *runsv1.ItemError) error {
	if e == nil {
		return nil
	}
	out := fault.New(fault.ParseCode(e.GetCode()), e.GetReason(), "%s", e.GetMessage())
	if e.GetField() != "" {
		out.Fields = []fault.Field{{Path: e.GetField(), Message: e.GetMessage()}}
	}
	return out
}
