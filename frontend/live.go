package frontend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/a-h/templ"
)

// calm is the least time between two pictures of the same page: a person sees no more, and a run of 300 tasks changes faster.
const calm = 200 * time.Millisecond

// stream is an answer of server-sent events. Each event holds all of what it replaces, so whoever missed some needs the last one only: a
// browser that connects again, to whichever process, is up to date with the first.
type stream struct {
	w     http.ResponseWriter
	flush *http.ResponseController
	last  string
}

// live answers with events until the viewer leaves or the API ends the stream; the browser then connects again.
func (s *site) live(follow func(r *http.Request, v visitor, out *stream) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := s.visit(w, r)
		switch {
		case connect.CodeOf(err) == connect.CodeUnauthenticated && err != nil:
			http.Error(w, "the session has ended; sign in again", http.StatusUnauthorized)
			return
		case err != nil:
			status, text := s.problem(r, err)
			http.Error(w, text, status)
			return
		case !s.enter(r, &v):
			http.Error(w, "you are not a member of this tenant", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // proxies that gather answers would hold events back
		out := &stream{w: w, flush: http.NewResponseController(w)}
		// The browser hears at once that it is connected; the API may have nothing to say for a while.
		if err = out.beat(); err == nil {
			err = follow(r, v, out)
		}
		if r.Context().Err() != nil || err == nil {
			return
		}
		switch connect.CodeOf(err) {
		case connect.CodeUnauthenticated:
			_ = out.event("ended", "")
		case connect.CodeNotFound, connect.CodePermissionDenied, connect.CodeInvalidArgument:
			// Asking again would give the same answer.
			_ = out.event("refused", publicText(err))
		default:
			s.cfg.Log.DebugContext(r.Context(), "frontend: a live page lost the API; the browser comes back", slog.String("path", r.URL.Path), slog.Any("error", err))
		}
	}
}

// show sends what the page shall show; the same as before is not sent again.
func (o *stream) show(ctx context.Context, c templ.Component) error {
	var body bytes.Buffer
	if err := c.Render(ctx, &body); err != nil {
		return fmt.Errorf("frontend: render a live page: %w", err)
	}
	if body.String() == o.last {
		return o.beat()
	}
	o.last = body.String()
	return o.event("", o.last)
}

// add sends what comes to what the page shows. Whoever comes back after a broken connection names the id of what it has seen last.
func (o *stream) add(ctx context.Context, id string, c templ.Component) error {
	if _, err := io.WriteString(o.w, "id: "+id+"\n"); err != nil {
		return err
	}
	var body bytes.Buffer
	if err := c.Render(ctx, &body); err != nil {
		return fmt.Errorf("frontend: render a live page: %w", err)
	}
	return o.event("", body.String())
}

// beat keeps proxies from closing a quiet stream, and finds out whether somebody is there.
func (o *stream) beat() error {
	if _, err := io.WriteString(o.w, ": beat\n\n"); err != nil {
		return err
	}
	return o.flush.Flush()
}

func (o *stream) event(name, data string) error {
	var text strings.Builder
	if name != "" {
		text.WriteString("event: " + name + "\n")
	}
	for line := range strings.Lines(data) {
		text.WriteString("data: " + strings.TrimRight(line, "\r\n") + "\n")
	}
	if data == "" {
		text.WriteString("data:\n")
	}
	text.WriteString("\n")
	if _, err := io.WriteString(o.w, text.String()); err != nil {
		return err
	}
	return o.flush.Flush()
}

// latest calls show after what a stream of the API brings, where it tells a change, at most once every calm; a beat is passed on. It ends with
// the stream, and returns why that ended.
func latest[T any](ctx context.Context, out *stream, from *connect.ServerStreamForClient[T], tells func(*T) bool, show func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	messages, ended := make(chan bool), make(chan error, 1)
	defer func() {
		cancel()
		_ = from.Close()
		for range messages { //nolint:revive // let the reader end
		}
	}()
	go func() {
		defer close(messages)
		for from.Receive() {
			select {
			case messages <- tells(from.Msg()):
			case <-ctx.Done():
			}
		}
		ended <- from.Err()
	}()
	return pace(ctx, out, messages, ended, show)
}

// pace shows what has changed once the last picture is old enough. What came before the end is shown before it ends.
func pace(ctx context.Context, out *stream, changes <-chan bool, ended <-chan error, show func() error) error {
	var due <-chan time.Time
	var shown time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case changed, open := <-changes:
			switch {
			case !open:
				if due != nil {
					if err := show(); err != nil {
						return err
					}
				}
				return <-ended
			case changed && due == nil:
				due = time.After(time.Until(shown.Add(calm)))
			case !changed:
				if err := out.beat(); err != nil {
					return err
				}
			}
		case <-due:
			due, shown = nil, time.Now()
			if err := show(); err != nil {
				return err
			}
		}
	}
}
