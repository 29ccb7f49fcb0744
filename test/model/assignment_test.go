package model

import (
	"flag"
	"sync"
	"testing"
)

var (
	// For runs by hand: go test ./test/model -run Promises -v -timeout 1h -args -faults 2 -limit 20000000.
	more  = flag.Int("faults", 0, "faults in each world; 0: as few as the tests need")
	limit = flag.Int("limit", 400_000, "states of one model, beyond which a test fails")
)

// check explores a model to its end.
func check[S comparable](t *testing.T, p protocol[S]) result {
	t.Helper()
	return ofAll(t, explore(p, *limit))
}

// wholes are the explorations of whole protocols by their rules: several broken variants share one.
var wholes sync.Map

// whole explores a protocol that nothing is left out of, once for all tests.
func whole[S comparable](t *testing.T, rules any, p protocol[S]) result {
	t.Helper()
	once, _ := wholes.LoadOrStore(rules, sync.OnceValue(func() result { return explore(p, *limit) }))
	return ofAll(t, once.(func() result)()) //nolint:forcetypeassert // nothing else is stored
}

// ofAll fails for an exploration that was cut: what it did not find, it may not have seen.
func ofAll(t *testing.T, r result) result {
	t.Helper()
	if r.cut {
		t.Fatalf("more than %d states: make the model smaller, or pass -limit", *limit)
	}
	t.Log(r)
	return r
}

const allFaults = outOfTouch<<1 - 1

func TestAssignmentKeepsItsPromises(t *testing.T) {
	t.Parallel()
	alone := allFaults &^ killDispatcher
	for name, r := range map[string]rules{
		"any fault":                       {most: 1, faults: alone},
		"any fault and a timeout":         {most: 1, faults: alone, limit: true},
		"any fault, code that never ends": {most: 1, faults: alone, limit: true, hangs: true},
		"a cancel":                        {most: 1, faults: takeOver | crash | loseOrder | loseCall | hasty, cancel: true},
		"a cancel and a broken stream":    {most: 1, faults: breakStream | die | dieUnnoticed | outOfTouch, cancel: true},
		"two dispatchers":                 {most: 1, faults: breakStream | killDispatcher | falseEvidence, two: true},
		"a dispatcher and a worker die":   {most: 2, faults: killDispatcher | die, two: true},
		"news of a loss":                  {most: 2, faults: die | dieUnnoticed | loseLoss | takeOver},
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

// Each is a protocol that lacks one rule, in a world in which the whole protocol passes. The last shows what it is worth that the bus keeps the order of
// one owner's messages to one dispatcher.
func TestAssignmentModelBites(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]rules{
		"commit without fence":                       {twists: commitUnfenced, most: 1, faults: takeOver},
		"result acknowledged before its commit":      {twists: ackBeforeCommit, most: 1, faults: takeOver},
		"superseded result applied":                  {twists: supersededApplied, most: 1, faults: breakStream | hasty, limit: true},
		"slot freed at the cancel":                   {twists: slotFreedAtCancel, limit: true},
		"withdrawn without an answer":                {twists: withdrawnUnasked, most: 1, faults: hasty},
		"session number ignored":                     {twists: sessionIgnored, most: 1, faults: breakStream},
		"orders of an older epoch accepted":          {twists: epochIgnored, most: 1, faults: takeOver},
		"news answered by an owner that is not it":   {twists: verdictsUnguarded, most: 1, faults: takeOver},
		"stops answered by an owner that is not it":  {twists: stoppedUnguarded, most: 1, faults: takeOver, limit: true, hangs: true},
		"verdicts of an earlier session believed":    {twists: earlierVerdicts, most: 1, faults: breakStream, two: true},
		"late calls to open taken":                   {twists: triesAlike, most: 1, faults: lateCall, limit: true},
		"doubled calls to open taken":                {twists: triesAlike, most: 1, faults: doubleCall},
		"orders of an earlier try accepted":          {twists: ordersOfAnyTry, most: 1, faults: loseCall},
		"nobody finds a dead dispatcher":             {twists: noEvidence, most: 2, faults: killDispatcher | die, two: true},
		"no way back from false evidence":            {twists: noProbe, most: 1, faults: falseEvidence, limit: true},
		"news of a loss told once":                   {twists: lossToldOnce, most: 2, faults: die | loseLoss},
		"news of a loss swallowed by an older owner": {twists: lossToldOnce | staleLossTaken, most: 2, faults: die | takeOver},
		"orders overtake each other":                 {twists: ordersOvertake, most: 1, faults: hasty},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
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
