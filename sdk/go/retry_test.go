package tenon

import (
	"slices"
	"testing"
	"testing/synctest"
)

// Items leave at once while calls may be made, then gather; a batch keeps to the limits, and an item above the size goes alone.
func TestGathererKeepsToItsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, proceed := make(chan []int, 10), make(chan struct{})
		g := &gatherer[int]{
			maxCalls: 2, maxItems: 4, maxSize: 10,
			size: func(n int) int { return n },
			send: func(batch []int) {
				sent <- batch
				<-proceed
			},
		}
		var got [][]int
		next := func() {
			synctest.Wait()
			for len(sent) > 0 {
				got = append(got, <-sent)
			}
		}
		for _, n := range []int{1, 2, 1, 1, 1, 1, 1, 9, 2, 50, 3} {
			if !g.add(n) {
				t.Fatal("the gatherer is closed")
			}
			next()
		}
		for range 7 {
			proceed <- struct{}{}
			next()
		}
		want := [][]int{{1}, {2}, {1, 1, 1, 1}, {1, 9}, {2}, {50}, {3}}
		if !slices.EqualFunc(got, want, slices.Equal[[]int]) {
			t.Errorf("the batches were %v, want %v", got, want)
		}
		g.close()
		if g.add(1) {
			t.Error("a closed gatherer takes items")
		}
	})
}
