package scenario

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/tenon-run/tenon/bench/internal/cost"
	"github.com/tenon-run/tenon/bench/internal/figures"
)

// meter measures what a turn costs.
type meter struct {
	bench  *bench // nil: nothing is measured
	counts cost.Counts
	cpu    map[string]time.Duration
}

func (b *bench) startMeter(ctx context.Context) (*meter, error) {
	if b.statistics == nil {
		return &meter{}, nil
	}
	// What earlier turns have done and not passed on yet must not count for this one.
	counts, err := b.statistics.Settled(ctx, b.quiet)
	if err != nil {
		return nil, err
	}
	cpu, err := b.cpu()
	return &meter{bench: b, counts: counts, cpu: cpu}, err
}

// read gives the costs per task. looks are transactions that are ours and not Tenon's.
func (m *meter) read(ctx context.Context, tasks int, looks int64) (*figures.Cost, error) {
	if m.bench == nil {
		return nil, nil
	}
	// CPU first: from here on everything waits for the statistics.
	cpu, err := m.bench.cpu()
	if err != nil {
		return nil, err
	}
	counts, err := m.bench.statistics.Settled(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	bytes, err := m.bench.statistics.WALBytes(ctx, m.counts, counts)
	if err != nil {
		return nil, err
	}
	each := func(n int64) float64 { return float64(n) / float64(tasks) }
	out := &figures.Cost{
		RowWrites:    each(counts.RowWrites - m.counts.RowWrites),
		WALBytes:     each(bytes),
		Transactions: each(counts.Transactions - m.counts.Transactions - looks),
		Statements:   each(counts.Statements - m.counts.Statements),
		CPU:          make(map[string]float64, len(cpu)),
	}
	for name, spent := range cpu {
		out.CPU[name] = each((spent - m.cpu[name]).Microseconds())
	}
	return out, nil
}

// cpu is what each process has spent so far. It is empty where the kernel has no /proc, and lacks somebody else's Postgres.
func (b *bench) cpu() (map[string]time.Duration, error) {
	out := make(map[string]time.Duration)
	for name, pid := range map[string]int{"server": b.server.PID(), "worker": b.worker.PID(), "client": b.client.PID(), "nats": b.nats.PID()} {
		spent, err := cost.CPU(pid)
		if errors.Is(err, os.ErrNotExist) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out[name] = spent
	}
	if b.grounds.postgres.PID() == 0 {
		return out, nil
	}
	spent, err := cost.CPUTree(b.grounds.postgres.PID())
	out["postgres"] = spent
	return out, err
}
