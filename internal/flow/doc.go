// Package flow is Tenon's vocabulary: ids, states and the moves between them, retry and timeout policies, and the planner that checks
// a workflow's shape. It is pure: standard library only, no I/O, no clock. Every package of the server may import it; it imports none.
package flow
