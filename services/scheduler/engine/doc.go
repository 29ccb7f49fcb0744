// Package engine is the pure core of the scheduler: a deterministic state machine that owns the runs of one shard. It does no I/O, reads no
// clock, starts no goroutine; ids and chance come from a seed. The shell around it (package scheduler) feeds inputs, commits the
// changes, answers the asks and lets the effects out once the commit is known. Only the scheduler imports it, and it imports only flow.
//
// Rules that the code relies on, and that docs/architecture.md explains:
//   - a row in memory is newer than any row read;
//   - an answer to an ask shows at least every change of the step that asked;
//   - effects of a step leave after its changes are durable, in step order;
//   - no map is ever iterated where the order could reach an output.
package engine
