package frontend

import (
	"bytes"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"
	"github.com/a-h/templ"
)

// render writes a whole page or, when it cannot be made, a plain error: never half a page with status 200.
func (s *site) render(w http.ResponseWriter, r *http.Request, status int, page templ.Component) {
	var body bytes.Buffer
	if err := page.Render(r.Context(), &body); err != nil {
		s.cfg.Log.ErrorContext(r.Context(), "frontend: a page could not be made", slog.String("path", r.URL.Path), slog.Any("error", err))
		http.Error(w, "This page could not be made; the server's log has the details.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}

// problem turns an API error into what a viewer is told and the page's status. The message is the API's public text; faults of the
// server's own are logged too.
func (s *site) problem(r *http.Request, err error) (int, string) {
	status := http.StatusBadGateway
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeOutOfRange, connect.CodeFailedPrecondition:
		status = http.StatusBadRequest
	case connect.CodeUnauthenticated:
		status = http.StatusUnauthorized
	case connect.CodePermissionDenied:
		status = http.StatusForbidden
	case connect.CodeNotFound:
		status = http.StatusNotFound
	case connect.CodeAlreadyExists, connect.CodeAborted:
		status = http.StatusConflict
	case connect.CodeResourceExhausted:
		status = http.StatusTooManyRequests
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled:
		status = http.StatusServiceUnavailable
	default:
	}
	if status < http.StatusInternalServerError {
		return status, publicText(err)
	}
	s.cfg.Log.WarnContext(r.Context(), "frontend: a call to the API failed", slog.String("path", r.URL.Path), slog.Any("error", err))
	if connect.IsWireError(err) {
		return status, publicText(err)
	}
	// The client's own words ("dial tcp ...") tell a viewer nothing and an attacker something.
	return status, "The API does not answer at the moment. Nothing was changed: try again shortly."
}
