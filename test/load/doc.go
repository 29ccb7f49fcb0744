// Package load is work whose result can be checked: a workflow whose output follows from its input, worker processes that serve it and write down
// each execution, and clients that keep triggering it and write down each answer. What came of it is judged by package history. Tests import it.
//
// The worker process is the test binary itself: TestMain of a package that uses Start calls Main first.
package load
