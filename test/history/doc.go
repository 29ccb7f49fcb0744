// Package history judges what a server did under load and faults. A Recorder keeps what a client was told, Executions what workers did by their
// own files, and Check compares both with what the API says afterwards. It needs nothing of the server but its API, so the server may run anywhere.
// Tests import it.
package history
