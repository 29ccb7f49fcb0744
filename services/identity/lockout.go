package identity

import (
	"strings"
	"sync"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
)

const (
	// lockAfter sign-ins within lockWindow close an address for the rest of it.
	lockAfter  = 10
	lockWindow = time.Minute
	// missAfter unknown addresses within missWindow keep a tenant from adding members for the rest of it.
	missAfter  = 30
	missWindow = 10 * time.Minute
	// lockMost bounds the keys remembered; beyond it the oldest windows are forgotten.
	lockMost = 10_000
)

// lockout slows guessing: softly, in this process's memory, for what exists and what does not alike.
type lockout struct {
	limit lockoutLimit

	mu       sync.Mutex
	attempts map[string]attempts
}

type lockoutLimit struct {
	after  int
	window time.Duration
	reason string
	text   string
}

func signInLimit() lockoutLimit {
	return lockoutLimit{lockAfter, lockWindow, "SIGN_IN_LOCKED", "too many failed sign-ins for this address: wait a minute and try again"}
}

func missLimit() lockoutLimit {
	return lockoutLimit{missAfter, missWindow, "ADDRESSES_UNKNOWN", "too many addresses that nobody has signed up with: wait ten minutes and try again"}
}

type attempts struct {
	count int
	began time.Time
}

func newLockout(limit lockoutLimit) *lockout {
	return &lockout{limit: limit, attempts: make(map[string]attempts)}
}

// begin counts an attempt before it is looked at, so that guesses sent at once count too.
func (l *lockout) begin(key string, now time.Time) error {
	key = strings.ToLower(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	entry, ok := l.attempts[key]
	if !ok || now.Sub(entry.began) >= l.limit.window {
		if !ok {
			l.makeRoom(now)
		}
		entry = attempts{began: now}
	}
	if entry.count >= l.limit.after {
		return fault.ResourceExhausted(l.limit.reason, "%s", l.limit.text).WithRetryAfter(entry.began.Add(l.limit.window).Sub(now))
	}
	entry.count++
	l.attempts[key] = entry
	return nil
}

// forgive forgets the attempts: the right password was given.
func (l *lockout) forgive(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.attempts, strings.ToLower(key))
}

// takeBack forgets one attempt, which was no guess.
func (l *lockout) takeBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key = strings.ToLower(key)
	if entry, ok := l.attempts[key]; ok {
		entry.count--
		l.attempts[key] = entry
	}
}

func (l *lockout) makeRoom(now time.Time) {
	if len(l.attempts) < lockMost {
		return
	}
	oldest, began := "", now
	for key, entry := range l.attempts {
		if now.Sub(entry.began) >= l.limit.window {
			delete(l.attempts, key)
		} else if !entry.began.After(began) {
			oldest, began = key, entry.began
		}
	}
	if len(l.attempts) >= lockMost {
		delete(l.attempts, oldest)
	}
}
