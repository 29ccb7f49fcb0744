package embedded

import "syscall"

// procAttr puts the child in a process group of its own, out of reach of the terminal's Ctrl-C, and lets the kernel ask it to stop
// (SIGINT, Postgres's fast shutdown) when the thread that started it dies with this process.
func procAttr(owner account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: owner.credential(), Setpgid: true, Pdeathsig: syscall.SIGINT}
}
