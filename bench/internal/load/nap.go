package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps for a short while in the kernel, which is more exact than a timer. A signal may end it early.
func nap(d time.Duration) {
	timeout := unix.NsecToTimeval(d.Nanoseconds())
	_, _ = unix.Select(0, nil, nil, nil, &timeout) // cut short, the timer does the rest
}
