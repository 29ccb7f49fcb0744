// Package authn says who a caller is: it verifies tokens, knows which are revoked, reads a user's membership in the tenant of the call,
// and carries the resulting Principal in the context. What a principal may do is internal/authz's question; tokens are made by
// services/identity alone.
//
// Revocations take effect within a second in every process, and so do changes of a user's role in a tenant, which are told in the same list.
// Each has a running number; identity publishes it and beacons the newest number twice a second. A process that misses a number or a beacon
// reads the list from Postgres.
//
// internal/rpc, internal/authz, internal/app and the services import it.
package authn
