package authn

import (
	"container/list"
	"sync"
	"time"
)

// lru holds at most a number of entries, each up to an instant of its own. The least recently used goes first.
type lru[K comparable, V any] struct {
	most int

	mu    sync.Mutex
	order *list.List // front: used last
	items map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
}

func newLRU[K comparable, V any](most int) *lru[K, V] {
	return &lru[K, V]{most: most, order: list.New(), items: make(map[K]*list.Element)}
}

func (l *lru[K, V]) get(key K, now time.Time) (V, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none V
	element, ok := l.items[key]
	if !ok {
		return none, false
	}
	entry := element.Value.(*lruEntry[K, V]) //nolint:forcetypeassert // the list holds nothing else
	if !now.Before(entry.expires) {
		l.remove(element)
		return none, false
	}
	l.order.MoveToFront(element)
	return entry.value, true
}

func (l *lru[K, V]) put(key K, value V, expires time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.items[key]; ok {
		l.remove(old)
	}
	l.items[key] = l.order.PushFront(&lruEntry[K, V]{key: key, value: value, expires: expires})
	if l.order.Len() > l.most {
		l.remove(l.order.Back())
	}
}

func (l *lru[K, V]) remove(element *list.Element) {
	entry := l.order.Remove(element).(*lruEntry[K, V]) //nolint:forcetypeassert // the list holds nothing else
	delete(l.items, entry.key)
}
