package sim

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// Times are microseconds.
const (
	millisecond = int64(1000)
	second      = 1000 * millisecond
	start       = int64(1_790_000_000_000_000)
	grace       = 5 * second
	ackTimeout  = 2 * second
	patience    = 60 * second // in which something must come to its end once nothing goes wrong any more
	maxEvents   = 400_000
)

// event is something that happens at an instant, to a process or to the world itself.
type event struct {
	at    int64
	order int64
	to    *process
	life  int // of the process, which must still be the same
	what  string
	do    func()
}

type events []*event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(*event)) } //nolint:forcetypeassert // heap's own call
func (h *events) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// process is what can be killed and stopped.
type process struct {
	name   string
	life   int
	dead   bool
	halted bool
	held   []*event // came while it was stopped
}

// world is everything there is.
type world struct {
	ctx     context.Context
	sc      Scenario
	broken  Broken
	rnd     *rand.Rand
	now     int64
	order   int64
	queue   events
	healed  bool
	faults  Faults
	trace   []string
	tracing bool
	breach  string // the first promise broken

	store       *store
	check       *checker
	links       map[link]int64 // the last arrival, for order
	schedulers  []*scheduling
	dispatchers []*dispatcher
	workers     []*worker
	client      *client
	plans       []*flow.Plan
	byID        map[int64]*flow.Plan
	actions     []string
	does        map[string]behaviour
	calls       int // that must have an answer in the end
}

// violation is a promise broken.
// An owner recovers from a panic of its engine, so the breach itself is kept by the world.
type violation struct{}

func (w *world) failf(format string, args ...any) {
	if w.breach == "" {
		w.breach = fmt.Sprintf("at %s: ", w.clock()) + fmt.Sprintf(format, args...)
	}
	panic(violation{})
}

func (w *world) clock() string {
	return fmt.Sprintf("%d.%06d", (w.now-start)/second, (w.now-start)%second)
}

func (w *world) notef(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, w.clock()+" "+fmt.Sprintf(format, args...))
	}
}

// after lets something happen to a process, unless it dies before; nil is the world itself.
func (w *world) after(d int64, to *process, what string, do func()) {
	w.order++
	e := &event{at: w.now + max(d, 0), order: w.order, to: to, what: what, do: do}
	if to != nil {
		if to.dead {
			return
		}
		e.life = to.life
	}
	heap.Push(&w.queue, e)
}

// once reports whether a fault of a kind strikes, one time in n.
func (w *world) once(f Faults, n int) bool { return w.faults&f != 0 && w.rnd.IntN(n) == 0 }

func (w *world) between(low, high int64) int64 { return low + w.rnd.Int64N(high-low+1) }

// turn lets the next event happen.
func (w *world) turn() {
	e := heap.Pop(&w.queue).(*event) //nolint:forcetypeassert // only events are pushed
	w.now = max(w.now, e.at)
	w.happen(e)
}

func (w *world) happen(e *event) {
	if p := e.to; p != nil {
		switch {
		case p.dead || p.life != e.life:
			return
		case p.halted:
			p.held = append(p.held, e)
			return
		}
	}
	e.do()
}

func (w *world) kill(p *process) {
	w.notef("%s is killed", p.name)
	p.dead, p.halted, p.held = true, false, nil
	p.life++
}

func (w *world) halt(p *process) {
	w.notef("%s is stopped", p.name)
	p.halted = true
}

func (w *world) resume(p *process) {
	if !p.halted {
		return
	}
	w.notef("%s goes on", p.name)
	p.halted = false
	held := p.held
	p.held = nil
	for _, e := range held {
		w.happen(e)
	}
}

func (w *world) newID() flow.ID {
	var id flow.ID
	for i := range id {
		id[i] = byte(w.rnd.Uint32())
	}
	return id
}

func (w *world) runID() flow.ID {
	var entropy [10]byte
	for i := range entropy {
		entropy[i] = byte(w.rnd.Uint32())
	}
	return flow.MakeID(w.now/millisecond, entropy)
}

// Result is what became of a world.
type Result struct {
	Scenario  Scenario
	Violation string // empty: none
	Trace     []string
	Events    int
	Runs      int // that ended
	Takes     int // of shards
	Fences    int // commits refused for a stale epoch
	Unknown   int // commits whose outcome was not known
}

// Run plays a scenario with an engine that is whole or broken.
func Run(ctx context.Context, sc Scenario, broken Broken, tracing bool) (out Result) {
	w := newWorld(ctx, sc, broken)
	w.tracing = tracing
	out.Scenario = sc
	n := 0
	defer func() {
		out.Trace, out.Events, out.Runs, out.Takes, out.Fences, out.Unknown = w.trace, n, len(w.store.history), w.store.takes, w.store.fences, w.store.unknown
		if r := recover(); r != nil {
			if _, ours := r.(violation); !ours {
				panic(r)
			}
			out.Violation = w.breach
		}
	}()
	w.begin()
	healAt := start + int64(sc.Seconds)*second
	for ; n < maxEvents; n++ {
		if !w.healed && w.now >= healAt {
			w.heal()
		}
		if w.healed && w.atRest() {
			w.check.end()
			return out
		}
		if w.now > max(healAt, w.check.progress)+patience {
			break
		}
		w.turn()
		if w.breach != "" {
			panic(violation{})
		}
	}
	var text strings.Builder
	for _, x := range w.workers {
		text.WriteString(x.standing())
	}
	w.failf("P2: nothing goes wrong any more and nothing comes to its end, %d runs are open and %d calls without an answer: %s%s", len(w.store.live), w.calls, w.store.openRows(), text.String())
	return out
}

func newWorld(ctx context.Context, sc Scenario, broken Broken) *world {
	w := &world{
		ctx: ctx, sc: sc, broken: broken, rnd: rand.New(rand.NewPCG(sc.Seed, 1)), now: start, faults: sc.Faults, links: make(map[link]int64), //nolint:gosec // a test's chance
		byID: make(map[int64]*flow.Plan), does: make(map[string]behaviour),
	}
	w.store = newStore(w)
	w.check = newChecker(w)
	w.client = newClient(w)
	for i := range sc.Plans {
		w.addPlan(i)
	}
	return w
}

func (w *world) begin() {
	for i := range w.sc.Schedulers {
		w.newScheduler(fmt.Sprintf("s%d", i))
	}
	for i := range w.sc.Dispatchers {
		w.newDispatcher(fmt.Sprintf("d%d", i))
	}
	for i := range w.sc.Workers {
		w.newWorker(int64(i%w.sc.Tenants)+1, fmt.Sprintf("w%d", i), 1+w.rnd.IntN(w.sc.Slots))
	}
	for i := w.sc.Workers; i < w.sc.Tenants; i++ {
		w.newWorker(int64(i)+1, fmt.Sprintf("w%d", i), 1+w.rnd.IntN(w.sc.Slots))
	}
	w.client.begin()
	w.after(w.between(0, second), nil, "trouble", w.trouble)
}

// trouble lets something go wrong, again and again.
func (w *world) trouble() {
	if w.healed {
		return
	}
	w.after(w.between(20*millisecond, second), nil, "trouble", w.trouble)
	s := w.schedulers[w.rnd.IntN(len(w.schedulers))]
	switch w.rnd.IntN(10) {
	case 0:
		if w.once(Crash, 1) && !s.dead {
			w.kill(&s.process)
			w.after(w.between(10*millisecond, 6*second), nil, "", s.start)
		}
	case 1:
		if w.once(Halt, 1) && !s.dead && !s.halted {
			w.halt(&s.process)
			w.after(w.between(100*millisecond, 25*second), nil, "", func() { w.resume(&s.process) })
		}
	case 2, 3:
		if w.once(Leave, 1) && !s.dead && !s.halted {
			s.leave()
			w.after(w.between(10*millisecond, 5*second), nil, "", s.start)
		}
	case 4:
		if w.once(Partition, 2) {
			w.notef("%s is cut off", s.name)
			s.cut = true
			w.after(w.between(100*millisecond, 10*second), nil, "", func() { s.cut = false })
		}
	case 5:
		switch {
		case w.once(DispatcherDie, 3):
			w.dispatchers[w.rnd.IntN(len(w.dispatchers))].crash()
		case w.once(Move, 2):
			w.store.move(1+w.rnd.Int64N(int64(w.sc.Tenants)), int32(w.rnd.IntN(w.sc.Shards))) //nolint:gosec // small
		case w.once(CutDispatcher, 2):
			d := w.dispatchers[w.rnd.IntN(len(w.dispatchers))]
			w.notef("%s is cut off", d.name)
			d.cut = true
			w.after(w.between(100*millisecond, 12*second), nil, "", func() { d.cut = false })
		}
	default:
		x := w.workers[w.rnd.IntN(len(w.workers))]
		switch {
		case x.dead:
		case w.once(Die, 4):
			x.die()
		case w.once(Drain, 4):
			x.drain()
		case w.once(Break, 2):
			x.cutStream()
		}
	}
}

// heal ends all trouble.
func (w *world) heal() {
	w.notef("everything heals")
	w.healed, w.faults = true, 0
	for _, s := range w.schedulers {
		s.cut = false
		if s.dead {
			s.start()
		}
		w.resume(&s.process)
	}
	for _, d := range w.dispatchers {
		d.cut = false
		if d.dead {
			d.start()
		}
	}
	for _, x := range w.workers {
		if x.dead {
			x.replace()
		}
	}
}

// atRest reports whether nothing is left to do.
func (w *world) atRest() bool {
	if len(w.store.live) > 0 || w.calls > 0 || len(w.store.commits) > 0 || w.client.left > 0 {
		return false
	}
	return !slices.ContainsFunc(w.workers, func(x *worker) bool { return len(x.jobs) > 0 })
}

func (w *world) engineConfig() engine.Config {
	return engine.Config{AckTimeout: ackTimeout, Grace: grace, Window: w.sc.Window, MaxRuns: w.sc.MaxRuns}
}
