// Package fault holds Tenon's error vocabulary: a few codes, a stable reason for programs, a text for people, and a private cause for
// the logs. What a caller may see (Code, Reason, Message, Fields, Resource, RetryAfter) and what only we may see (the cause) never mix.
//
// It imports the standard library only, and every package may import it. internal/rpc maps the codes to Connect and back;
// internal/pg maps Postgres errors to them; internal/bus carries them between processes.
package fault
