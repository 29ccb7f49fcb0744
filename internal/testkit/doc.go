// Package testkit gives tests the real things: a migrated database of their own on a real Postgres, a bus on a real NATS server in this
// process, and a log that goes to the test. A package that uses Database or that starts goroutines has
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
//
// Only tests import it, except those of fault, loop, pg and embedded, on which it is built (their external test packages may).
package testkit
