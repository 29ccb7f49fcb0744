package lease

import (
	"hash/fnv"
	"slices"
)

// Share says which of the living owners should own each shard: everybody the same number, give or take one, and few moves when an owner comes or
// goes. Every process computes the same from the same list. owners must not be empty.
func Share(shards []int32, owners []string) map[int32]string {
	owners = slices.Sorted(slices.Values(owners))
	each, extra := len(shards)/len(owners), len(shards)%len(owners) // extra owners have one more
	counts := make(map[string]int, len(owners))
	share := make(map[int32]string, len(shards))
	for _, shard := range shards {
		best, bestScore := "", uint64(0)
		for _, owner := range owners {
			if counts[owner] > each || counts[owner] == each && extra == 0 {
				continue
			}
			if score := score(shard, owner); best == "" || score > bestScore {
				best, bestScore = owner, score
			}
		}
		share[shard] = best
		if counts[best]++; counts[best] > each {
			extra--
		}
	}
	return share
}

// score ranks the owners of a shard, each shard in an order of its own.
func score(shard int32, owner string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte{byte(shard), byte(shard >> 8), byte(shard >> 16), byte(shard >> 24)}) // never fails
	_, _ = h.Write([]byte(owner))
	// FNV's last byte hardly reaches the high bits.
	sum := h.Sum64()
	sum ^= sum >> 32
	sum *= 0x9e3779b97f4a7c15
	return sum ^ sum>>29
}
