package definition

import "container/list"

// lru is a map that forgets what was used longest ago when the weights of its values pass a limit. A value heavier than the limit is not kept. The
// owner locks.
type lru[K comparable, V any] struct {
	limit, weight int
	order         *list.List // of entry, the one used last in front
	places        map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), places: make(map[K]*list.Element)}
}

func (l *lru[K, V]) get(key K) (V, bool) {
	place, ok := l.places[key]
	if !ok {
		var none V
		return none, false
	}
	l.order.MoveToFront(place)
	return l.at(place).value, true
}

func (l *lru[K, V]) put(key K, value V, weight int) {
	l.remove(key)
	if weight > l.limit {
		return
	}
	l.places[key] = l.order.PushFront(&entry[K, V]{key, value, weight})
	l.weight += weight
	for l.weight > l.limit {
		l.remove(l.at(l.order.Back()).key)
	}
}

func (l *lru[K, V]) remove(key K) {
	place, ok := l.places[key]
	if !ok {
		return
	}
	l.weight -= l.at(place).weight
	l.order.Remove(place)
	delete(l.places, key)
}

func (l *lru[K, V]) at(place *list.Element) *entry[K, V] {
	return place.Value.(*entry[K, V]) //nolint:forcetypeassert // put is the only one that fills the list
}
