// Package pieces tests an install of several processes: each runs some of the services, all accept every call, and schedulers share the
// shards. The processes live in the test's own, each with connections of its own; test/chaos kills real ones.
package pieces
