// Package dispatcher holds the workers' sessions: it registers workers, streams assignments to them, passes their reports to the owner of
// the tenant's shard, stores their logs and hands out large payloads. It decides nothing about runs. A session is attached to exactly
// one epoch of its shard, and orders from any other are dropped: that fences what no commit fences. Liveness is kept in memory; no
// heartbeat touches the database.
//
// Only internal/app and services/dispatcher/dispatcherrpc import it. SQL stands in db/queries/dispatcher.
package dispatcher
