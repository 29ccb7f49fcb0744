// Package chaos breaks an install on purpose, under load, and looks whether it kept its promises. An Install is the real thing in pieces: a Postgres,
// a NATS server, tenond processes and workers, each a process of its own, and a client that keeps triggering and writes down every acknowledgement.
// A Fault strikes one of them in the instant when it has enough work in its hands; what became of that work is read afterwards from the API and
// the workers' own files, and Verdict holds everything against everything (package history). The tests run each fault once, the program in long/
// runs them in random order for as long as it is told. Only those two import it.
//
// NATS and the workers are this program again: it calls Main first.
package chaos
