package tenon

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenon-run/tenon/sdk/go/internal/faketenon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bench struct {
	t      *testing.T
	server *faketenon.Server
	client *Client
	ctx    context.Context
}

// setup starts a fake server and a client of it. The context ends a test that hangs.
func setup(t *testing.T, change ...func(*faketenon.Server)) *bench {
	t.Helper()
	b := &bench{t: t, server: faketenon.New()}
	for _, f := range change {
		f(b.server)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	b.ctx = ctx
	var err error
	b.client, err = NewClient(WithToken(faketenon.Token), WithAddress(b.server.URL()), WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		func(c *clientConfig) {
			c.backoff = backoff{first: time.Millisecond, most: 10 * time.Millisecond}
			c.openPatience = time.Hour
		})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := b.client.Close(); err != nil {
			t.Error(err)
		}
		b.server.Close()
		if tr, ok := http.DefaultTransport.(*http.Transport); ok {
			tr.CloseIdleConnections()
		}
	})
	return b
}

// start runs a worker; stop ends it and gives what Run returned. It is stopped at the end of the test at the latest.
func (b *bench) start(opts ...WorkerOption) (stop func() error) {
	b.t.Helper()
	w, err := b.client.NewWorker(opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	b.t.Cleanup(func() {
		if err := stop(); err != nil {
			b.t.Errorf("worker: %v", err)
		}
	})
	b.until("the worker is there", func(s *faketenon.Seen) bool { return len(s.Listens) > 0 })
	return stop
}

func (b *bench) until(what string, ok func(*faketenon.Seen) bool) {
	b.t.Helper()
	if err := b.server.Until(b.ctx, ok); err != nil {
		b.t.Fatalf("waiting until %s: %v", what, err)
	}
}

func (b *bench) receive(what string, c <-chan struct{}) {
	b.t.Helper()
	select {
	case <-c:
	case <-b.ctx.Done():
		b.t.Fatalf("waiting for %s: %v", what, b.ctx.Err())
	}
}
