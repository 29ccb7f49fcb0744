// Package identity serves tenon.identity.v1: it signs users up and in, makes tenants, and makes, lists and revokes tokens. It alone holds the
// private signing keys (sealed in Postgres under the master key) and the passwords' hashes, and it publishes revocations and their beacon.
//
// Its callers have passed internal/authn and internal/authz already; what it checks itself are the rules that depend on data. internal/app builds
// it, identityrpc puts it on the wire. Secrets (passwords, hashes, tokens, keys) are neither logged nor put into errors.
package identity
