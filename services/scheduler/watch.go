package scheduler

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// watcher wakes when one of its runs has changed. Notices are hints: whoever waits reads, and reads again now and then.
type watcher struct {
	sub  bus.Subscription
	wake chan struct{}
}

func (s *Service) watch(tenant int64, ids []flow.ID) (*watcher, error) {
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[string(id[:])] = true
	}
	w := &watcher{wake: make(chan struct{}, 1)}
	sub, err := s.cfg.Bus.Subscribe(subjectNotices+strconv.FormatInt(tenant, 10), func(m bus.Msg) {
		notices := new(busv1.RunNotices)
		if proto.Unmarshal(m.Data, notices) != nil {
			return
		}
		for _, n := range notices.GetRuns() {
			if wanted[string(n.GetRunId())] {
				select {
				case w.wake <- struct{}{}:
				default:
				}
				return
			}
		}
	})
	w.sub = sub
	return w, err
}

// Watch sends the run as it is and after each change until it is final; nil is a beat.
func (s *Service) Watch(ctx context.Context, id flow.ID, send func(*RunView) error) error {
	w, err := s.watch(authn.From(ctx).TenantID, []flow.ID{id})
	if err != nil {
		return err
	}
	defer w.sub.Stop()
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
		if err := s.pause(ctx, w, func() error { return send(nil) }); err != nil {
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

// pause waits for a change; a quiet stream sends a beat, and the caller reads again after it, since a hint may have been lost.
func (s *Service) pause(ctx context.Context, w *watcher, beat func() error) error {
	timer := time.NewTimer(s.cfg.Beat)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.wake:
		return nil
	case <-timer.C:
		return beat()
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
	w, err := s.watch(authn.From(ctx).TenantID, ids)
	if err != nil {
		return err
	}
	defer w.sub.Stop()
	left := ids
	for {
		if left, err = s.sendFinal(ctx, left, send); err != nil || len(left) == 0 {
			return err
		}
		if err := s.pause(ctx, w, func() error { return send(nil) }); err != nil {
			return err
		}
	}
}

// sendFinal sends the runs that are final and answers with the others.
func (s *Service) sendFinal(ctx context.Context, ids []flow.ID, send func([]*RunView) error) ([]flow.ID, error) {
	const page = 200
	var left []flow.ID
	for len(ids) > 0 {
		n := min(page, len(ids))
		views, err := s.views(ctx, ids[:n])
		if err != nil {
			return nil, err
		}
		var final []*RunView
		for _, id := range ids[:n] {
			v := views[id]
			switch {
			case v == nil:
				return nil, runNotFound(id)
			case !v.Top().State.Final():
				left = append(left, id)
			default:
				if err := s.fill(ctx, v); err != nil {
					return nil, err
				}
				final = append(final, v)
			}
		}
		if len(final) > 0 {
			if err := send(final); err != nil {
				return nil, err
			}
		}
		ids = ids[n:]
	}
	return left, nil
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
