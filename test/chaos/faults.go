package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-run/tenon/test/load"
)

// takeover is the most from the end of an owner to the next assignment.
const takeover = 5 * time.Second

// Faults lists what this machine allows: a full disk takes root.
func Faults() []Fault {
	faults := []Fault{
		{"kill a worker", killWorker},
		{"kill a dispatcher", killDispatcher},
		{"kill a dispatcher with all its workers", killDispatcherAndWorkers},
		{"one more scheduler", joinScheduler},
		{"end the owning scheduler in order", endScheduler},
		{"kill the owning scheduler", killScheduler},
		{"kill the only scheduler and start another", killOnlyScheduler},
		{"end a dispatcher in order", endDispatcher},
		{"kill NATS", killNATS(true)},
		{"take NATS away for longer than the grace", killNATS(false)},
		{"restart Postgres", restartPostgres(syscall.SIGINT)},
		{"crash Postgres", restartPostgres(syscall.SIGQUIT)},
		{"stop the owning scheduler beyond its lease", stopScheduler},
	}
	if canMount() {
		faults = append(faults, Fault{"fill the disk of Postgres", fillDisk})
	}
	return faults
}

func killWorker(ctx context.Context, in *Install, s *strike) error {
	in.traffic.use(surgeLanes)
	defer in.traffic.use(calmLanes)
	var victim *load.Worker
	err := eventually(ctx, "a worker with enough to do", func() (bool, error) {
		i := slices.IndexFunc(in.workers, func(w *load.Worker) bool { return w.Running() >= in.cfg.Through/2 })
		if i >= 0 {
			victim = in.workers[i]
		}
		return i >= 0, nil
	})
	if err != nil {
		return err
	}
	s.running, err = victim.KillAt(ctx, in.cfg.Through)
	s.at, s.open = time.Now(), in.traffic.recorder.Open()
	in.workers = slices.DeleteFunc(in.workers, func(w *load.Worker) bool { return w == victim })
	in.killed = append(in.killed, victim.Name())
	return err
}

// few refuses a fault that cost more than a share of what was running.
func (in *Install) few(ctx context.Context, s *strike, most int) error {
	if err := in.settled(ctx, s); err != nil {
		return err
	}
	lost, err := in.lost(s)
	if err == nil && lost > most {
		err = fmt.Errorf("%d attempts were lost of %d that ran, want at most %d", lost, s.running, most)
	}
	return err
}

// held lists the workers whose session a dispatcher has, by its own words.
func (in *Install) held(d *server) []*load.Worker {
	var out []*load.Worker
	for _, w := range in.workers {
		id := ""
		for _, any := range in.everDispatchers {
			for _, l := range any.matching("dispatcher: worker registered", "name="+w.Name()+" ") {
				id = l.field("worker")
			}
		}
		var at time.Time
		var holder *server
		for _, other := range in.everDispatchers {
			for _, l := range other.matching("dispatcher: session opened", "worker="+id+" ") {
				if l.at.After(at) {
					at, holder = l.at, other
				}
			}
		}
		if id != "" && holder == d {
			out = append(out, w)
		}
	}
	return out
}

// busiest picks the dispatcher that has the most workers.
func (in *Install) busiest(ctx context.Context) (victim *server, err error) {
	err = eventually(ctx, "the workers' sessions", func() (bool, error) {
		sum := 0
		for _, d := range in.running("dispatcher") {
			n := len(in.held(d))
			if sum += n; victim == nil || n > len(in.held(victim)) {
				victim = d
			}
		}
		return sum == len(in.workers), nil
	})
	return victim, err
}

// through counts the attempts that run on a dispatcher's workers.
func (in *Install) through(d *server) func() int {
	workers := in.held(d)
	return func() int { return countRunning(workers) }
}

func killDispatcher(ctx context.Context, in *Install, s *strike) error {
	victim, err := in.busiest(ctx)
	if err != nil {
		return err
	}
	if err := s.when(ctx, in.through(victim), victim.kill); err != nil {
		return err
	}
	in.forget(victim)
	const adopted = 10 // of that many one may be lost
	return in.few(ctx, s, s.running/adopted)
}

// killDispatcherAndWorkers leaves nobody who could tell the owner that the workers are gone: it has to find out that their dispatcher is.
func killDispatcherAndWorkers(ctx context.Context, in *Install, s *strike) error {
	victim, err := in.busiest(ctx)
	if err != nil {
		return err
	}
	with := in.held(victim)
	err = s.when(ctx, in.through(victim), func() error {
		errs := []error{victim.kill()}
		for _, w := range with {
			errs = append(errs, w.Kill())
			in.workers = slices.DeleteFunc(in.workers, func(other *load.Worker) bool { return other == w })
			in.killed = append(in.killed, w.Name())
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	in.forget(victim)
	if err := in.fullStaff(); err != nil {
		return err
	}
	const most = 25 * time.Second // the grace of 10 s, the evidence before it, and the work itself
	timed, cancel := context.WithTimeoutCause(ctx, time.Until(s.at)+most, errors.New("it took too long"))
	defer cancel()
	if err := in.settled(timed, s); err != nil {
		return err
	}
	s.notef("all had their results within %s", time.Since(s.at).Round(time.Millisecond))
	return nil
}

func endDispatcher(ctx context.Context, in *Install, s *strike) error {
	victim, err := in.busiest(ctx)
	if err != nil {
		return err
	}
	if err := s.when(ctx, in.through(victim), func() error { return victim.stop(ctx) }); err != nil {
		return err
	}
	in.forget(victim)
	return in.few(ctx, s, 0)
}

func joinScheduler(ctx context.Context, in *Install, s *strike) error {
	before, _, err := in.postgres.shards(ctx)
	if err != nil {
		return err
	}
	var joined *server
	if err := s.when(ctx, in.all, func() error {
		joined, err = in.startServer(ctx, "scheduler")
		return err
	}); err != nil {
		return err
	}
	timed, cancel := context.WithTimeoutCause(ctx, time.Until(s.at)+2*takeover, errors.New("it took too long"))
	defer cancel()
	share := 0
	err = eventually(timed, "the new scheduler's share of the shards", func() (bool, error) {
		counts, _, err := in.postgres.shards(timed)
		all := 0
		for _, n := range counts {
			all += n
		}
		share = counts[joined.instance]
		return share >= all/(2*(len(before)+1)), err
	})
	if err != nil {
		return fmt.Errorf("the new scheduler has %d shards: %w", share, err)
	}
	s.notef("%d shards moved within %s", share, time.Since(s.at).Round(time.Millisecond))
	return in.few(ctx, s, 0)
}

// owner finds the scheduler that owns the tenant's shard, by the table and by its own words: between the two it does not serve it yet.
func (in *Install) owner(ctx context.Context) (found *server, err error) {
	err = eventually(ctx, "an owner of the tenant's shard", func() (bool, error) {
		_, its, err := in.postgres.shards(ctx)
		for _, s := range in.running("scheduler") {
			if s.instance == its.owner && s.serves(its.shard) {
				found = s
			}
		}
		return found != nil, err
	})
	return found, err
}

// serves tells whether a scheduler has said last that it has a shard.
func (s *server) serves(shard int) (serves bool) {
	names := func(l line, key string) bool {
		return slices.Contains(strings.Fields(strings.Trim(l.field(key), "[]")), strconv.Itoa(shard))
	}
	for _, l := range s.matching(`msg="scheduler: `) {
		switch {
		case names(l, "taken"):
			serves = true
		case names(l, "shards"), strings.Contains(l.text, "new owner") && names(l, "shard"):
			serves = false
		}
	}
	return serves
}

// taken is what an owner's end must not take longer than, and notes how long it took.
func (in *Install) taken(ctx context.Context, s *strike, most time.Duration) error {
	took, err := in.nextStart(ctx, s)
	if err != nil {
		return err
	}
	s.notef("next assignment after %s", took.Round(time.Millisecond))
	if took > most {
		return fmt.Errorf("the next assignment came after %s, want %s", took, most)
	}
	return nil
}

func endScheduler(ctx context.Context, in *Install, s *strike) error {
	victim, err := in.owner(ctx)
	if err != nil {
		return err
	}
	if err := s.when(ctx, in.all, func() error { return victim.stop(ctx) }); err != nil {
		return err
	}
	in.forget(victim)
	return errors.Join(in.taken(ctx, s, takeover), in.few(ctx, s, 0))
}

func killScheduler(ctx context.Context, in *Install, s *strike) error {
	victim, err := in.owner(ctx)
	if err != nil {
		return err
	}
	if err := s.when(ctx, in.all, victim.kill); err != nil {
		return err
	}
	in.forget(victim)
	const adopted = 10
	return errors.Join(in.taken(ctx, s, takeover), in.few(ctx, s, s.running/adopted))
}

func killOnlyScheduler(ctx context.Context, in *Install, s *strike) error {
	only, err := in.owner(ctx)
	if err != nil {
		return err
	}
	for _, other := range in.running("scheduler") {
		if other != only {
			in.forget(other)
			if err := other.stop(ctx); err != nil {
				return err
			}
		}
	}
	if err := s.when(ctx, in.all, only.kill); err != nil {
		return err
	}
	in.forget(only)
	if _, err := in.startServer(ctx, "scheduler"); err != nil {
		return err
	}
	const adopted = 10
	return errors.Join(in.taken(ctx, s, 2*takeover), in.few(ctx, s, s.running/adopted))
}

// killNATS takes NATS away: for a moment, or for longer than anything that counts seconds of silence.
func killNATS(moment bool) func(context.Context, *Install, *strike) error {
	return func(ctx context.Context, in *Install, s *strike) error {
		all := append(in.running(""), in.edge)
		marks := make([]int, len(all))
		for i, p := range all {
			marks[i] = p.mark()
		}
		if err := s.when(ctx, in.all, in.nats.kill); err != nil {
			return err
		}
		for i, p := range all {
			if _, err := p.await(ctx, marks[i], "bus: connection lost"); err != nil {
				return err
			}
		}
		if !moment {
			if err := until(ctx, s.at.Add(in.cfg.Grace*2)); err != nil {
				return err
			}
		}
		if err := in.nats.start(ctx); err != nil {
			return err
		}
		for i, p := range all {
			if _, err := p.await(ctx, marks[i], "bus: reconnected"); err != nil {
				return err
			}
		}
		back := time.Since(s.at)
		s.notef("back after %s", back.Round(time.Millisecond))
		return errors.Join(in.taken(ctx, s, back+takeover), in.few(ctx, s, 0))
	}
}

// until waits for an instant: how long something is away is part of a fault.
func until(ctx context.Context, instant time.Time) error {
	timer := time.NewTimer(time.Until(instant))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx) //nolint:wrapcheck // whoever set it says why
	}
}

func restartPostgres(how syscall.Signal) func(context.Context, *Install, *strike) error {
	return func(ctx context.Context, in *Install, s *strike) error {
		if err := s.when(ctx, in.all, func() error { return in.postgres.end(ctx, how) }); err != nil {
			return err
		}
		if err := in.postgres.start(ctx); err != nil {
			return err
		}
		s.notef("away for %s", time.Since(s.at).Round(time.Millisecond))
		return errors.Join(in.taken(ctx, s, 2*takeover), in.few(ctx, s, 0))
	}
}

func stopScheduler(ctx context.Context, in *Install, s *strike) error {
	victim, err := in.owner(ctx)
	if err != nil {
		return err
	}
	mark := victim.mark()
	if err := s.when(ctx, in.all, func() error { return victim.signal(syscall.SIGSTOP) }); err != nil {
		return err
	}
	in.forget(victim) // until it goes on
	_, err = in.owner(ctx)
	s.notef("another owner after %s", time.Since(s.at).Round(time.Millisecond))
	const lease, adopted = 20 * time.Second, 10
	err = errors.Join(err, in.taken(ctx, s, lease+takeover))
	in.servers = append(in.servers, victim)
	if err := errors.Join(err, victim.signal(syscall.SIGCONT)); err != nil {
		return err
	}
	timed, cancel := context.WithTimeoutCause(ctx, 2*takeover, errors.New("it took too long"))
	defer cancel()
	refused, err := victim.await(timed, mark, "scheduler:", "new owner")
	if err != nil {
		return fmt.Errorf("the stopped owner was not told that it is none any more: %w", err)
	}
	s.notef("it says %q", refused.field("msg"))
	return in.few(ctx, s, s.running/adopted)
}

func fillDisk(ctx context.Context, in *Install, s *strike) (err error) {
	victim, err := in.owner(ctx)
	if err != nil {
		return err
	}
	mark := victim.mark()
	var free func() error
	if err := s.when(ctx, in.all, func() error {
		free, err = in.postgres.fill()
		return err
	}); err != nil {
		return err
	}
	in.traffic.use(surgeLanes) // Postgres has some room of its own left, in its files
	refused := false
	err = eventually(ctx, "Postgres to run out of room", func() (bool, error) {
		refused = len(victim.matchingAfter(mark, "53100")) > 0 || len(victim.matchingAfter(mark, "No space left")) > 0
		return refused || in.postgres.ended(), nil
	})
	in.traffic.use(calmLanes)
	if err := errors.Join(err, free()); err != nil {
		return fmt.Errorf("%w; Postgres says: %s", err, in.postgres.log())
	}
	s.notef("room again after %s, statements refused: %t", time.Since(s.at).Round(time.Millisecond), refused)
	if in.postgres.ended() {
		s.notef("Postgres had given up and was started again")
		if err := errors.Join(in.postgres.server.Stop(ctx), in.postgres.start(ctx)); err != nil {
			return err
		}
	}
	return errors.Join(in.few(ctx, s, 0))
}
