// Package model explores small models of Tenon's protocols to the last state: who owns a shard and what its commits may do (ownership), and how a task
// is sent, stopped, reported and brought back while owners, dispatchers, streams and workers fail (assignment). What test/sim samples at full size by
// chance, these prove for few actors and few faults. A model that lacks one of a protocol's rules must fail, with the shortest way there. Nothing imports it.
package model
