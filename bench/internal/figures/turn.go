package figures

import "time"

// Turn is what one turn of one contender gave: a rate, or samples of a latency, and for Tenon's bulk turns the costs.
type Turn struct {
	// Rate is tasks (for the echo: calls) a second; 0 in a turn that measures latency.
	Rate float64 `json:"rate,omitempty"`
	// Figure is the value of a turn that measures neither a rate nor samples of a latency, in the scenario's unit.
	Figure float64 `json:"figure,omitempty"`
	// P50 and P99 are in milliseconds; 0 in a turn that measures a rate.
	P50 float64 `json:"p50,omitempty"`
	P99 float64 `json:"p99,omitempty"`
	// Cost is per task; nil where it was not measured.
	Cost *Cost `json:"cost,omitempty"`
	// Also are further figures, by names that docs/performance.md explains.
	Also map[string]float64 `json:"also,omitempty"`
}

// Rate makes a turn of n things done in a time.
func Rate(n int, took time.Duration) Turn { return Turn{Rate: float64(n) / took.Seconds()} }

// Latency makes a turn of samples.
func Latency(samples []time.Duration) Turn {
	const half, tail = 0.50, 0.99
	return Turn{P50: Milliseconds(Quantile(samples, half)), P99: Milliseconds(Quantile(samples, tail))}
}

// Cost is what a task cost, from Postgres's own statistics and the kernel's.
type Cost struct {
	RowWrites    float64 `json:"row_writes"`
	WALBytes     float64 `json:"wal_bytes"` // without full-page images
	Transactions float64 `json:"transactions"`
	Statements   float64 `json:"statements"`
	// CPU is in microseconds by process.
	CPU map[string]float64 `json:"cpu_us"`
}

// medians of turns, field by field.
func medians(turns []Turn) Turn {
	pick := func(field func(Turn) float64) float64 {
		values := make([]float64, len(turns))
		for i, t := range turns {
			values[i] = field(t)
		}
		return Median(values)
	}
	return Turn{
		Rate: pick(func(t Turn) float64 { return t.Rate }), Figure: pick(func(t Turn) float64 { return t.Figure }),
		P50:  pick(func(t Turn) float64 { return t.P50 }),
		P99:  pick(func(t Turn) float64 { return t.P99 }),
		Cost: medianCost(turns),
		Also: medianAlso(turns),
	}
}

func medianAlso(turns []Turn) map[string]float64 {
	values := make(map[string][]float64)
	for _, t := range turns {
		for name, value := range t.Also {
			values[name] = append(values[name], value)
		}
	}
	if len(values) == 0 {
		return nil
	}
	out := make(map[string]float64, len(values))
	for name, of := range values {
		out[name] = Round(Median(of))
	}
	return out
}

func medianCost(turns []Turn) *Cost {
	var costs []Cost
	for _, t := range turns {
		if t.Cost != nil {
			costs = append(costs, *t.Cost)
		}
	}
	if len(costs) == 0 {
		return nil
	}
	pick := func(field func(Cost) float64) float64 {
		values := make([]float64, len(costs))
		for i, c := range costs {
			values[i] = field(c)
		}
		return Round(Median(values))
	}
	out := &Cost{
		RowWrites:    pick(func(c Cost) float64 { return c.RowWrites }),
		WALBytes:     pick(func(c Cost) float64 { return c.WALBytes }),
		Transactions: pick(func(c Cost) float64 { return c.Transactions }),
		Statements:   pick(func(c Cost) float64 { return c.Statements }),
		CPU:          make(map[string]float64),
	}
	for name := range costs[0].CPU {
		out.CPU[name] = pick(func(c Cost) float64 { return c.CPU[name] })
	}
	return out
}
