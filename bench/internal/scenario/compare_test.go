package scenario

import (
	"encoding/json"
	"testing"

	"github.com/tenon-run/tenon/bench/internal/figures"
)

// A ratio is of turns that stood beside each other, and above 1 where head is better, whichever way the unit is good.
func TestComparison(t *testing.T) {
	t.Parallel()
	cost := &figures.Cost{RowWrites: 3}
	for want, c := range map[string]struct {
		better     figures.Better
		base, head []figures.Turn
	}{
		`{"scenario":"s","unit":"u","base":200,"head":300,"ratio":1.5,"ratios":[1,2],"head_cost":{"row_writes":3,"wal_bytes":0,"transactions":0,"statements":0,"cpu_us":{}}}`: {
			figures.Higher, []figures.Turn{{Rate: 100}, {Rate: 200}, {Rate: 300}}, []figures.Turn{{Rate: 200, Cost: cost}, {Rate: 300}, {Rate: 300}},
		},
		`{"scenario":"s","unit":"u","base":2,"head":4,"ratio":0.5,"ratios":[0.5,0.5]}`: {
			figures.Lower, []figures.Turn{{P50: 2}}, []figures.Turn{{P50: 4}},
		},
	} {
		got, err := json.Marshal(comparison(scenario{name: "s", unit: "u", better: c.better}, [2][]figures.Turn{c.base, c.head}))
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}
