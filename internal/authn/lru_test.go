package authn

import (
	"testing"
	"time"
)

func TestLRUForgetsTheOldestAndTheExpired(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLRU[int, string](2)
	l.put(1, "one", now.Add(time.Hour))
	l.put(2, "two", now.Add(time.Minute))
	if got, ok := l.get(1, now); !ok || got != "one" {
		t.Fatalf("1: %q %v", got, ok)
	}
	l.put(3, "three", now.Add(time.Hour)) // 2 was used longest ago
	if _, ok := l.get(2, now); ok {
		t.Error("2 is still there")
	}
	if _, ok := l.get(1, now.Add(time.Hour)); ok {
		t.Error("1 outlived its instant")
	}
	l.put(3, "again", now.Add(time.Second))
	if got, ok := l.get(3, now); !ok || got != "again" || len(l.items) != 1 || l.order.Len() != 1 {
		t.Errorf("3: %q %v, %d items, %d in order", got, ok, len(l.items), l.order.Len())
	}
}
