package sim

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// dispatcher is a model of services/dispatcher: its table of sent assignments, its sessions each attached to one epoch, its answer to a census. Its
// functions have the names of the real ones.
type dispatcher struct {
	process
	w         *world
	directory *directory
	workers   []*seat
	census    map[int32]int64
	cut       bool // from the bus
}

// instance is the name of this start of the dispatcher.
func (d *dispatcher) instance() string { return fmt.Sprintf("%s-%d", d.name, d.life) }

// seat is a worker as its dispatcher knows it.
type seat struct {
	id       flow.ID
	tenant   int64
	worker   *worker
	number   int64
	session  *session
	sent     []*sentTask
	heard    int64
	draining bool
}

// sentTask is an assignment that was sent or brought along.
type sentTask struct {
	id         flow.ID
	run        flow.ID
	taskNo     int32
	generation int32
	attempt    int32
	begun      int64
}

// session is one open stream.
type session struct {
	seat     *seat
	number   int64
	conn     *conn
	replaced int64
	shard    int32
	epoch    int64 // 0: being attached
	wanted   int64
	pending  []pendingOrder
	openings int64
	ended    bool
}

type pendingOrder struct {
	epoch int64
	order *busv1.SessionOrder
}

func (w *world) newDispatcher(name string) *dispatcher {
	d := &dispatcher{process: process{name: name, dead: true}, w: w}
	w.dispatchers = append(w.dispatchers, d)
	d.start()
	return d
}

func (d *dispatcher) start() {
	d.life++
	d.dead, d.halted = false, false
	d.directory, d.workers, d.census = newDirectory(), nil, make(map[int32]int64)
	d.w.after(grace/20, &d.process, "", d.watch)
	d.w.after(5*second, &d.process, "", d.probe)
}

// crash kills the dispatcher; its workers see their streams break.
func (d *dispatcher) crash() {
	if d.dead {
		return
	}
	w := d.w
	w.kill(&d.process)
	for _, x := range w.workers {
		if c := x.conn; c != nil && c.d == d {
			c.serverGone = true
			w.after(w.between(millisecond, second), &x.process, "", func() { x.lost(c) })
		}
	}
	w.after(w.between(millisecond, 4*second), nil, "", func() {
		if d.dead {
			d.start()
		}
	})
}

func (d *dispatcher) seatOf(id flow.ID) *seat {
	for _, s := range d.workers {
		if s.id == id {
			return s
		}
	}
	return nil
}

// call asks the owner of a tenant.
func (d *dispatcher) call(tenant int64, req *busv1.ShardRequest, done func(*busv1.ShardReply, int64, error), stopped func() bool) {
	d.newCall(tenant, req, done, stopped).start()
}

// callOnce asks the present owner alone, once.
func (d *dispatcher) callOnce(tenant int64, req *busv1.ShardRequest, done func(*busv1.ShardReply, int64, error), stopped func() bool) {
	c := d.newCall(tenant, req, done, stopped)
	c.once = true
	c.start()
}

func (d *dispatcher) newCall(tenant int64, req *busv1.ShardRequest, done func(*busv1.ShardReply, int64, error), stopped func() bool) *call {
	return &call{
		w: d.w, from: &d.process, name: d.name, away: &d.cut, dir: d.directory, tenant: tenant, req: req, until: d.w.now + callTimeout, done: done, stopped: stopped,
	}
}

// tell sends news until an owner has heard it.
func (d *dispatcher) tell(tenant int64, req *busv1.ShardRequest) {
	d.call(tenant, req, func(_ *busv1.ShardReply, _ int64, err error) {
		if err != nil && transient(err) {
			d.w.after(50*millisecond, &d.process, "", func() { d.tell(tenant, req) })
		}
	}, nil)
}

func transient(err error) bool {
	return fault.Is(err, fault.CodeUnavailable) || fault.Is(err, fault.CodeDeadlineExceeded)
}

// listen opens a session for a worker, with what it holds.
func (d *dispatcher) listen(x *worker, c *conn, number int64, held []*sentTask) {
	st := d.seatOf(x.id)
	if st == nil {
		st = &seat{id: x.id, tenant: x.tenant, worker: x}
		d.workers = append(d.workers, st)
	}
	if number <= st.number {
		c.close(d)
		return
	}
	older := st.session
	ses := &session{seat: st, number: number, conn: c}
	st.number, st.session, st.heard, st.draining = number, ses, d.w.now, false
	st.bring(held)
	if older != nil {
		ses.replaced = older.number
		older.ended = true
		older.conn.close(d)
	}
	d.attach(ses, d.w.now+callTimeout, 50*millisecond)
}

// bring replaces the table by what the worker lists.
func (st *seat) bring(held []*sentTask) {
	listed := make([]*sentTask, 0, len(held))
	for _, h := range held {
		if known := st.find(h.id); known != nil {
			if known.begun == 0 {
				known.begun = h.begun
			}
			h = known
		}
		listed = append(listed, h)
	}
	st.sent = listed
}

func (st *seat) find(id flow.ID) *sentTask {
	for _, a := range st.sent {
		if a.id == id {
			return a
		}
	}
	return nil
}

func (st *seat) remove(id flow.ID) {
	st.sent = slices.DeleteFunc(st.sent, func(a *sentTask) bool { return a.id == id })
}

// attach ties a session to the owner. Until then a first attachment tries; the others go on, since their stream is open.
func (d *dispatcher) attach(ses *session, until, wait int64) {
	if ses.ended {
		return
	}
	st := ses.seat
	ses.pending = nil
	ses.openings++
	req := &busv1.OpenSession{
		WorkerId: st.id[:], Session: ses.number, Dispatcher: d.instance(), Actions: d.w.actions, Slots: int32(st.worker.slots), Draining: st.draining, //nolint:gosec // small
		Opening: ses.openings,
	}
	for _, a := range st.sent {
		h := &busv1.HeldAssignment{AssignmentId: a.id[:], RunId: a.run[:], TaskNo: a.taskNo, Generation: a.generation, Attempt: a.attempt, Started: a.begun > 0}
		if h.Started {
			h.Running = d.w.now - a.begun
		}
		req.Held = append(req.Held, h)
	}
	slices.SortFunc(req.Held, func(a, b *busv1.HeldAssignment) int { return bytes.Compare(a.AssignmentId, b.AssignmentId) })
	retry := func(err error) {
		if !transient(err) || d.w.now > until {
			d.close(ses, false)
			return
		}
		pause := wait
		if fault.HasReason(err, lease.ReasonOwnerMoved) {
			pause = 0
		}
		d.w.after(pause, &d.process, "", func() { d.attach(ses, until, min(2*wait, 2*second)) })
	}
	d.callOnce(st.tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_OpenSession{OpenSession: req}}, func(reply *busv1.ShardReply, epoch int64, err error) {
		if ses.ended {
			return
		}
		if err != nil {
			retry(err)
			return
		}
		if item := reply.GetSession().GetError(); item != nil {
			d.close(ses, false)
			return
		}
		if named := reply.GetSession().GetEpoch(); named != 0 {
			epoch = named
		}
		if !d.attached(ses, reply.GetSession().GetShard(), epoch) {
			retry(fault.Unavailable("EARLIER_OWNER", "the shard has just changed its owner"))
		}
	}, func() bool { return ses.ended })
}

func (d *dispatcher) attached(ses *session, shard int32, epoch int64) bool {
	if epoch < max(ses.wanted, d.census[shard]) {
		return false
	}
	d.w.notef("%s attaches session %s.%d to epoch %d with %d assignments", d.name, ses.seat.worker.name, ses.number, epoch, len(ses.seat.sent))
	ses.shard, ses.epoch = shard, epoch
	if !ses.conn.opened {
		ses.conn.opened = true
		ses.conn.push(func() { ses.seat.worker.opened(ses.conn) })
	}
	pending := ses.pending
	ses.pending = nil
	closing := false
	for _, p := range pending {
		if p.epoch == epoch {
			d.apply(ses, p.epoch, p.order)
			closing = closing || p.order.GetClose()
		}
	}
	if closing {
		d.superseded(ses)
	}
	return true
}

// detach lets a session go from an owner that has been followed by another.
func (d *dispatcher) detach(st *seat, epoch int64) {
	ses := st.session
	if ses == nil || epoch <= ses.epoch {
		return
	}
	ses.wanted = max(ses.wanted, epoch)
	if ses.epoch == 0 {
		return
	}
	ses.epoch = 0
	d.attach(ses, forEver, 50*millisecond)
}

func (d *dispatcher) sessionsWanted(shard int32, epoch int64) {
	d.census[shard] = max(d.census[shard], epoch)
	d.directory.moved(shard, epoch)
	for _, st := range d.workers {
		if st.session != nil && st.session.epoch != 0 && st.session.shard == shard {
			d.detach(st, epoch)
		}
	}
}

// probe tells the owners which sessions are here, and hears which of them they take for lost.
func (d *dispatcher) probe() {
	d.w.after(5*second, &d.process, "", d.probe)
	var asked []int64
	for _, st := range d.workers {
		if st.session != nil && st.session.epoch != 0 && !slices.Contains(asked, st.tenant) {
			asked = append(asked, st.tenant)
			d.probeTenant(st.tenant)
		}
	}
}

func (d *dispatcher) probeTenant(tenant int64) {
	check := &busv1.CheckSessions{}
	var here []*session
	var epochs []int64
	for _, st := range d.workers {
		if ses := st.session; st.tenant == tenant && ses != nil && ses.epoch != 0 {
			check.Sessions = append(check.Sessions, &busv1.SessionName{WorkerId: slices.Clone(st.id[:]), Session: ses.number})
			here, epochs = append(here, ses), append(epochs, ses.epoch)
		}
	}
	d.call(tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_CheckSessions{CheckSessions: check}}, func(reply *busv1.ShardReply, epoch int64, err error) {
		if err != nil {
			return
		}
		for _, st := range d.workers {
			if st.tenant == tenant {
				d.detach(st, epoch)
			}
		}
		for _, missing := range reply.GetSessions().GetMissing() {
			for i, ses := range here {
				if d.w.broken != LostSessionKept && epochs[i] == epoch && ses.number == missing.GetSession() && bytes.Equal(ses.seat.id[:], missing.GetWorkerId()) {
					d.w.notef("%s ends session %s.%d, which its owner takes for lost", d.name, ses.seat.worker.name, ses.number)
					d.close(ses, false)
				}
			}
		}
	}, nil)
}

// watch ends the sessions of silent workers.
func (d *dispatcher) watch() {
	d.w.after(grace/20, &d.process, "", d.watch)
	for _, st := range d.workers {
		if st.session != nil && d.w.now-st.heard > grace {
			d.close(st.session, true)
		}
	}
}

// heartbeat reports whether the session is open here.
func (d *dispatcher) heartbeat(x *worker, number int64) bool {
	st := d.seatOf(x.id)
	if st == nil || st.session == nil || st.session.number != number {
		return false
	}
	st.heard = d.w.now
	if x.draining && !st.draining {
		st.draining = true
		d.tell(st.tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_DrainWorker{
			DrainWorker: &busv1.DrainWorker{WorkerId: slices.Clone(st.id[:]), Session: number},
		}})
	}
	return true
}

// close ends a session and tells the owner.
func (d *dispatcher) close(ses *session, silent bool) {
	if ses.ended {
		return
	}
	ses.ended = true
	st := ses.seat
	if st.session == ses {
		st.session = nil
	}
	ses.conn.close(d)
	d.loseSession(st, ses.number, silent || st.draining && len(st.sent) == 0)
	if ses.epoch == 0 && ses.replaced != 0 {
		d.loseSession(st, ses.replaced, false)
	}
}

// superseded ends a session of which the worker has a newer one elsewhere.
func (d *dispatcher) superseded(ses *session) {
	if ses.ended {
		return
	}
	ses.ended = true
	if ses.seat.session == ses {
		ses.seat.session = nil
	}
	ses.conn.close(d)
}

func (d *dispatcher) loseSession(st *seat, number int64, gone bool) {
	d.tell(st.tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_LoseSession{
		LoseSession: &busv1.LoseSession{WorkerId: slices.Clone(st.id[:]), Session: number, Gone: gone},
	}})
}

// order takes an owner's message.
func (d *dispatcher) order(order *busv1.DispatcherOrder) {
	for _, part := range order.GetSessions() {
		if st := d.seatOf(flow.ID(part.GetWorkerId())); st != nil && st.tenant == part.GetTenantId() {
			d.deliver(st, order.GetEpoch(), part)
		}
	}
}

func (d *dispatcher) deliver(st *seat, epoch int64, order *busv1.SessionOrder) {
	ses := st.session
	if ses == nil || ses.number != order.GetSession() && d.w.broken != SessionIgnored {
		return
	}
	older := ses.number == order.GetSession() && ses.openings != order.GetOpening() && !order.GetClose()
	if older && d.w.broken != EpochIgnored { // the number of the opening would do the work of the epoch
		return
	}
	switch {
	case ses.epoch == 0:
		ses.pending = append(ses.pending, pendingOrder{epoch, order})
		return
	case ses.epoch != epoch && d.w.broken != EpochIgnored:
		d.w.notef("%s refuses an order of epoch %d, session %s.%d is attached to %d", d.name, epoch, st.worker.name, ses.number, ses.epoch)
		return
	}
	d.apply(ses, epoch, order)
	if order.GetClose() {
		d.superseded(ses)
	}
}

// apply carries an order out.
func (d *dispatcher) apply(ses *session, epoch int64, order *busv1.SessionOrder) {
	st, x := ses.seat, ses.seat.worker
	d.w.check.carriedOut(ses, epoch, order)
	for _, o := range order.GetAssignments() {
		id := flow.ID(o.GetAssignmentId())
		if st.find(id) != nil {
			continue
		}
		st.sent = append(st.sent, &sentTask{id: id, run: flow.ID(o.GetRunId()), taskNo: o.GetTaskNo(), generation: o.GetGeneration(), attempt: o.GetAttempt()})
		ses.conn.push(func() { x.assigned(ses.conn, o) })
	}
	for _, c := range order.GetCancels() {
		id := flow.ID(c.GetAssignmentId())
		if st.find(id) == nil {
			d.neverLeft(st, ses.number, &sentTask{id: id})
			continue
		}
		ses.conn.push(func() { x.cancelled(id, c.GetReason()) })
	}
	for _, raw := range order.GetWithdrawals() {
		id := flow.ID(raw)
		if st.find(id) == nil {
			d.neverLeft(st, ses.number, &sentTask{id: id})
			continue
		}
		ses.conn.push(func() { x.withdrawn(id) })
	}
}

func (d *dispatcher) neverLeft(st *seat, number int64, a *sentTask) {
	d.tell(st.tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Reports{Reports: &busv1.Reports{
		WorkerId: slices.Clone(st.id[:]), Session: number, Items: []*busv1.ReportItem{item(a, busv1.ReportKind_REPORT_KIND_WITHDRAWN)},
	}}})
}

func item(a *sentTask, kind busv1.ReportKind) *busv1.ReportItem {
	return &busv1.ReportItem{AssignmentId: a.id[:], RunId: a.run[:], TaskNo: a.taskNo, Generation: a.generation, Attempt: a.attempt, Kind: kind}
}
