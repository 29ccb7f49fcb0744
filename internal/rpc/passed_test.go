package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/tenon-run/tenon/internal/fault"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// onePeer runs every service.
type onePeer struct {
	url       string
	transport http.RoundTripper
}

func (p onePeer) Addresses(string) []string    { return []string{p.url} }
func (onePeer) Trusts(netip.Addr) bool         { return true }
func (p onePeer) Transport() http.RoundTripper { return p.transport }

// passing starts a process that passes the calls of the runs service and the pages on to another.
func passing(t *testing.T, to *bundle) *bundle {
	t.Helper()
	authorizer := openHouse{}
	b := &bundle{verifier: to.verifier, waiting: to.waiting, logs: &syncBuffer{}}
	server, err := New(Config{Verifier: b.verifier, Authorizer: authorizer, Log: discard(), Peers: onePeer{url: to.url, transport: to.http2.Transport}})
	if err != nil {
		t.Fatal(err)
	}
	server.Forward(runsv1.File_tenon_runs_v1_runs_proto.Services().ByName("RunService"), "scheduler", false)
	server.ForwardHTTP("/events", "frontend")
	b.server = server
	b.serve(t)
	return b
}

// The process that passes a stream on stops: the caller is told so, in its own protocol, and has every message that came before.
func TestStreamsPassedOnAreTold(t *testing.T) {
	t.Parallel()
	behind := start(t, nil)
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			front := passing(t, behind)
			stream, err := front.runs(w, "dev").WatchRun(t.Context(), &runsv1.WatchRunRequest{RunId: "r"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stream.Close() }()
			if !stream.Receive() || stream.Msg().GetRun().GetOutputJson() != wild {
				t.Fatalf("the stream did not begin: %v", stream.Err())
			}
			<-front.waiting
			stopped := make(chan error, 1)
			go func() { stopped <- front.stop() }()
			if stream.Receive() {
				t.Error("a message came after the stop")
			}
			wantFault(t, stream.Err(), fault.CodeUnavailable, "SHUTTING_DOWN", "this server is stopping")
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		})
	}
}

// A page's stream of events ends with the process that passes it on, and does not hold its stop up.
func TestPageEventsPassedOnEnd(t *testing.T) {
	t.Parallel()
	behind := start(t, nil)
	front := passing(t, behind)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.url+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := front.http1.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	const event = "data: hello\n\n"
	got := make([]byte, len(event))
	if _, err := io.ReadFull(answer.Body, got); err != nil || string(got) != event {
		t.Fatalf("read %q, %v", got, err)
	}
	go func() { _ = front.stop() }()
	if rest, err := io.ReadAll(answer.Body); err != nil || len(rest) > 0 {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}
}

// However a stream is cut into reads, the messages in it are found.
func TestFrameScanner(t *testing.T) {
	t.Parallel()
	var text []byte
	ends := map[int]bool{0: true}
	for _, message := range []string{"", "a", strings.Repeat("b", 300), ""} {
		text = binary.BigEndian.AppendUint32(append(text, 0), uint32(len(message)))
		text = append(text, message...)
		ends[len(text)] = true
	}
	for size := 1; size <= len(text); size++ {
		var f frameScanner
		for at := 0; at < len(text); at += size {
			part := text[at:min(at+size, len(text))]
			want := -1
			for i := range len(part) + 1 {
				if ends[at+i] {
					want = i
				}
			}
			if got := f.scan(part); got != want || f.between() != ends[at+len(part)] || f.ended {
				t.Fatalf("read by %d at %d: %d bytes are whole, want %d; between %t, ended %t", size, at, got, want, f.between(), f.ended)
			}
		}
	}
	for _, flags := range []byte{endOfConnect, endOfGRPCWeb, endOfGRPCWeb | 1} {
		var f frameScanner
		if f.scan([]byte{flags, 0, 0, 0, 2, '{'}) != 0 || !f.ended {
			t.Errorf("the end with flags %x was not seen", flags)
		}
	}
}

// A stream in the middle of a message when the stop begins goes on to the message's end.
func TestStopWaitsForTheMessage(t *testing.T) {
	t.Parallel()
	read, write := io.Pipe()
	ctx, cancel := context.WithCancelCause(t.Context())
	p := &passedStream{page: false, body: read, cancel: cancel, answer: &http.Response{Header: http.Header{"Content-Type": {"application/grpc"}}}}
	server, err := New(Config{Verifier: &fakeVerifier{}, Authorizer: openHouse{}, Log: discard()})
	if err != nil {
		t.Fatal(err)
	}
	if p.request, err = http.NewRequestWithContext(ctx, http.MethodPost, "/", http.NoBody); err != nil {
		t.Fatal(err)
	}
	p.server = server
	p.request.Header.Set("Content-Type", "application/grpc")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, part := range []string{"\x00\x00\x00\x00\x04ab", "cd\x00\x00\x00\x00\x01"} {
			if _, err := io.WriteString(write, part); err != nil {
				t.Error(err)
			}
		}
	}()
	buffer := make([]byte, 64)
	n, err := p.Read(buffer)
	if err != nil || string(buffer[:n]) != "\x00\x00\x00\x00\x04ab" {
		t.Fatalf("read %q, %v", buffer[:n], err)
	}
	p.stop()
	if ctx.Err() != nil {
		t.Fatal("the message was cut")
	}
	if n, err = p.Read(buffer); err != nil || string(buffer[:n]) != "cd" || ctx.Err() == nil {
		t.Errorf("read %q, %v; the other process was told: %t", buffer[:n], err, ctx.Err() != nil)
	}
	<-sent
	if n, err = p.Read(buffer); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
	if got := p.answer.Trailer.Get("Grpc-Status"); got != "14" {
		t.Errorf("the status in the trailers is %q", got)
	}
}
