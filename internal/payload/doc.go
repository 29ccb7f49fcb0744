// Package payload is the one judge of what may be an input, an output or a field of a log line: one JSON text by RFC 8259 that Postgres, NATS and
// every SDK can carry. It looks and changes nothing, so that numbers keep all their digits. It imports internal/fault only; every service may import it.
package payload
