// Package progress draws how a run goes: as a picture of its tasks that is redrawn in place on a terminal, or as a line for each change.
//
// cmd/tenon/command imports it.
package progress
