package frontend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/a-h/templ"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
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

// source takes in what a stream of the API brings until it ends, and returns why it did. It tells of each message whether that is a change or a beat.
type source func(ctx context.Context, tell func(changed bool)) error

// from is the source of a stream, which tells of a change where changed says so. The stream is opened with a context of its own: a call's headers are in
// it.
func from[Req, Msg any](own context.Context, open func(context.Context, *Req) (*connect.ServerStreamForClient[Msg], error), req *Req, changed func(*Msg) bool) source {
	return func(ctx context.Context, tell func(bool)) error {
		own, cancel := context.WithCancel(own)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		stream, err := open(own, req)
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		for stream.Receive() {
			tell(changed(stream.Msg()))
		}
		return stream.Err()
	}
}

// ofRuns follows the tenant's runs, or those that the request asks for.
func (s *site) ofRuns(r *http.Request, v visitor, req *runsv1.WatchRunsRequest) source {
	return from(v.call(r), s.runs.WatchRuns, req, func(m *runsv1.WatchRunsResponse) bool {
		return m.GetReset_() || len(m.GetRuns()) > 0
	})
}

// ofWorkers follows the tenant's workers, or one of them with what it runs.
func (s *site) ofWorkers(r *http.Request, v visitor, worker string) source {
	return from(v.call(r), s.workers.WatchWorkers, &workersv1.WatchWorkersRequest{WorkerId: worker}, func(m *workersv1.WatchWorkersResponse) bool {
		return m.GetReset_() || len(m.GetWorkers()) > 0
	})
}

// latest calls show after what the sources tell, at most once every calm; a beat is passed on. It ends with the first of them, and returns why that
// ended.
func latest(ctx context.Context, out *stream, show func(context.Context) error, sources ...source) error {
	ctx, cancel := context.WithCancel(ctx)
	changes, ended := make(chan bool), make(chan error, len(sources))
	var reading sync.WaitGroup
	defer func() {
		cancel()
		reading.Wait()
	}()
	for _, read := range sources {
		reading.Go(func() {
			ended <- read(ctx, func(changed bool) {
				select {
				case changes <- changed:
				case <-ctx.Done():
				}
			})
		})
	}
	return pace(ctx, out, changes, ended, func() error { return show(ctx) })
}

// pace shows what has changed once the last picture is old enough. What came before the end is shown before it ends.
func pace(ctx context.Context, out *stream, changes <-chan bool, ended <-chan error, show func() error) error {
	var due <-chan time.Time
	var shown time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			if due != nil {
				if showErr := show(); showErr != nil {
					return showErr
				}
			}
			return err
		case changed := <-changes:
			switch {
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
