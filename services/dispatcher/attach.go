package dispatcher

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Waits between tries to attach a session again.
const (
	attachWait    = 50 * time.Millisecond
	attachWaitMax = 2 * time.Second
)

// attach ties a session to its shard's present owner. With again set it goes on through an owner's absence, since the stream is open and the
// worker keeps its work; the first attachment fails instead, and the worker listens anew.
func (s *Service) attach(ctx context.Context, ses *session, again bool) error {
	wait := attachWait
	for {
		err := s.attachOnce(ctx, ses)
		if err == nil {
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		transient := fault.Is(err, fault.CodeUnavailable) || fault.Is(err, fault.CodeDeadlineExceeded)
		if !transient || !again && !fault.HasReason(err, reasonEarlierOwner) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		wait = min(wait*2, attachWaitMax)
	}
}

// reasonEarlierOwner is given when an owner answered whose successor has already asked for the session.
const reasonEarlierOwner = "EARLIER_OWNER"

func (s *Service) attachOnce(ctx context.Context, ses *session) error {
	request := s.openRequest(ses)
	if size := proto.Size(request); size > bus.MaxMessage {
		return fault.ResourceExhausted("SESSION_TOO_LARGE",
			"the worker's actions and held assignments take %d bytes, a session has room for %d: register fewer actions or slots", size, bus.MaxMessage)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	reply, epoch, err := s.cfg.Owners.Call(ctx, ses.worker.tenant, request)
	if err != nil {
		return fault.Of(err)
	}
	if item := reply.GetSession().GetError(); item != nil {
		return itemFault(item)
	}
	if named := reply.GetSession().GetEpoch(); named != 0 {
		epoch = named
	}
	if epoch == 0 {
		return fault.Unavailable("NO_EPOCH", "the shard's owner answered without its epoch; listen again")
	}
	return s.attached(ses, reply.GetSession().GetShard(), epoch)
}

// openRequest snapshots the worker's table. What came from an owner since the last try is thrown away: that owner does not find it in the
// list, and offers it anew.
func (s *Service) openRequest(ses *session) *busv1.ShardRequest {
	w := ses.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	ses.pending, ses.pendingNo = nil, 0
	return &busv1.ShardRequest{TenantId: w.tenant, Kind: &busv1.ShardRequest_OpenSession{OpenSession: &busv1.OpenSession{
		WorkerId: w.id[:], Session: ses.number, Dispatcher: s.cfg.Instance, Actions: w.actions, Queues: w.queues, Slots: w.slots,
		Draining: w.draining || w.wanted == wantedDrain, Paused: w.wanted == wantedPause, Held: w.held(s.cfg.Now()),
	}}}
}

func (s *Service) attached(ses *session, shard int32, epoch int64) error {
	w := ses.worker
	w.mu.Lock()
	if epoch < max(ses.wanted, s.wanted(shard)) {
		w.mu.Unlock()
		return fault.Unavailable(reasonEarlierOwner, "the shard of worker %s has just changed its owner", w.publicID())
	}
	ses.shard, ses.epoch = shard, epoch
	var never []*assignment
	closing := false
	for _, p := range ses.pending {
		if p.epoch == epoch {
			never = append(never, ses.apply(p.order)...)
			closing = closing || p.order.GetClose()
		}
	}
	ses.pending, ses.pendingNo = nil, 0
	ses.signal()
	w.mu.Unlock()
	s.neverLeft(w, ses.number, never)
	if closing {
		return errSuperseded(ses)
	}
	return nil
}

// detach lets a session go from an owner that has been followed by the one with this epoch, and attaches it to that one.
func (s *Service) detach(w *worker, epoch int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ses := w.session
	if ses == nil || epoch <= ses.epoch {
		return
	}
	ses.wanted = max(ses.wanted, epoch)
	if ses.epoch == 0 {
		return // Being attached already: wanted makes it go on until the newest.
	}
	ses.epoch = 0
	s.spawn(func(life context.Context) {
		ctx, cancel := context.WithCancelCause(ses.ctx)
		defer cancel(nil)
		stop := context.AfterFunc(life, func() { cancel(context.Cause(life)) })
		defer stop()
		if err := s.attach(ctx, ses, true); err != nil {
			s.close(ses, err)
		}
	})
}

// wanted is the newest epoch of a shard whose owner has asked for its sessions.
func (s *Service) wanted(shard int32) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.census[shard]
}

// onSessionsWanted answers the census of a new owner.
func (s *Service) onSessionsWanted(msg bus.Msg) {
	var wanted busv1.SessionsWanted
	if err := proto.Unmarshal(msg.Data, &wanted); err != nil {
		s.cfg.Log.Warn("dispatcher: a call for sessions cannot be read", "error", err)
		return
	}
	s.mu.Lock()
	s.census[wanted.GetShard()] = max(s.census[wanted.GetShard()], wanted.GetEpoch())
	s.mu.Unlock()
	s.cfg.Owners.Moved(wanted.GetShard(), wanted.GetEpoch()) // first, or the attachment would ask the owner before
	for _, w := range s.allWorkers() {
		w.mu.Lock()
		// One that is just being attached compares its epoch with the census itself.
		concerned := w.session != nil && w.session.epoch != 0 && w.session.shard == wanted.GetShard()
		w.mu.Unlock()
		if concerned {
			s.detach(w, wanted.GetEpoch())
		}
	}
}

// probe asks the owners of connected workers for their epoch. The question is empty: it only finds out who answers.
func (s *Service) probe() {
	for _, tenantID := range s.connectedTenants() {
		s.spawn(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
			defer cancel()
			request := &busv1.ShardRequest{TenantId: tenantID, Kind: &busv1.ShardRequest_Peek{Peek: &busv1.PeekRuns{}}}
			if _, epoch, err := s.cfg.Owners.Call(ctx, tenantID, request); err == nil {
				s.sawEpoch(tenantID, epoch)
			}
		})
	}
}

// sawEpoch compares an answer with the tenant's sessions: one attached to an earlier epoch has missed the call of the new owner.
func (s *Service) sawEpoch(tenantID, epoch int64) {
	for _, w := range s.workersOf(tenantID) {
		s.detach(w, epoch)
	}
}

func (s *Service) connectedTenants() []int64 {
	connected := make(map[int64]bool)
	for _, w := range s.allWorkers() {
		w.mu.Lock()
		if w.session != nil {
			connected[w.tenant] = true
		}
		w.mu.Unlock()
	}
	ids := make([]int64, 0, len(connected))
	for id := range connected {
		ids = append(ids, id)
	}
	return ids
}

// itemFault turns an owner's refusal into a fault.
func itemFault(item *runsv1.ItemError) error {
	code := fault.ParseCode(item.GetCode())
	if item.GetCode() == "invalid_argument" {
		code = fault.CodeInvalid
	}
	made := fault.New(code, item.GetReason(), "%s", item.GetMessage())
	if item.GetField() != "" {
		made = made.WithFields(fault.Field{Path: item.GetField(), Message: item.GetMessage()})
	}
	return made
}

// id reads a raw id from another Tenon process; anything but 16 bytes is the zero id, which names nothing.
func id(raw []byte) flow.ID {
	read, err := flow.IDFromBytes(raw)
	if err != nil {
		return flow.ID{}
	}
	return read
}
