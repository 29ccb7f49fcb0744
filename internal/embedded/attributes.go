package embedded

import "syscall"

// ChildAttributes are for other children of a Tenon process, the example worker for instance: a process group of its own, so that Ctrl-C reaches it
// through its parent, and on Linux an interrupt when the thread that started it dies with the parent. Start it from a locked thread.
func ChildAttributes() *syscall.SysProcAttr { return procAttr(account{}) }
