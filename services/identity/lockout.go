package identity

import (
	"strings"
	"sync"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
)

const (
	// lockAfter attempts within lockWindow close an address for the rest of it.
	lockAfter  = 10
	lockWindow = time.Minute
	// lockMost bounds the addresses remembered; beyond it the oldest windows are forgotten.
	lockMost = 10_000
)

// lockout slows guessing at one user's password: softly, in this process's memory, for known and unknown addresses alike.
type lockout struct {
	mu       sync.Mutex
	attempts map[string]attempts
}

type attempts struct {
	count int
	began time.Time
}

func newLockout() *lockout { return &lockout{attempts: make(map[string]attempts)} }

// begin counts an attempt before its password is looked at, so that guesses sent at once count too.
func (l *lockout) begin(email string, now time.Time) error {
	key := strings.ToLower(email)
	l.mu.Lock()
	defer l.mu.Unlock()
	entry, ok := l.attempts[key]
	if !ok || now.Sub(entry.began) >= lockWindow {
		if !ok {
			l.makeRoom(now)
		}
		entry = attempts{began: now}
	}
	if entry.count >= lockAfter {
		return fault.ResourceExhausted("SIGN_IN_LOCKED", "too many failed sign-ins for this address: wait a minute and try again").
			WithRetryAfter(entry.began.Add(lockWindow).Sub(now))
	}
	entry.count++
	l.attempts[key] = entry
	return nil
}

// forgive forgets the attempts: the right password was given.
func (l *lockout) forgive(email string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.attempts, strings.ToLower(email))
}

func (l *lockout) makeRoom(now time.Time) {
	if len(l.attempts) < lockMost {
		return
	}
	oldest, began := "", now
	for key, entry := range l.attempts {
		if now.Sub(entry.began) >= lockWindow {
			delete(l.attempts, key)
		} else if !entry.began.After(began) {
			oldest, began = key, entry.began
		}
	}
	if len(l.attempts) >= lockMost {
		delete(l.attempts, oldest)
	}
}
