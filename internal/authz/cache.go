package authz

import (
	"sync"

	"github.com/casbin/casbin/v2/persist/cache"
)

// maxDecisions bounds the decision cache. Casbin's own grows with every tenant ever seen.
const maxDecisions = 65_536

// decisions is a cache.Cache that forgets everything when it is full: decisions are cheap to make again.
type decisions struct {
	mu    sync.RWMutex
	known map[string]bool
}

func newDecisions() *decisions { return &decisions{known: make(map[string]bool)} }

// Set implements cache.Cache. Decisions have no age: the policy is compiled in.
func (d *decisions) Set(key string, value bool, _ ...any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= maxDecisions {
		clear(d.known)
	}
	d.known[key] = value
	return nil
}

// Get implements cache.Cache.
func (d *decisions) Get(key string) (bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	value, ok := d.known[key]
	if !ok {
		return false, cache.ErrNoSuchKey
	}
	return value, nil
}

// Delete implements cache.Cache.
func (d *decisions) Delete(key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.known[key]; !ok {
		return cache.ErrNoSuchKey
	}
	delete(d.known, key)
	return nil
}

// Clear implements cache.Cache.
func (d *decisions) Clear() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.known)
	return nil
}
