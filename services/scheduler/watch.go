package scheduler

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// Watch sends the run as it is and after each change until it is final; nil is a beat.
func (s *Service) Watch(ctx context.Context, id flow.ID, send func(*RunView) error) error {
	w, err := s.notices.watch(authn.From(ctx).TenantID, []flow.ID{id}, false)
	if err != nil {
		return err
	}
	defer w.stop()
	last := ""
	for {
		v, err := s.Get(ctx, id)
		if err != nil {
			return err
		}
		if now := v.fingerprint(); now != last {
			last = now
			if err := send(v); err != nil {
				return err
			}
		}
		if v.Status().Final() {
			return nil
		}
		if _, err := s.pause(ctx, w, func([]*RunView) error { return send(nil) }); err != nil {
			return err
		}
	}
}

// fingerprint tells whether two views differ for a reader: revisions count what was written, states what memory knows beyond.
func (v *RunView) fingerprint() string {
	out := strconv.AppendInt(nil, v.Revision(), 10)
	for i := range v.Rows {
		out = append(out, ' ')
		out = append(out, v.Rows[i].State...)
		out = strconv.AppendInt(out, v.Rows[i].StartedAt, 10)
	}
	return string(out)
}

// pause waits for a change and says whether there was one; a quiet stream sends a beat, and the caller reads again after it, since a hint may have
// been lost.
func (s *Service) pause(ctx context.Context, w *watcher, send func([]*RunView) error) (said bool, err error) {
	timer := time.NewTimer(s.cfg.Beat)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-w.wake:
		return true, nil
	case <-timer.C:
		return false, send(nil)
	}
}

// Await sends each of the runs once it is final. A worker's task that waits gives its slot back meanwhile, and gets its runs when it has a slot again.
func (s *Service) Await(ctx context.Context, ids []flow.ID, parent *Parent, send func([]*RunView) error) error {
	if err := forTask(ctx, parent, "parent"); err != nil {
		return err
	}
	if parent != nil {
		if err := s.park(ctx, ids, parent, send); err != nil {
			return err
		}
	}
	w, err := s.notices.watch(authn.From(ctx).TenantID, ids, true)
	if err != nil {
		return err
	}
	defer w.stop()
	return s.await(ctx, w, ids, send)
}

// TriggerAndAwait starts a run and answers with it once it is final. The run goes on when ctx ends first; then the answer has its id alone.
func (s *Service) TriggerAndAwait(ctx context.Context, run NewRun) (Triggered, *RunView, error) {
	if run.ID.IsZero() && run.Parent == nil {
		run.ID, run.FirstSend = newID(), true
	}
	// Heard from before the trigger on, a new run need not be read before it has ended.
	w, err := s.notices.watch(authn.From(ctx).TenantID, []flow.ID{run.ID}, true)
	if err != nil {
		return Triggered{}, nil, err
	}
	defer w.stop()
	done, err := s.Trigger(ctx, []NewRun{run})
	if err != nil {
		return Triggered{}, nil, err
	}
	if done[0].Err != nil {
		return done[0], nil, done[0].Err
	}
	var view *RunView
	keep := func(views []*RunView) error {
		for _, v := range views {
			view = v
		}
		return nil
	}
	if done[0].ID != run.ID {
		return done[0], view, s.Await(ctx, []flow.ID{done[0].ID}, nil, keep) // a child: its id is made from its key
	}
	w.fresh = done[0].Created
	err = s.await(ctx, w, []flow.ID{run.ID}, keep)
	return done[0], view, err
}

// await sends the runs that are final, or nothing when none is, and the others when they are. What has just been made is not read before it was said to
// have ended.
func (s *Service) await(ctx context.Context, w *watcher, ids []flow.ID, send func([]*RunView) error) error {
	all, left := len(ids), make(map[flow.ID]bool, len(ids))
	for _, id := range ids {
		left[id] = true
	}
	read := s.views
	if w.fresh {
		ids = nil
	}
	for first := true; ; first = false {
		if err := s.sendFinal(ctx, ids, left, read, send); err != nil || len(left) == 0 {
			return err
		}
		if first && len(left) == all {
			if err := send(nil); err != nil {
				return err
			}
		}
		said, err := s.pause(ctx, w, send)
		if err != nil {
			return err
		}
		read, ids = s.ended, ids[:0:0]
		if !said {
			read = s.views // a hint may have been lost
			for id := range left {
				ids = append(ids, id)
			}
			slices.SortFunc(ids, func(a, b flow.ID) int { return bytes.Compare(a[:], b[:]) })
			continue
		}
		for _, id := range w.takeEnded() {
			if left[id] {
				ids = append(ids, id)
			}
		}
	}
}

// sendFinal reads runs, sends those that are final, and takes them out of left.
func (s *Service) sendFinal(
	ctx context.Context, ids []flow.ID, left map[flow.ID]bool, read func(context.Context, []flow.ID) (map[flow.ID]*RunView, error), send func([]*RunView) error,
) error {
	const most = 200
	for page := range slices.Chunk(ids, most) {
		views, err := read(ctx, page)
		if err != nil {
			return err
		}
		var final []*RunView
		for _, id := range page {
			v := views[id]
			switch {
			case v == nil:
				return runNotFound(id)
			case v.Top().State.Final():
				if err := s.fill(ctx, v); err != nil {
					return err
				}
				final = append(final, v)
				delete(left, id)
			}
		}
		if len(final) > 0 {
			if err := send(final); err != nil {
				return err
			}
		}
	}
	return nil
}

// park lets the owner hold the task without its slot until the runs are final. The owner may change meanwhile: the call is made again, with the same meaning.
func (s *Service) park(ctx context.Context, ids []flow.ID, parent *Parent, send func([]*RunView) error) error {
	req := &busv1.AwaitRuns{Parent: parent.wire()}
	for _, id := range ids {
		req.RunIds = append(req.RunIds, idBytes(id))
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { done <- s.parkUntil(ctx, req) }()
	beat := time.NewTicker(s.cfg.Beat)
	defer beat.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-beat.C:
			if err := send(nil); err != nil {
				cancel()
				<-done //nolint:errcheck // it ends because of the line above
				return err
			}
		}
	}
}

func (s *Service) parkUntil(ctx context.Context, req *busv1.AwaitRuns) error {
	const once = time.Minute
	for {
		attempt, cancel := context.WithTimeout(ctx, once)
		reply, _, err := s.caller.Call(attempt, authn.From(ctx).TenantID, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Await{Await: req}})
		cancel()
		switch {
		case err == nil:
			return toFault(reply.GetAwait().GetError())
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !fault.Is(err, fault.CodeDeadlineExceeded) && !fault.Is(err, fault.CodeUnavailable):
			return err
		}
	}
}
