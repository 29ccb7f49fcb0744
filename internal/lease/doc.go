// Package lease knows who owns a shard. An owner holds a row in Postgres with an epoch; taking it bumps the epoch under an exclusive lock
// that waits for the old owner's commits, so that safety rests on the epoch and never on time. Edges and dispatchers use Directory and
// Caller to reach the owner; the scheduler uses Store to take, keep and give back shards.
package lease
