package main

import "syscall"

// childAttributes give a child a process group of its own, so that Ctrl-C reaches it through us, and a death signal that follows ours.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
