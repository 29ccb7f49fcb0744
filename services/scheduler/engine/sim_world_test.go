package engine

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tenon-run/tenon/internal/flow"
)

const (
	simTenant = int64(7)
	simStart  = int64(1_790_000_000_000_000)
	second    = int64(1_000_000)
)

// simT is a test of either kind: *testing.T or *rapid.T.
type simT interface {
	Helper()
	Fatalf(format string, args ...any)
}

type simRow struct {
	RunKey
	task int16
}

type simLine struct {
	lane     uint64
	priority int16
}

type simAttempt struct {
	simRow
	generation int32
}

// simStep is one call of the engine, for running it again.
type simStep struct {
	now  int64
	load int64 // a tenant to load, else a step
	over bool  // the hand-over
	in   []Input
	out  Output
}

// simWorld is everything around a shard: the store, the commits under way, the callers and the workers. It checks what must always hold.
type simWorld struct {
	t     simT
	cfg   Config
	rnd   *rand.Rand
	now   int64
	wake  int64
	shard *Shard
	store *simStore

	inbox   []Input       // to be stepped
	late    []Input       // held up on their way
	pending []Output      // stepped, not committed
	reads   []Ask         // free to be read
	answers []Input       // read, not delivered
	open    map[Ref]Input // calls without an answer
	done    map[Ref]func(Effect)
	call    uint64

	workers   []*simWorker
	behaviour map[string]simBehaviour // by action

	emitted   map[simRow]Row // rows as the engine has last written them, committed or not
	lastRank  map[simLine]int64
	seen      map[simAttempt]bool    // assigned once
	sent      map[flow.ID]*Assign    // let out
	executed  map[flow.ID]bool       // started on a worker
	revisions map[RunKey]int64       // of the last notice
	effects   []Effect               // let out, for plain tests
	manual    bool                   // effects are only kept
	promised  map[flow.ID]bool       // triggers that were acknowledged
	history   map[[32]byte][]simStep // calls by the shard's seed, if wanted
	seed      [32]byte
	seeds     [][32]byte
	restarts  int
	handed    bool // the last owner handed over in order
	clean     map[[32]byte]bool
}

func newSimWorld(t simT, cfg Config, seed uint64) *simWorld {
	w := &simWorld{
		t: t, cfg: cfg.WithDefaults(), rnd: rand.New(rand.NewPCG(seed, 1)), now: simStart, behaviour: make(map[string]simBehaviour), //nolint:gosec // a test's chance
		seen: make(map[simAttempt]bool), sent: make(map[flow.ID]*Assign), executed: make(map[flow.ID]bool), revisions: make(map[RunKey]int64), promised: make(map[flow.ID]bool),
	}
	w.store = newSimStore(w.cfg.Window)
	w.boot()
	return w
}

// boot starts a shard with nothing but the store.
func (w *simWorld) boot() {
	for i := range w.seed {
		w.seed[i] = byte(w.rnd.Uint32())
	}
	w.seeds = append(w.seeds, w.seed)
	w.shard = New(w.config(), w.seed)
	w.inbox, w.late, w.pending, w.reads, w.answers = nil, nil, nil, nil, nil
	w.open, w.done = make(map[Ref]Input), make(map[Ref]func(Effect))
	w.emitted, w.lastRank = make(map[simRow]Row), make(map[simLine]int64)
	for _, rows := range w.store.live {
		for _, r := range rows {
			w.emitted[simRow{r.RunKey, r.TaskNo}] = r
		}
	}
	if len(w.store.live) > 0 {
		out := w.shard.LoadTenant(time.UnixMicro(w.now), simTenant)
		w.record(simStep{now: w.now, load: simTenant, out: out})
		w.take(out)
	}
}

// config is the shard's, by how the owner before left.
func (w *simWorld) config() Config {
	cfg := w.cfg
	cfg.NoHold = w.handed
	if w.clean != nil {
		w.clean[w.seed] = w.handed
	}
	return cfg
}

// handOver ends the owner in order: everything is recorded and committed, and the next one starts soon.
func (w *simWorld) handOver() {
	w.t.Helper()
	out := w.shard.HandOver(time.UnixMicro(w.now))
	w.record(simStep{now: w.now, over: true, out: out})
	for _, e := range out.Effects {
		if _, sends := e.(*Assign); sends {
			w.t.Fatalf("the hand-over sent %+v", e)
		}
	}
	w.take(out)
	for len(w.pending) > 0 {
		w.commit()
	}
	for _, x := range w.workers {
		x.readAll()
	}
	w.now += w.rnd.Int64N(100_000)
	w.restarts++
	w.handed = true
	w.boot()
	w.handed = false
	for _, x := range w.workers {
		x.reattach()
	}
}

// crash loses the owner's memory and every step that was not committed. A new owner starts some time later.
func (w *simWorld) crash() {
	for _, x := range w.workers {
		x.readAll() // the dispatcher has them
	}
	w.now += 100_000 + w.rnd.Int64N(3*second)
	w.restarts++
	w.boot()
	for _, x := range w.workers {
		x.reattach()
	}
}

func (w *simWorld) record(s simStep) {
	if w.history != nil {
		w.history[w.seed] = append(w.history[w.seed], s)
	}
}

// push sends an input on its way; some are held up.
func (w *simWorld) push(in Input) {
	w.inbox = append(w.inbox, in)
}

func (w *simWorld) pushLate(in Input) {
	w.late = append(w.late, in)
}

// ref makes the address of a call's answer.
func (w *simWorld) ref(done func(Effect)) Ref {
	w.call++
	to := Ref{Call: w.call}
	if done != nil {
		w.done[to] = done
	}
	return to
}

func refOf(in Input) (Ref, bool) {
	switch in := in.(type) {
	case *Trigger:
		return in.To, true
	case *CancelRun:
		return in.To, true
	case *ReplayRun:
		return in.To, true
	case *AwaitRuns:
		return in.To, true
	case *Peek:
		return in.To, true
	case *OpenSession:
		return in.To, true
	case *LoseSession:
		return in.To, true
	case *DrainWorker:
		return in.To, true
	case *CheckParent:
		return in.To, true
	case *Survey:
		return in.To, true
	case *PauseWorker:
		return in.To, true
	case *CheckSessions:
		return in.To, true
	case *Report:
		return in.To, true
	default:
		return Ref{}, false
	}
}

func (w *simWorld) step(in ...Input) {
	w.t.Helper()
	for _, i := range in {
		if to, ok := refOf(i); ok {
			w.open[to] = i
		}
	}
	out := w.shard.Step(time.UnixMicro(w.now), in)
	w.record(simStep{now: w.now, in: in, out: out})
	w.take(out)
}

// take notes what a step wants, and checks it.
func (w *simWorld) take(out Output) {
	w.t.Helper()
	for _, c := range out.Changes {
		switch c := c.(type) {
		case *InsertRun:
			for _, r := range c.Rows {
				w.emitted[simRow{r.RunKey, r.TaskNo}] = r
			}
		case *UpdateRow:
			w.emitted[simRow{c.Row.RunKey, c.Row.TaskNo}] = c.Row
		default:
		}
	}
	for _, e := range out.Effects {
		if a, ok := e.(*Assign); ok {
			w.checkOrder(a)
		}
	}
	w.wake = out.NextWake
	w.pending = append(w.pending, out)
	w.checkMemory()
}

// checkOrder: within a lane and a priority, tasks that leave for the first time leave by rank (P11).
func (w *simWorld) checkOrder(a *Assign) {
	w.t.Helper()
	task := int16(a.TaskNo) //nolint:gosec // at most 300
	if a.Plan.Single() {
		task = 0
	}
	r := w.emitted[simRow{RunKey{a.Tenant, a.Run}, task}]
	key := simAttempt{simRow{r.RunKey, task}, a.Generation}
	if w.seen[key] {
		return
	}
	w.seen[key] = true
	line := simLine{a.Plan.Lanes[a.TaskNo-1], r.Priority}
	if last, ok := w.lastRank[line]; ok && r.Rank <= last {
		w.t.Fatalf("P11: run %v task %d of rank %d left after rank %d of the same lane and priority", a.Run, a.TaskNo, r.Rank, last)
	}
	w.lastRank[line] = r.Rank
}

// checkMemory: beyond the cap, every run that nothing needs is on its way out (P8).
func (w *simWorld) checkMemory() {
	w.t.Helper()
	s := w.shard
	if len(s.runs) <= s.cfg.MaxRuns {
		return
	}
	for _, r := range s.runs {
		if !r.queued && !s.needed(r) {
			w.t.Fatalf("P8: run %v may leave memory and is not noted as such", r.key.ID)
		}
	}
}

// commit makes the oldest step durable and lets its effects out.
func (w *simWorld) commit() {
	w.t.Helper()
	out := w.pending[0]
	w.pending = w.pending[1:]
	for _, c := range out.Changes {
		if err := w.store.apply(c); err != nil {
			w.t.Fatalf("step %d: %v", out.Seq, err)
		}
		if f, ok := c.(*FinishRun); ok {
			w.checkEnd(f.Rows)
		}
	}
	w.reads = append(w.reads, out.Asks...)
	w.push(&Committed{Seq: out.Seq})
	for _, e := range out.Effects {
		w.deliver(e)
	}
}

// checkEnd: what completed was executed, and has the output of the assignment that won (P2).
func (w *simWorld) checkEnd(rows []Row) {
	w.t.Helper()
	for i := range rows {
		r := &rows[i]
		if w.manual || r.State != flow.Completed || i == 0 && !r.Single {
			continue
		}
		if !w.executed[r.AssignmentID] || !bytes.Equal(r.Output.Inline, r.AssignmentID[:]) {
			w.t.Fatalf("P2: run %v task %d completed by %v with output %x", r.ID, r.TaskNo, r.AssignmentID, r.Output.Inline)
		}
	}
}

// deliver lets one effect out.
func (w *simWorld) deliver(e Effect) {
	w.t.Helper()
	if w.manual {
		w.effects = append(w.effects, e)
	}
	switch e := e.(type) {
	case *TriggerReply:
		if e.Refusal == nil {
			w.promised[e.ID] = true
		}
		w.reply(e.To, e)
	case *Reply:
		w.reply(e.To, e)
	case *VerdictReply:
		w.reply(e.To, e)
	case *PeekReply:
		w.reply(e.To, e)
	case *SurveyReply:
		w.reply(e.To, e)
	case *SessionsReply:
		w.reply(e.To, e)
	case *Notice:
		if e.Revision < w.revisions[e.RunKey] {
			w.t.Fatalf("a notice of run %v goes back from revision %d to %d", e.ID, w.revisions[e.RunKey], e.Revision)
		}
		w.revisions[e.RunKey] = e.Revision
	case *Assign:
		w.checkAssign(e)
		w.mail(e.SessionName, e)
	case *Stop:
		w.mail(e.SessionName, e)
	case *Withdraw:
		w.mail(e.SessionName, e)
	case *Close, *WorkersNotice:
	default:
		w.t.Fatalf("unknown effect %T", e)
	}
}

// checkAssign: an assignment's id is new, its session is recorded, and the parents' results are durable (P3).
func (w *simWorld) checkAssign(a *Assign) {
	w.t.Helper()
	if w.sent[a.Assignment] != nil {
		w.t.Fatalf("assignment %v was sent twice", a.Assignment)
	}
	w.sent[a.Assignment] = a
	if _, known := w.store.sessions[SessionName{Tenant: a.Tenant, Worker: a.Worker, Session: a.Session}]; !known {
		w.t.Fatalf("assignment %v went to a session that is not recorded", a.Assignment)
	}
	rows := w.store.live[RunKey{a.Tenant, a.Run}]
	for i, p := range a.Plan.Parents[a.TaskNo-1] {
		done := len(rows) == 0 // the run has ended meanwhile
		if !done {
			done = rows[p+1].State == flow.Completed && bytes.Equal(rows[p+1].Output.Inline, a.Parents[i].Output.Inline)
		}
		if !done {
			w.t.Fatalf("P3: run %v task %d was sent before its parent %d was durably completed", a.Run, a.TaskNo, p+1)
		}
	}
}

func (w *simWorld) reply(to Ref, e Effect) {
	w.t.Helper()
	in, ok := w.open[to]
	if !ok {
		w.t.Fatalf("an answer that nobody waits for: %#v", e)
	}
	delete(w.open, to)
	_, verdict := e.(*VerdictReply)
	if _, report := in.(*Report); report != verdict {
		w.t.Fatalf("%T was answered with %T", in, e)
	}
	if done := w.done[to]; done != nil {
		delete(w.done, to)
		done(e)
	}
}

// mail puts an order into its session's dispatcher; one for an older session is dropped there.
func (w *simWorld) mail(to SessionName, e Effect) {
	for _, x := range w.workers {
		if x.id == to.Worker && x.connected && x.session == to.Session {
			if _, work := e.(*Assign); work && x.drained {
				w.t.Fatalf("a draining worker got work")
			}
			x.mail = append(x.mail, e)
		}
	}
}

// read answers one ask from what is committed now; the answer may be delivered later.
func (w *simWorld) read(i int) {
	ask := w.reads[i]
	w.reads = slices.Delete(w.reads, i, i+1)
	w.answers = append(w.answers, w.store.answer(ask))
}

// flush lets everything through that is under way, without moving time.
func (w *simWorld) flush() bool {
	w.t.Helper()
	moved := false
	for len(w.inbox)+len(w.late)+len(w.pending)+len(w.reads)+len(w.answers) > 0 {
		onlyCommits := len(w.late)+len(w.reads)+len(w.answers) == 0
		for len(w.reads) > 0 {
			w.read(0)
		}
		in := slices.Concat(w.inbox, w.late, w.answers)
		w.inbox, w.late, w.answers = nil, nil, nil
		for _, i := range in {
			_, commit := i.(*Committed)
			onlyCommits = onlyCommits && commit
		}
		if len(in) > 0 {
			w.step(in...)
		}
		for len(w.pending) > 0 {
			o := w.pending[0]
			if len(o.Changes)+len(o.Effects)+len(o.Asks) > 0 {
				moved, onlyCommits = true, false
			}
			w.commit()
		}
		moved = moved || !onlyCommits
		if onlyCommits {
			w.inbox = nil // only the news of commits that changed nothing
			return moved
		}
	}
	return moved
}
