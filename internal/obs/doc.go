// Package obs owns how Tenon shows what it does: the process's logger and its tracing. internal/app and the commands call it once at
// start; everything else gets a *slog.Logger or a trace.TracerProvider handed in. It keeps no global state.
package obs
