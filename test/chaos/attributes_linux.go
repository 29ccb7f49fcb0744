package chaos

import "syscall"

// attributes put a child out of reach of the terminal's Ctrl-C and let the kernel kill it when this process is no more, stopped or not.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
