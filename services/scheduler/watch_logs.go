package scheduler

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

const (
	subjectLogs = "tenon.logs."
	// logRest is how long a final run's log has to be quiet before it is taken to be whole: its worker sends the last lines beside the result.
	logRest = time.Second
	// logOverlap is how far before its place a stream that broke begins again: lines of tasks side by side arrive out of order by this much.
	logOverlap = 10 * time.Second
	logPage    = 500
)

// LogLines is one message of a tail; without lines it is a beat. At is the time of the newest line so far, for a stream that goes on.
type LogLines struct {
	Lines []LogLine
	At    int64
}

// tail follows one run's log.
type tail struct {
	svc    *Service
	id     flow.ID
	filter LogPage
	wake   chan struct{}
	newest int64             // time of the newest line sent
	sent   map[lineKey]int64 // their times

	mu   sync.Mutex
	from int64 // since when new lines have been stored; 0: none
}

// lineKey tells a line from all others of its run.
type lineKey struct {
	assignment flow.ID
	sequence   int64
}

// sentLines bounds what a tail remembers of what it has sent; a line that comes late, behind more than these, may bring others along a second time.
const sentLines = 20_000

// WatchLogs sends a run's lines as they are stored, from a time on, and ends when the run is final and its log has come to rest.
func (s *Service) WatchLogs(ctx context.Context, id flow.ID, filter LogPage, send func(LogLines) error) error {
	tenant := authn.From(ctx).TenantID
	t := &tail{svc: s, id: id, filter: filter, wake: make(chan struct{}, 1), newest: filter.AfterTime, sent: make(map[lineKey]int64)}
	sub, err := s.cfg.Bus.Subscribe(subjectLogs+strconv.FormatInt(tenant, 10), t.hear)
	if err != nil {
		return err
	}
	defer sub.Stop()
	w, err := s.notices.watch(tenant, []flow.ID{id}, false)
	if err != nil {
		return err
	}
	defer w.stop()
	from := max(0, filter.AfterTime-logOverlap.Microseconds())
	for {
		v, err := s.view(ctx, id) // before the lines are read: those that a final run still gets are waited for below
		if err != nil {
			return err
		}
		found, err := t.read(ctx, v, from, send)
		if err != nil {
			return err
		}
		said, err := t.rest(ctx, w, v.Status().Final(), send)
		if err != nil {
			return err
		}
		if v.Status().Final() && !said && !found {
			return nil
		}
		from = t.since()
	}
}

// hear notes that the run has new lines.
func (t *tail) hear(m bus.Msg) {
	said := new(busv1.LogNotices)
	if proto.Unmarshal(m.Data, said) != nil {
		return // a hint at most is lost
	}
	for _, n := range said.GetRuns() {
		if string(n.GetRunId()) != string(t.id[:]) {
			continue
		}
		t.mu.Lock()
		if t.from == 0 || n.GetFrom() < t.from {
			t.from = n.GetFrom()
		}
		t.mu.Unlock()
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// since is where the lines begin that were stored since it was last asked; after a hint that was lost, a while before the newest line.
func (t *tail) since() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.from
	t.from = 0
	if from == 0 {
		from = max(0, t.newest-logOverlap.Microseconds())
	}
	return from
}

// read sends what has been stored from a time on and was not sent before.
func (t *tail) read(ctx context.Context, v *RunView, from int64, send func(LogLines) error) (found bool, err error) {
	page := t.filter
	page.AfterTime, page.AfterAssignment, page.AfterSequence, page.PageSize = from, flow.ID{}, 0, logPage
	for {
		lines, next, err := t.svc.logs(ctx, v, page)
		if err != nil {
			return found, err
		}
		var fresh []LogLine
		for i := range lines {
			l := &lines[i]
			key := lineKey{l.Assignment, l.Sequence}
			if _, known := t.sent[key]; known {
				continue
			}
			t.sent[key] = l.At
			t.newest = max(t.newest, l.At)
			fresh = append(fresh, *l)
		}
		if len(fresh) > 0 {
			found = true
			if err := send(LogLines{fresh, t.newest}); err != nil {
				return found, err
			}
		}
		if next == nil {
			t.forget()
			return found, nil
		}
		page.AfterTime, page.AfterAssignment, page.AfterSequence = next.AfterTime, next.AfterAssignment, next.AfterSequence
	}
}

// forget keeps what is sent of the last moments when it has become too much.
func (t *tail) forget() {
	if len(t.sent) > sentLines {
		maps.DeleteFunc(t.sent, func(_ lineKey, at int64) bool { return at < t.newest-logOverlap.Microseconds() })
	}
}

// rest waits for new lines, and of an open run for a change as well; it says whether there were any. A quiet log sends a beat and is read again.
func (t *tail) rest(ctx context.Context, w *watcher, final bool, send func(LogLines) error) (said bool, err error) {
	patience := t.svc.cfg.Beat
	if final {
		patience = logRest
	}
	timer := time.NewTimer(readPause) // what comes in one burst is read at once
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-timer.C:
	}
	timer.Reset(patience)
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-t.wake:
		return true, nil
	case <-w.wake:
		return true, nil
	case <-timer.C:
		return false, send(LogLines{At: t.newest})
	}
}
