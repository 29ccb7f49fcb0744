package load

import (
	"syscall"
	"time"
)

// nap sleeps for a short while, more exactly than a timer. A signal may end it early.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil) // cut short, the timer does the rest
}
