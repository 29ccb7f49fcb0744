//go:build !linux

package chaos

import "syscall"

// attributes put a child out of reach of the terminal's Ctrl-C.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
