package model

import "testing"

func TestOwnershipKeepsItsPromises(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]ownershipRules{
		"three schedulers":              {schedulers: 3, faults: takeOver | crash | loseOutcome | handOver, most: 1, epochs: 4},
		"a take-over and a hand-over":   {schedulers: 2, faults: takeOver | handOver, most: 2, epochs: 3, stored: true},
		"two lost outcomes":             {schedulers: 2, faults: loseOutcome, most: 2, epochs: 4},
		"a lost outcome of a hand-over": {schedulers: 2, faults: loseOutcome | handOver, most: 2, epochs: 3, stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if *more > 0 {
				r.most = uint8(*more)
			}
			if found := whole(t, r, r.protocol()); found.violation != "" {
				t.Error(found.report())
			}
		})
	}
}

func TestOwnershipModelBites(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]ownershipRules{
		"epoch read without the lock":                      {twists: epochUnlocked, faults: takeOver, most: 1},
		"take-over that does not wait for the old backend": {twists: takeWithoutWait, faults: takeOver, most: 1},
		"unknown outcome treated as done":                  {twists: unknownDone, faults: loseOutcome, most: 1},
		"unknown outcome treated as failed":                {twists: unknownFailed, faults: loseOutcome, most: 1},
		"ack before commit":                                {twists: ackEarly, faults: crash, most: 1},
		"hand-over without recording":                      {twists: handOverUnrecorded, faults: handOver, most: 1},
		"hand-over marked clean before the census is in":   {twists: handOverUnsettled, faults: takeOver | handOver, most: 2, stored: true},
		"orders of an older epoch accepted":                {twists: olderOrders, faults: takeOver, most: 1},
		"census left out":                                  {twists: noCensus, faults: takeOver, most: 1},
		"release of what has been taken again":             {twists: releaseAnyEpoch, faults: takeOver | handOver, most: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.schedulers, r.epochs = 2, 4
			if found := check(t, r.protocol()); found.violation == "" {
				t.Error("it keeps every promise, so the model does not see it")
			}
			r.twists = 0
			if found := whole(t, r, r.protocol()); found.violation != "" {
				t.Errorf("the whole protocol fails too, so it proves nothing: %s", found.report())
			}
		})
	}
}
