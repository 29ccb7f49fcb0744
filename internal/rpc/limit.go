package rpc

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter is a token bucket per key, for a bounded number of keys. A key that was forgotten starts with a full bucket again.
type limiter struct {
	rate  rate.Limit
	burst int
	limit int

	mu      sync.Mutex
	buckets map[string]*list.Element
	recent  *list.List // of *bucket, the one used last in front
}

type bucket struct {
	key    string
	tokens *rate.Limiter
}

func newLimiter(perSecond float64, burst, limit int) *limiter {
	return &limiter{rate: rate.Limit(perSecond), burst: burst, limit: limit, buckets: make(map[string]*list.Element), recent: list.New()}
}

// take takes one unit of key's bucket. It returns 0, or how long to wait until there is one; a refused call costs nothing.
func (l *limiter) take(key string) time.Duration {
	now := time.Now()
	reservation := l.bucketOf(key).ReserveN(now, 1)
	if !reservation.OK() {
		return time.Second // A burst of zero: nothing is ever let in.
	}
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
		wait = wait.Truncate(time.Millisecond) + time.Millisecond // Short to read, and never too early.
	}
	return wait
}

func (l *limiter) bucketOf(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if element, ok := l.buckets[key]; ok {
		l.recent.MoveToFront(element)
		return element.Value.(*bucket).tokens //nolint:forcetypeassert // The list holds nothing else.
	}
	if l.recent.Len() >= l.limit {
		oldest := l.recent.Back()
		l.recent.Remove(oldest)
		delete(l.buckets, oldest.Value.(*bucket).key) //nolint:forcetypeassert // As above.
	}
	fresh := &bucket{key: key, tokens: rate.NewLimiter(l.rate, l.burst)}
	l.buckets[key] = l.recent.PushFront(fresh)
	return fresh.tokens
}
