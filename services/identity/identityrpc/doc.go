// Package identityrpc puts services/identity on the wire: it decodes requests and encodes answers, and has no rules of its own. internal/app
// imports it.
package identityrpc
