package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"

	"connectrpc.com/connect"
)

const (
	// framePrefix is the length of what stands before each message of a stream in all three protocols: flags, and the length in four bytes.
	framePrefix = 5
	// endOfConnect and endOfGRPCWeb flag the frame that ends a stream.
	endOfConnect, endOfGRPCWeb = 0x02, 0x80
)

// passedStream is the answer of another process to a streaming call. When this process stops, it ends the stream between two messages with
// errStopping in the caller's protocol, as a stream of its own would end: the caller need not take it for a broken connection.
type passedStream struct {
	server  *Server
	request *http.Request
	cancel  context.CancelCauseFunc
	// page is a call of the dashboard: only its stream of events is one that the stop ends, and the browser opens it again by itself.
	page bool

	answer *http.Response
	body   io.ReadCloser
	// end is what the stream's reader gets after the last whole message, once it was cut off.
	end io.Reader

	mu       sync.Mutex // between the reader and the stop
	stopping bool
	frames   frameScanner
}

type passedKey struct{}

// passStream lets forward pass on a call that may become a stream, and ends it with the server.
func (s *Server) passStream(w http.ResponseWriter, r *http.Request, forward http.Handler, page bool) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	passed := &passedStream{server: s, request: r, cancel: cancel, page: page}
	defer context.AfterFunc(s.stopping, passed.stop)()
	defer context.AfterFunc(s.ended, func() { cancel(errStopping) })()
	forward.ServeHTTP(w, r.WithContext(context.WithValue(ctx, passedKey{}, passed)))
}

// stop ends the stream at the next end of a message; at once when none is under way.
func (p *passedStream) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	if p.frames.between() && (!p.page || p.answer != nil) {
		p.cancel(errStopping)
	}
}

// takePassed makes answer a stream that can be ended, where it is one.
func takePassed(answer *http.Response) error {
	p, ok := answer.Request.Context().Value(passedKey{}).(*passedStream)
	kind := answer.Header.Get("Content-Type")
	if !ok || answer.StatusCode != http.StatusOK {
		return nil
	}
	if p.page && kind != "text/event-stream" || !p.page && !strings.HasPrefix(kind, "application/connect+") && !strings.HasPrefix(kind, "application/grpc") {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer, p.body = answer, answer.Body
	answer.Body = p
	if p.stopping {
		p.cancel(errStopping)
	}
	return nil
}

// Read implements io.Reader.
func (p *passedStream) Read(to []byte) (int, error) {
	if p.end != nil {
		return p.end.Read(to) //nolint:wrapcheck // io.EOF
	}
	n, err := p.body.Read(to)
	p.mu.Lock()
	defer p.mu.Unlock()
	whole := n
	if !p.page {
		whole = p.frames.scan(to[:n])
	}
	if !p.stopping || p.frames.ended || errors.Is(err, io.EOF) || whole < 0 {
		return n, err //nolint:wrapcheck // it is the proxy's to make something of
	}
	p.cancel(errStopping)
	if p.end, err = p.farewell(); err != nil {
		return whole, err
	}
	return whole, nil
}

// Close implements io.Closer.
func (p *passedStream) Close() error { return p.body.Close() } //nolint:wrapcheck // nobody reads it

// farewell is how errStopping ends a stream that has begun: what stands in its body, after it has set the trailers.
func (p *passedStream) farewell() (io.Reader, error) {
	if p.page {
		return http.NoBody, nil
	}
	// Connect's own writer answers as if nothing had been sent: what it puts into the headers belongs into trailers now.
	said := &recorded{header: make(http.Header)}
	public := ToConnect(errStopping, newRequestID(p.request.Context()))
	if err := connect.NewErrorWriter(p.server.options...).Write(said, p.request, public); err != nil {
		return nil, err //nolint:wrapcheck // cannot be told to anybody
	}
	trailers := make(http.Header)
	for name, values := range said.header {
		if strings.HasPrefix(name, "Grpc-") {
			trailers[name] = values
		}
	}
	switch kind := p.answer.Header.Get("Content-Type"); {
	case strings.HasPrefix(kind, "application/connect+"):
		return &said.Buffer, nil
	case strings.HasPrefix(kind, "application/grpc-web"):
		var text bytes.Buffer
		for name, values := range trailers {
			for _, value := range values {
				text.WriteString(strings.ToLower(name) + ": " + value + "\r\n")
			}
		}
		prefix := binary.BigEndian.AppendUint32([]byte{endOfGRPCWeb}, uint32(text.Len())) //nolint:gosec // a few hundred bytes
		return io.MultiReader(bytes.NewReader(prefix), &text), nil
	default:
		if p.answer.Trailer == nil {
			p.answer.Trailer = make(http.Header)
		}
		maps.Copy(p.answer.Trailer, trailers)
		return http.NoBody, nil
	}
}

// recorded keeps an answer in memory.
type recorded struct {
	bytes.Buffer

	header http.Header
}

// Header implements http.ResponseWriter.
func (r *recorded) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorded) WriteHeader(int) {}

// frameScanner follows the messages of a stream.
type frameScanner struct {
	prefix [framePrefix]byte
	have   int  // bytes of the prefix
	left   int  // bytes of the message that are still to come
	ended  bool // the stream's own end has begun
}

// between tells whether no message is under way.
func (f *frameScanner) between() bool { return f.have == 0 && f.left == 0 }

// scan takes the next bytes of a stream, and returns how many of them belong to whole messages; -1 when they all belong to one that goes on.
func (f *frameScanner) scan(part []byte) int {
	whole := -1
	if f.between() {
		whole = 0
	}
	for at := 0; at < len(part); {
		if f.left == 0 {
			n := copy(f.prefix[f.have:], part[at:])
			at, f.have = at+n, f.have+n
			if f.have < framePrefix {
				break
			}
			f.left = int(binary.BigEndian.Uint32(f.prefix[1:]))
			f.ended = f.ended || f.prefix[0]&(endOfConnect|endOfGRPCWeb) != 0
		}
		n := min(f.left, len(part)-at)
		at, f.left = at+n, f.left-n
		if f.left == 0 {
			f.have, whole = 0, at
		}
	}
	return whole
}
