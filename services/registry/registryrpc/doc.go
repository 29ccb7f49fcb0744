// Package registryrpc puts services/registry on the wire: it decodes requests and encodes answers, and has no rules of its own. Only internal/app
// imports it.
package registryrpc
