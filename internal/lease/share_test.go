package lease

import (
	"fmt"
	"testing"
)

func TestShareIsEvenAndMovesLittle(t *testing.T) {
	t.Parallel()
	shards := make([]int32, 64)
	for i := range shards {
		shards[i] = int32(i)
	}
	var owners []string
	var before map[int32]string
	for n := 1; n <= 8; n++ {
		owners = append([]string{fmt.Sprintf("instance-%d", n)}, owners...)
		share := Share(shards, owners)
		counts := make(map[string]int)
		moved := 0
		for _, shard := range shards {
			counts[share[shard]]++
			if n > 1 && share[shard] != before[shard] {
				moved++
			}
		}
		for _, owner := range owners {
			if each := len(shards) / n; counts[owner] < each || counts[owner] > each+1 || counts[owner] > each && len(shards)%n == 0 {
				t.Errorf("of %d owners %s has %d shards", n, owner, counts[owner])
			}
		}
		if n > 1 && moved > len(shards)/n+len(shards)/4 {
			t.Errorf("the owner number %d moved %d shards", n, moved)
		}
		before = share
	}
	if again := Share(shards, append(owners[3:], owners[:3]...)); fmt.Sprint(again) != fmt.Sprint(before) {
		t.Error("the order of the owners changes their shares")
	}
}
