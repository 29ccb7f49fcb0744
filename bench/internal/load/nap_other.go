//go:build !linux

package load

import "time"

// nap leaves it to the timer.
func nap(time.Duration) {}
