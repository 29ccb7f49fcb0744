package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/floor"
	"github.com/tenon-run/tenon/bench/internal/riverside"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
)

// chainLinks is how many bare chains in a row stand beside chain3.
const chainLinks = 3

// order begins a turn of Tenon's: the worker counts anew, and the runs get numbers that no run had before.
func (b *bench) order(ctx context.Context, workflow string, runs int) (tenonside.Order, error) {
	first := b.next
	b.next += int64(runs)
	return tenonside.Order{Workflow: workflow, Runs: runs, First: first}, b.worker.Reset(ctx)
}

func (b *bench) tenonBulk(ctx context.Context) (figures.Turn, error) {
	o, err := b.order(ctx, tenonside.Noop, b.cfg.Sizes.Bulk)
	if err != nil {
		return figures.Turn{}, err
	}
	meter, err := b.startMeter(ctx)
	if err != nil {
		return figures.Turn{}, err
	}
	done, err := b.client.Bulk(ctx, o)
	if err != nil {
		return figures.Turn{}, err
	}
	end, err := b.worked(ctx, o, done)
	if err != nil {
		return figures.Turn{}, err
	}
	got := figures.Rate(o.Runs, end.at.Sub(done.Begin))
	if got.Cost, err = meter.read(ctx, o.Runs, end.looks); err != nil {
		return figures.Turn{}, err
	}
	return got, b.verify(ctx, o, done.Begin)
}

func (b *bench) tenonSingle(ctx context.Context) (figures.Turn, error) {
	return b.singly(ctx, b.client.Single)
}

func (b *bench) tenonGathered(ctx context.Context) (figures.Turn, error) {
	return b.singly(ctx, b.client.Gathered)
}

// singly takes a turn of runs that are triggered one by one, several at a time.
func (b *bench) singly(ctx context.Context, trigger func(context.Context, tenonside.Order) (tenonside.Done, error)) (figures.Turn, error) {
	o, err := b.order(ctx, tenonside.Noop, b.cfg.Sizes.Single)
	if err != nil {
		return figures.Turn{}, err
	}
	o.InFlight = b.cfg.Sizes.InFlight
	meter, err := b.startMeter(ctx)
	if err != nil {
		return figures.Turn{}, err
	}
	done, err := trigger(ctx, o)
	if err != nil {
		return figures.Turn{}, err
	}
	end, err := b.worked(ctx, o, done)
	if err != nil {
		return figures.Turn{}, err
	}
	got := figures.Rate(o.Runs, end.at.Sub(done.Begin))
	if got.Cost, err = meter.read(ctx, o.Runs, end.looks); err != nil {
		return figures.Turn{}, err
	}
	return got, b.verify(ctx, o, done.Begin)
}

// tenonChains keeps chains under way at a time, each awaited to its result.
func (b *bench) tenonChains(ctx context.Context) (figures.Turn, error) {
	o, err := b.order(ctx, tenonside.Chain, b.cfg.Sizes.Chains)
	if err != nil {
		return figures.Turn{}, err
	}
	o.InFlight = b.cfg.Sizes.InFlight
	done, err := b.client.Results(ctx, o)
	if err != nil {
		return figures.Turn{}, err
	}
	return figures.Rate(o.Runs, done.Took), b.verify(ctx, o, done.Begin)
}

func (b *bench) tenonStart(ctx context.Context) (figures.Turn, error) {
	o, err := b.order(ctx, tenonside.Noop, b.cfg.Sizes.Latency)
	if err != nil {
		return figures.Turn{}, err
	}
	o.Rate, o.Timed = b.cfg.Sizes.Rate, true
	done, err := b.client.Single(ctx, o)
	if err != nil {
		return figures.Turn{}, err
	}
	end, err := b.worked(ctx, o, done)
	if err != nil {
		return figures.Turn{}, err
	}
	if len(end.starts) != o.Runs {
		return figures.Turn{}, fmt.Errorf("%d starts were measured of %d runs", len(end.starts), o.Runs)
	}
	return figures.Latency(end.starts), b.verify(ctx, o, done.Begin)
}

func (b *bench) tenonResult(ctx context.Context) (figures.Turn, error) {
	o, err := b.order(ctx, tenonside.Noop, b.cfg.Sizes.Latency)
	if err != nil {
		return figures.Turn{}, err
	}
	o.Rate = b.cfg.Sizes.Rate
	return b.results(ctx, o)
}

func (b *bench) tenonChain(ctx context.Context) (figures.Turn, error) {
	o, err := b.order(ctx, tenonside.Chain, b.cfg.Sizes.Latency)
	if err != nil {
		return figures.Turn{}, err
	}
	o.Rate = b.cfg.Sizes.Rate
	return b.results(ctx, o)
}

func (b *bench) tenonFanout(ctx context.Context) (figures.Turn, error) {
	o, err := b.order(ctx, tenonside.Fanout, b.cfg.Sizes.Fanouts)
	if err != nil {
		return figures.Turn{}, err
	}
	o.InFlight, o.Children = 1, b.cfg.Sizes.Children
	return b.results(ctx, o)
}

// results takes a turn in which the client awaits and checks every result.
func (b *bench) results(ctx context.Context, o tenonside.Order) (figures.Turn, error) {
	done, err := b.client.Results(ctx, o)
	if err != nil {
		return figures.Turn{}, err
	}
	if len(done.Samples) != o.Runs {
		return figures.Turn{}, fmt.Errorf("%d results were measured of %d runs", len(done.Samples), o.Runs)
	}
	return figures.Latency(done.Samples), b.verify(ctx, o, done.Begin)
}

// outcome is when and how a turn's runs were done.
type outcome struct {
	at     time.Time
	looks  int64 // transactions of ours in Tenon's database meanwhile
	starts []time.Duration
}

// worked waits until the worker has started every run and no run is open in the database any more.
func (b *bench) worked(ctx context.Context, o tenonside.Order, done tenonside.Done) (outcome, error) {
	const most, pause = 5 * time.Minute, time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	started, err := b.worker.Await(ctx, o.Runs)
	if err != nil {
		return outcome{}, err
	}
	if done.Limited > 0 {
		b.log.Warn("the rate limit had calls sent again", "workflow", o.Workflow, "calls", done.Limited)
	}
	out := outcome{starts: started.Samples}
	for {
		var drained bool
		if err := b.watch.QueryRow(ctx, "select not exists (select from live)").Scan(&drained); err != nil {
			return out, fmt.Errorf("wait for the last runs to be stored: %w", err)
		}
		out.looks++
		if drained {
			out.at = time.Now()
			break
		}
		time.Sleep(pause)
	}
	if b.statistics != nil {
		// Our looks are taken off the costs, so they must be in the counts by then.
		if _, err := b.watch.Exec(ctx, "select pg_stat_force_next_flush()"); err != nil {
			return out, err
		}
		out.looks++
	}
	if started.Count > o.Runs {
		b.log.Warn("tasks ran more than once", "workflow", o.Workflow, "starts", started.Count, "runs", o.Runs)
	}
	return out, nil
}

// verify holds what the database says of a turn against its order: every run is there once, completed, with the right result.
func (b *bench) verify(ctx context.Context, o tenonside.Order, begin time.Time) error {
	workflow, runs := o.Workflow, int64(o.Runs)
	plus := 0
	switch workflow {
	case tenonside.Chain:
		plus = chainLinks
	case tenonside.Fanout:
		// The client has checked the sums; the children are rows of their own.
		workflow, runs = tenonside.Noop, int64(o.Runs)*int64(o.Children)
	}
	// Run ids are made of the time, so the turn's are those from its begin on.
	var all, right, numbers int64
	err := b.watch.QueryRow(ctx, `select count(*), count(*) filter (where state = 'completed' and output = num + $3),
			case when $4 then count(*) else count(distinct num) end
		from (select h.state, (convert_from(h.input, 'UTF8')::json ->> 'num')::bigint as num,
				convert_from(coalesce(h.output, (select t.output from history_tasks t -- a run of several tasks has its result in the last one
					where t.tenant_id = h.tenant_id and t.class = h.class and t.run_id = h.run_id and t.generation = h.generation
					order by t.task_no desc limit 1)), 'UTF8')::bigint as output
			from history_runs h join workflows w on w.tenant_id = h.tenant_id and w.id = h.workflow_id
			where w.name = $1 and h.run_id >= uuid_floor($2)) as turn`,
		workflow, begin.UnixMilli(), plus, o.Workflow == tenonside.Fanout).Scan(&all, &right, &numbers)
	if err != nil {
		return fmt.Errorf("check the results: %w", err)
	}
	if all != runs || right != runs || numbers != runs {
		return fmt.Errorf("of %d runs of %s the database has %d, %d with the right result, %d different ones", runs, workflow, all, right, numbers)
	}
	return nil
}

func (b *bench) riverBulk(ctx context.Context) (figures.Turn, error) {
	done, err := b.river.Bulk(ctx, riverside.Order{Jobs: b.cfg.Sizes.Bulk})
	return figures.Rate(b.cfg.Sizes.Bulk, done.Took), err
}

func (b *bench) riverSingle(ctx context.Context) (figures.Turn, error) {
	done, err := b.river.Single(ctx, riverside.Order{Jobs: b.cfg.Sizes.Single, InFlight: b.cfg.Sizes.InFlight})
	return figures.Rate(b.cfg.Sizes.Single, done.Took), err
}

func (b *bench) riverStart(ctx context.Context) (figures.Turn, error) {
	done, err := b.riverPaced(ctx)
	return figures.Latency(done.Starts), err
}

func (b *bench) riverResult(ctx context.Context) (figures.Turn, error) {
	done, err := b.riverPaced(ctx)
	return figures.Latency(done.Results), err
}

func (b *bench) riverPaced(ctx context.Context) (riverside.Done, error) {
	o := riverside.Order{Jobs: b.cfg.Sizes.Latency, Rate: b.cfg.Sizes.Rate}
	done, err := b.river.Single(ctx, o)
	if err == nil && (len(done.Starts) != o.Jobs || len(done.Results) != o.Jobs) {
		err = fmt.Errorf("%d starts and %d results were measured of %d jobs", len(done.Starts), len(done.Results), o.Jobs)
	}
	return done, err
}

func (b *bench) floorStart(ctx context.Context) (figures.Turn, error) {
	samples, err := b.floor.Starts(ctx, floor.Order{Calls: b.cfg.Sizes.Latency, Rate: b.cfg.Sizes.Rate})
	return figures.Latency(samples), err
}

func (b *bench) floorResult(ctx context.Context) (figures.Turn, error) { return b.floorLinks(ctx, 1) }

func (b *bench) floorChain(ctx context.Context) (figures.Turn, error) {
	return b.floorLinks(ctx, chainLinks)
}

func (b *bench) floorLinks(ctx context.Context, links int) (figures.Turn, error) {
	samples, err := b.floor.Results(ctx, floor.Order{Calls: b.cfg.Sizes.Latency, Rate: b.cfg.Sizes.Rate, Links: links})
	return figures.Latency(samples), err
}

func (b *bench) echo(ctx context.Context) (figures.Turn, error) {
	took, err := b.floor.Echo(ctx, floor.Order{Calls: b.cfg.Sizes.Echo, InFlight: b.cfg.Sizes.InFlight})
	return figures.Rate(b.cfg.Sizes.Echo, took), err
}
