package scenario

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
)

// hour is an hour's samples of a healthy install.
func hour() []Sample {
	out := make([]Sample, 360)
	for i := range out {
		out[i] = Sample{Minute: float64(i+1) / 6, Rate: 2000, P50: 2, P99: 8, StatementTime: 30, store: store{LiveDead: 1000, LiveMB: 10, LiveIndexMB: 2}}
		switch {
		case i >= 72 && i < 77:
			out[i].Phase = phasePartitions
		case i >= 165 && i < 195:
			out[i].Phase = phasePinned
			out[i].LiveDead, out[i].LiveMB = 600_000, 300
		case i >= 195:
			out[i].LiveMB = 300 // it stays large, and must not grow further
			if i >= 270 && i < 276 {
				out[i].Phase = phasePayloads
			}
		}
	}
	return out
}

// judged is whether each goal is met.
func judged(change func(*soak)) (met bool, broken []string) {
	s := &soak{bench: &bench{cfg: Config{Sizes: Sizes{Soak: time.Hour, SoakRate: 2000}}}, samples: hour(), pause: 40}
	change(s)
	line := figures.Line{Also: s.judge().Also}
	for _, g := range soakGoals {
		one := line
		if one.Judge([]figures.Goal{g}); !*one.Met {
			broken = append(broken, g.Figure)
		}
	}
	return len(broken) == 0, broken
}

func TestAHealthySoakPasses(t *testing.T) {
	t.Parallel()
	if met, broken := judged(func(*soak) {}); !met {
		t.Errorf("broken: %v", broken)
	}
}

// While nothing starts there are no latencies: the samples of a stall must not look like good ones.
func TestAStallIsNoGoodLatency(t *testing.T) {
	t.Parallel()
	_, broken := judged(func(s *soak) {
		for i := 270; i < 276; i++ {
			s.samples[i].Rate, s.samples[i].P99 = 0, 0
		}
		s.samples[275].Rate, s.samples[275].P99 = 12_000, 50_000
	})
	if len(broken) != 1 || broken[0] != "payload_p99_ratio" {
		t.Errorf("broken are %v", broken)
	}
}

func TestASoakThatDegradesIsFound(t *testing.T) {
	t.Parallel()
	from := func(at int, change func(*Sample)) func(*soak) {
		return func(s *soak) {
			for i := range s.samples[at:] {
				change(&s.samples[at+i])
			}
		}
	}
	during := func(phase string, change func(*Sample)) func(*soak) {
		return func(s *soak) {
			for i := range s.samples {
				if s.samples[i].Phase == phase {
					change(&s.samples[i])
				}
			}
		}
	}
	for want, change := range map[string]func(*soak){
		"rate_share":             from(300, func(s *Sample) { s.Rate = 1800 }),
		"p99_growth":             from(280, func(s *Sample) { s.P99 = 13 }),
		"statement_growth":       from(280, func(s *Sample) { s.StatementTime = 50 }),
		"dead_growth":            from(280, func(s *Sample) { s.LiveDead = 5000 }),
		"live_growth":            from(150, func(s *Sample) { s.LiveMB = max(s.LiveMB, 30) }),
		"live_growth_after":      from(340, func(s *Sample) { s.LiveMB = 400 }),
		"pinned_p99_ratio":       during(phasePinned, func(s *Sample) { s.P99 = 20 }),
		"pinned_statement_ratio": during(phasePinned, func(s *Sample) { s.StatementTime = 60 }),
		"payload_p99_ratio":      during(phasePayloads, func(s *Sample) { s.P99 = 20 }),
		"partition_pause_ms":     func(s *soak) { s.pause = 150 },
	} {
		if _, broken := judged(change); len(broken) != 1 || broken[0] != want {
			t.Errorf("%s: broken are %v", want, broken)
		}
	}
}
