package rpc

import (
	"slices"
	"strconv"
	"testing"
)

// Calls of one connection go to one process while it is there, to one and the same other when it is gone, and connections are spread.
func TestStickyCallsKeepTheirProcess(t *testing.T) {
	t.Parallel()
	p := &passOn{sticky: true}
	processes := []string{"http://10.0.0.1:1", "http://10.0.0.2:1", "http://10.0.0.3:1"}
	connections := make(map[string]int)
	const many = 300
	for i := range many {
		remote := "192.0.2.1:" + strconv.Itoa(10_000+i)
		first, again := slices.Clone(processes), slices.Clone(processes)
		slices.Reverse(again)
		p.order(first, remote)
		p.order(again, remote)
		if !slices.Equal(first, again) {
			t.Fatalf("%s goes to %v, then to %v", remote, first, again)
		}
		left := slices.DeleteFunc(slices.Clone(processes), func(a string) bool { return a == first[0] })
		if p.order(left, remote); left[0] != first[1] {
			t.Fatalf("without %s %s goes to %s, not to its second choice %s", first[0], remote, left[0], first[1])
		}
		connections[first[0]]++
	}
	for _, process := range processes {
		if connections[process] < many/len(processes)/2 {
			t.Errorf("%s gets %d of %d connections", process, connections[process], many)
		}
	}
}
