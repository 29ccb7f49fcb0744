package dispatcher

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// The reasons of faults about sessions.
const (
	ReasonSessionUnknown    = "SESSION_UNKNOWN"
	ReasonSessionStale      = "SESSION_STALE"
	ReasonSessionSuperseded = "SESSION_SUPERSEDED"
	ReasonWorkerSilent      = "WORKER_SILENT"
	ReasonShuttingDown      = "SHUTTING_DOWN"
)

// session is one open stream of a worker. What follows cancel is guarded by the worker's mutex.
type session struct {
	worker   *worker
	number   int64
	ctx      context.Context // ends with the stream, with the reason as its cause
	cancel   context.CancelCauseFunc
	wake     chan struct{} // has room for one token
	replaced int64         // the session that this one took over from, 0: none

	shard     int32          // the tenant's, as the owner named it at the last attachment
	epoch     int64          // what it is attached to; 0 while it is being attached
	wanted    int64          // the newest epoch that has asked for it
	pending   []pendingOrder // came while it was being attached
	pendingNo int            // assignments among them
	out       outbox
	drainTold bool
	leaving   bool // the process stops
	ended     bool
}

// pendingOrder waits for the epoch to be known.
type pendingOrder struct {
	epoch int64
	order *busv1.SessionOrder
}

// outbox is what waits for the stream to be free.
type outbox struct {
	assignments []*workersv1.Assignment
	cancels     []*workersv1.Cancel
	withdrawals [][]byte
	bytes       int // of the assignments
	stop        bool
}

// maxQueuedBytes bounds the assignments that wait for one stream. An owner withdraws and offers anew what is dropped beyond it.
const maxQueuedBytes = 64 << 20

// remove takes an assignment back that has not left, and reports whether it was there.
func (o *outbox) remove(id flow.ID) bool {
	for i, a := range o.assignments {
		if flow.ID(a.GetAssignmentId()) == id {
			o.assignments = append(o.assignments[:i:i], o.assignments[i+1:]...)
			o.bytes -= proto.Size(a)
			return true
		}
	}
	return false
}

// frames cuts what waits into messages of at most MaxFrame, assignments first.
func (o *outbox) frames() []*workersv1.ListenResponse {
	var frames []*workersv1.ListenResponse
	frame, size := &workersv1.ListenResponse{}, 0
	room := func(more int) *workersv1.ListenResponse {
		more += 8 // tag and length
		if size > 0 && size+more > MaxFrame {
			frames = append(frames, frame)
			frame, size = &workersv1.ListenResponse{}, 0
		}
		size += more
		return frame
	}
	for _, a := range o.assignments {
		to := room(proto.Size(a))
		to.Assignments = append(to.Assignments, a)
	}
	for _, c := range o.cancels {
		to := room(proto.Size(c))
		to.Cancels = append(to.Cancels, c)
	}
	for _, id := range o.withdrawals {
		to := room(len(id))
		to.Withdrawals = append(to.Withdrawals, id)
	}
	if o.stop {
		room(0).Stop = true
	}
	if size > 0 {
		frames = append(frames, frame)
	}
	return frames
}

// roomFor is how many undelivered assignments may wait: an owner fills slots, so twice their number is more than it ever sends.
func (ses *session) roomFor() int { return int(ses.worker.slots)*2 + 16 }

func (ses *session) signal() {
	select {
	case ses.wake <- struct{}{}:
	default:
	}
}

// open makes a session the worker's current one and ends an older.
func (s *Service) open(ctx context.Context, w *worker, caller Caller, number int64, held []*assignment) (*session, error) {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil, errStopping()
	}
	s.streams.Add(1)
	s.mu.Unlock()

	w.mu.Lock()
	if number <= w.number {
		newest := w.number
		w.mu.Unlock()
		s.streams.Done()
		return nil, fault.Aborted(ReasonSessionStale,
			"session %d of worker %s is not newer than its session %d: listen again with a higher number", number, w.publicID(), newest)
	}
	older := w.session
	ses := &session{worker: w, number: number, wake: make(chan struct{}, 1)}
	ses.ctx, ses.cancel = context.WithCancelCause(ctx)
	now := s.cfg.Now()
	w.number, w.session, w.token, w.heard, w.draining = number, ses, caller.TokenID, now, false
	dropped := w.bring(held)
	if older != nil {
		ses.replaced = older.number
		older.ended = true
	}
	w.mu.Unlock()
	if older != nil {
		older.cancel(errSuperseded(older))
	}
	for _, a := range dropped {
		s.finished.add(w, a, now)
	}
	return ses, nil
}

func errStopping() error {
	return fault.Unavailable(ReasonShuttingDown, "this server is stopping; listen again, at another one")
}

func errSuperseded(ses *session) error {
	return fault.Aborted(ReasonSessionSuperseded, "a newer session of worker %s is open, session %d has ended", ses.worker.publicID(), ses.number)
}

// close ends a session and, unless a newer one has its place, tells the owner: the grace begins, or the worker is gone.
func (s *Service) close(ses *session, cause error) {
	w := ses.worker
	w.mu.Lock()
	if ses.ended {
		w.mu.Unlock()
		return
	}
	ses.ended = true
	if w.session == ses {
		w.session = nil
	}
	attached := ses.epoch != 0
	gone := fault.HasReason(cause, ReasonWorkerSilent) || w.draining && len(w.sent) == 0 && !ses.leaving
	w.mu.Unlock()
	ses.cancel(cause)
	if fault.HasReason(cause, ReasonSessionSuperseded) {
		return
	}
	s.loseSession(w, ses.number, gone)
	if !attached && ses.replaced != 0 {
		s.loseSession(w, ses.replaced, false) // The owner may never have heard of the newer one.
	}
	s.cfg.Log.Info("dispatcher: session ended", "tenant", w.tenant, "worker", w.publicID(), "session", ses.number, "gone", gone, "cause", fault.Detail(cause))
}

func (s *Service) loseSession(w *worker, number int64, gone bool) {
	s.tell(w, &busv1.ShardRequest{TenantId: w.tenant, Kind: &busv1.ShardRequest_LoseSession{
		LoseSession: &busv1.LoseSession{WorkerId: w.id[:], Session: number, Gone: gone},
	}})
}

// tell sends an owner news beside the calls. When no owner answers in time the news is lost, and the next owner's census makes up for it.
func (s *Service) tell(w *worker, request *busv1.ShardRequest) {
	s.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
		defer cancel()
		if _, _, err := s.cfg.Owners.Call(ctx, w.tenant, request); err != nil {
			s.cfg.Log.Warn("dispatcher: the shard's owner was not told about a worker", "tenant", w.tenant, "worker", w.publicID(), "error", fault.Detail(err))
		}
	})
}
