package dispatcher

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Waits between tries to attach a session again.
const (
	attachWait    = 50 * time.Millisecond
	attachWaitMax = 2 * time.Second
)

// attach ties a session to its shard's present owner. With again set it goes on through an owner's absence, since the stream is open and the
// worker keeps its work; the first attachment fails after CallTimeout instead, and the worker listens anew. Each try lists what the worker has by then: an
// older list, taken by a later owner, would bring back what the worker has let go meanwhile.
func (s *Service) attach(ctx context.Context, ses *session, again bool) error {
	until := time.Now().Add(s.cfg.CallTimeout)
	for wait := attachWait; ; wait = min(wait*2, attachWaitMax) {
		err := s.attachOnce(ctx, ses)
		if err == nil {
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if !transient(err) || !again && time.Now().After(until) {
			return err
		}
		if fault.HasReason(err, lease.ReasonOwnerMoved) {
			wait = 0 // there is a new owner already
		}
		sleep(ctx, wait)
	}
}

// transient tells that a call may succeed later.
func transient(err error) bool {
	return fault.Is(err, fault.CodeUnavailable) || fault.Is(err, fault.CodeDeadlineExceeded)
}

// sleep waits, and reports false when ctx has ended.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
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
	reply, epoch, err := s.cfg.Owners.CallOnce(ctx, ses.worker.tenant, request)
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
	ses.openings++
	return &busv1.ShardRequest{TenantId: w.tenant, Kind: &busv1.ShardRequest_OpenSession{OpenSession: &busv1.OpenSession{
		WorkerId: w.id[:], Session: ses.number, Dispatcher: s.cfg.Instance, Actions: w.actions, Queues: w.queues, Slots: w.slots,
		Draining: w.draining || w.wanted == wantedDrain, Paused: w.wanted == wantedPause, Held: w.held(s.cfg.Now()), Opening: ses.openings,
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

// probe tells the owners of connected workers which sessions they have here. An owner that took this process for dead has given them up, and its answer
// ends them: their workers listen anew, and bring what they have. Who answers is news too, where the call of a new owner was lost.
func (s *Service) probe() {
	for tenantID, attached := range s.attachedSessions() {
		s.spawn(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
			defer cancel()
			for part := range slices.Chunk(attached, maxProbed) {
				s.probeTenant(ctx, tenantID, part)
			}
		})
	}
}

// maxProbed is how many sessions one question names, at some 25 bytes each.
const maxProbed = 10_000

func (s *Service) probeTenant(ctx context.Context, tenantID int64, attached []attachment) {
	check := &busv1.CheckSessions{Sessions: make([]*busv1.SessionName, len(attached))}
	byName := make(map[sessionName]attachment, len(attached))
	for i, p := range attached {
		w := p.session.worker
		check.Sessions[i] = &busv1.SessionName{WorkerId: w.id[:], Session: p.session.number}
		byName[sessionName{w.id, p.session.number}] = p
	}
	reply, epoch, err := s.cfg.Owners.Call(ctx, tenantID, &busv1.ShardRequest{TenantId: tenantID, Kind: &busv1.ShardRequest_CheckSessions{CheckSessions: check}})
	if err != nil {
		return
	}
	for _, w := range s.workersOf(tenantID) {
		s.detach(w, epoch) // one attached to an earlier epoch has missed the call of the new owner
	}
	for _, missing := range reply.GetSessions().GetMissing() {
		p, known := byName[sessionName{id(missing.GetWorkerId()), missing.GetSession()}]
		if !known || p.epoch != epoch {
			continue
		}
		s.close(p.session, fault.Aborted(ReasonSessionLost,
			"the tenant's scheduler had lost touch with session %d of worker %s: listen again with a higher number", p.session.number, p.session.worker.publicID()))
	}
}

// sessionName is a session as owners name it.
type sessionName struct {
	worker flow.ID
	number int64
}

// attachedSessions lists the open sessions by tenant. One that is being attached is not asked about.
func (s *Service) attachedSessions() map[int64][]attachment {
	attached := make(map[int64][]attachment)
	for _, w := range s.allWorkers() {
		if a := w.attachment(); a.epoch != 0 {
			attached[w.tenant] = append(attached[w.tenant], a)
		}
	}
	return attached
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
