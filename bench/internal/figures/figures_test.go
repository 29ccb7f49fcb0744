package figures_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}, {[]float64{2, 2, 100}, 2},
	} {
		given := append([]float64(nil), c.values...)
		if got := figures.Median(c.values); got != c.want {
			t.Errorf("Median(%v) = %v, want %v", given, got, c.want)
		}
		for i := range given {
			if given[i] != c.values[i] {
				t.Errorf("Median changed its argument to %v", c.values)
			}
		}
	}
}

func TestQuantileIsANearestRank(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i) // 100 .. 1
	}
	for _, c := range []struct {
		samples []time.Duration
		q       float64
		want    time.Duration
	}{
		{nil, 0.5, 0}, {hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}, {hundred, 0, 1}, {[]time.Duration{3}, 0.99, 3}, {[]time.Duration{1, 2, 3}, 0.5, 2},
	} {
		if got := figures.Quantile(c.samples, c.q); got != c.want {
			t.Errorf("Quantile(%d samples, %v) = %v, want %v", len(c.samples), c.q, got, c.want)
		}
	}
}

func TestRatioIsAboveOneWhenOursIsBetter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ours, theirs float64
		better       figures.Better
		want         float64
	}{
		{300, 100, figures.Higher, 3}, {2, 8, figures.Lower, 4}, {8, 2, figures.Lower, 0.25}, {0, 5, figures.Higher, 0}, {5, 0, figures.Lower, 0},
	} {
		if got := figures.Ratio(c.ours, c.theirs, c.better); got != c.want {
			t.Errorf("Ratio(%v, %v, %v) = %v, want %v", c.ours, c.theirs, c.better, got, c.want)
		}
	}
}

func TestRateAndLatency(t *testing.T) {
	t.Parallel()
	if got := figures.Rate(500, 250*time.Millisecond).Rate; got != 2000 {
		t.Errorf("500 in 250 ms are %v a second", got)
	}
	got := figures.Latency([]time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond})
	if got.P50 != 2 || got.P99 != 3 {
		t.Errorf("got %+v", got)
	}
}

// The line's fields are read by programs: their names and which are absent are a contract.
func TestLineOfARate(t *testing.T) {
	t.Parallel()
	cost := func(f float64) *figures.Cost {
		return &figures.Cost{RowWrites: 3 * f, WALBytes: 900 * f, Transactions: 0.01, Statements: 0.05, CPU: map[string]float64{"server": 11 * f}}
	}
	line := figures.Summarise("noop_bulk", "tasks/s", "river", figures.Higher, figures.Turns{
		Tenon: []figures.Turn{{Rate: 30000, Cost: cost(2)}, {Rate: 20000, Cost: cost(1)}, {Rate: 90000, Cost: cost(9)}},
		River: []figures.Turn{{Rate: 12000}, {Rate: 10000}, {Rate: 10000}},
	})
	want := `{"scenario":"noop_bulk","unit":"tasks/s","tenon":30000,"peer":"river","peer_value":10000,"ratio":3,` +
		`"row_writes":6,"wal_bytes":1800,"transactions":0.01,"statements":0.05,"cpu_us":{"server":22},"spread":[20000,90000]}`
	compare(t, line, want)
}

func TestLineOfALatency(t *testing.T) {
	t.Parallel()
	line := figures.Summarise("latency_start", "ms", "river", figures.Lower, figures.Turns{
		Tenon: []figures.Turn{{P50: 2, P99: 9}, {P50: 3, P99: 4}, {P50: 1, P99: 5}},
		River: []figures.Turn{{P50: 3, P99: 7}},
		Floor: []figures.Turn{{P50: 1, P99: 2}},
	})
	compare(t, line, `{"scenario":"latency_start","unit":"ms","tenon":2,"peer":"river","peer_value":3,"ratio":1.5,`+
		`"p50":2,"p99":5,"floor_p50":1,"floor_p99":2,"ratio_floor":2,"spread":[1,3]}`)
}

func TestLineWithAnEchoAndWithoutAPeer(t *testing.T) {
	t.Parallel()
	line := figures.Summarise("noop_single", "tasks/s", "river", figures.Higher, figures.Turns{
		Tenon: []figures.Turn{{Rate: 3000}}, Echo: []figures.Turn{{Rate: 6000}},
	})
	compare(t, line, `{"scenario":"noop_single","unit":"tasks/s","tenon":3000,"echo":6000,"ratio_echo":0.5}`)
}

func TestAlsoIsMediansByName(t *testing.T) {
	t.Parallel()
	line := figures.Summarise("idle", "%", "river", figures.Lower, figures.Turns{Tenon: []figures.Turn{
		{Figure: 1, Also: map[string]float64{"statements": 10}}, {Figure: 1, Also: map[string]float64{"statements": 30}}, {Figure: 1, Also: map[string]float64{"statements": 20}},
	}})
	compare(t, line, `{"scenario":"idle","unit":"%","tenon":1,"also":{"statements":20},"spread":[1,1]}`)
}

func TestGoals(t *testing.T) {
	t.Parallel()
	line := func() figures.Line {
		return figures.Line{Tenon: 0.5, P99: 6, FloorP99: 2, RatioEcho: 0.25, Also: map[string]float64{"rss_mb": 120, "lost": 0}}
	}
	for text, c := range map[string]struct {
		goals []figures.Goal
		met   bool
	}{
		"ratio_echo >= 0.25":              {[]figures.Goal{{Figure: "ratio_echo", Bound: 0.25}}, true},
		"ratio_echo >= 0.3":               {[]figures.Goal{{Figure: "ratio_echo", Bound: 0.3}}, false},
		"tenon < 1, rss_mb < 300":         {[]figures.Goal{{"tenon", true, 1}, {"rss_mb", true, 300}}, true},
		"tenon < 1, rss_mb < 100":         {[]figures.Goal{{"tenon", true, 1}, {"rss_mb", true, 100}}, false},
		"ratio_floor_p99 < 3":             {[]figures.Goal{{"ratio_floor_p99", true, 3}}, false}, // it is 3
		"lost < 1":                        {[]figures.Goal{{"lost", true, 1}}, true},
		"ratio < 2":                       {[]figures.Goal{{"ratio", true, 2}}, false}, // not measured
		"ratio_echo >= 0.25, tenon < 0.1": {[]figures.Goal{{Figure: "ratio_echo", Bound: 0.25}, {"tenon", true, 0.1}}, false},
	} {
		l := line()
		l.Judge(c.goals)
		if l.Goal != text || l.Met == nil || *l.Met != c.met {
			t.Errorf("%s: goal %q, met %v", text, l.Goal, l.Met)
		}
	}
	l := line()
	if l.Judge(nil); l.Goal != "" || l.Met != nil {
		t.Error("a goal out of nothing")
	}
}

func compare(t *testing.T, line figures.Line, want string) {
	t.Helper()
	got, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
