package embedded

import "syscall"

// procAttr puts the child in a process group of its own, out of reach of the terminal's Ctrl-C. macOS knows no death signal: a Postgres
// left over from a killed parent is found and stopped by the next start.
func procAttr(owner account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: owner.credential(), Setpgid: true}
}
