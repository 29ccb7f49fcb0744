package scheduler

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// Cancel ends a run and the open runs that its tasks have started, and answers with the run as it is then.
func (s *Service) Cancel(ctx context.Context, id flow.ID, reason string, parent *Parent) (*RunView, error) {
	if err := forTask(ctx, parent, "parent"); err != nil {
		return nil, err
	}
	if err := s.cancel(ctx, id, reason, parent); err != nil {
		return nil, inRun(err, id)
	}
	return s.Get(ctx, id)
}

// maxDepth bounds how far down a cancel follows children of children.
const maxDepth = 100

func (s *Service) cancel(ctx context.Context, id flow.ID, reason string, parent *Parent) error {
	tenant := authn.From(ctx).TenantID
	level := []flow.ID{id}
	for depth := 0; len(level) > 0 && depth < maxDepth; depth++ {
		var next []flow.ID
		for _, run := range level {
			reply, _, err := s.caller.Call(ctx, tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Cancel{Cancel: &busv1.CancelRun{RunId: idBytes(run), Reason: reason, Parent: parent.wire()}}})
			if err != nil {
				return err
			}
			if err := toFault(reply.GetRun().GetError()); err != nil {
				if run != id && fault.Is(err, fault.CodeNotFound) {
					continue
				}
				return err
			}
			children, err := s.openChildren(ctx, tenant, run)
			if err != nil {
				return err
			}
			next = append(next, children...)
		}
		level, parent = next, nil // the children's own parents are being stopped; the first check was the one that counts
	}
	return nil
}

func (s *Service) openChildren(ctx context.Context, tenant int64, id flow.ID) (ids []flow.ID, err error) {
	const most = 10_000
	err = pg.InTenant(ctx, s.cfg.Pool, tenant, func(tx pgx.Tx) error {
		ids, err = schedulerq.New(tx).OpenChildren(ctx, schedulerq.OpenChildrenParams{TenantID: tenant, ParentRunID: id, PageSize: most})
		return err
	})
	return ids, pg.Fault(err)
}

// Replay runs a final run's tasks again as a new generation.
func (s *Service) Replay(ctx context.Context, id flow.ID, tasks []string) (*RunView, error) {
	if err := s.replay(ctx, id, tasks); err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

func (s *Service) replay(ctx context.Context, id flow.ID, tasks []string) error {
	tenant := authn.From(ctx).TenantID
	reply, _, err := s.caller.Call(ctx, tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Replay{Replay: &busv1.ReplayRun{RunId: idBytes(id), Tasks: tasks}}})
	if err != nil {
		return err
	}
	return inRun(toFault(reply.GetRun().GetError()), id)
}

// inRun names the run that the engine could not find.
func inRun(err error, id flow.ID) error {
	if fault.Is(err, fault.CodeNotFound) {
		return runNotFound(id)
	}
	return err
}

// bulkWidth is how many runs of a bulk call are under way at a time: enough that their commits are shared, few enough that others get their turn.
const bulkWidth = 16

// CancelMany ends several runs, and answers for each in order.
func (s *Service) CancelMany(ctx context.Context, ids []flow.ID, reason string) ([]error, error) {
	if authn.From(ctx).Kind == authn.KindWorker {
		return nil, fault.PermissionDenied("PARENT_REQUIRED", "a worker token may only cancel a child of a task that its worker is running, with CancelRun; use an API token")
	}
	return each(ids, func(id flow.ID) error { return inRun(s.cancel(ctx, id, reason, nil), id) }), nil
}

// ReplayMany runs several final runs again, and answers for each in order.
func (s *Service) ReplayMany(ctx context.Context, ids []flow.ID) []error {
	return each(ids, func(id flow.ID) error { return s.replay(ctx, id, nil) })
}

// each does the same to every id, some at a time. A zero id has been refused already.
func each(ids []flow.ID, do func(flow.ID) error) []error {
	out := make([]error, len(ids))
	var wg sync.WaitGroup
	turns := make(chan struct{}, bulkWidth)
	for i, id := range ids {
		if id.IsZero() {
			continue
		}
		turns <- struct{}{}
		wg.Go(func() {
			out[i] = do(id)
			<-turns
		})
	}
	wg.Wait()
	return out
}
