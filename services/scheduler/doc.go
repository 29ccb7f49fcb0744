// Package scheduler owns runs: it admits them, moves them along and answers for them. Its heart is the pure engine (package engine); around
// it the owner loop reads the mailbox of the shards that this process holds, commits what the engine wants written, many steps in one
// transaction, and lets effects out once they are durable. The Service in front is what callers reach in any process: it checks requests,
// sends them to the shard's owner, and reads rows. Only internal/app and schedulerrpc import it.
package scheduler
