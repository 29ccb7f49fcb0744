// Package embedded starts what Tenon needs beside itself, for `tenond dev` and for tests: a NATS server inside the process, and a
// Postgres as a child process with its data in the checkout. Both are the real thing with production's durability settings.
//
// internal/app, internal/testkit and cmd/tenond import it.
package embedded
