package command_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-run/tenon/cmd/tenon/command"
	"github.com/tenon-run/tenon/internal/app/apptest"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	order, fails, expires := y.ended("order", "1"), y.ended("fails", "null"), y.ended("expires", "null")
	y.types("runs", "watch", order)
	y.types("runs", "watch", fails)
	y.types("runs", "watch", expires)
	y.types("runs", "watch", nobodysRun)
	y.types("runs", "watch", "mine")
	y.types("runs", "watch")
	y.golden("watch")
	if a := y.quietly("", "runs", "watch", order, "-o", "json"); a.code != 0 || strings.Count(a.out, "\n") != 1 || !strings.Contains(a.out, `"status":"RUN_STATUS_COMPLETED"`) {
		t.Errorf("exit %d, want a line of JSON: %s%s", a.code, a.out, a.err)
	}
}

// A terminal shows the last picture of the run where the first one stood.
func TestWatchRedrawsInPlace(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	gate := works(t, server)
	y.terminal = true
	slow := strings.Fields(y.quietly("", "runs", "trigger", "slow").out)[0]
	screen := newScreen("running")
	code := make(chan int, 1)
	go func() {
		code <- command.Run(t.Context(), y.host(nil, screen, io.Discard), []string{"runs", "watch", slow})
	}()
	screen.wait(t)
	gate.open()
	if got := <-code; got != 0 {
		t.Errorf("exit %d", got)
	}
	text := screen.String()
	if !strings.HasPrefix(text, "\x1b[?25l") || !strings.HasSuffix(text, "\x1b[?25h") {
		t.Error("the cursor is not hidden and shown again")
	}
	pictures := strings.Split(text, "\x1b[2A\r")
	if last := pictures[len(pictures)-1]; len(pictures) < 2 || !strings.Contains(last, "✓") || !strings.Contains(last, "1 of 1 task") || strings.Contains(last, "running") {
		t.Errorf("%d pictures, the last: %q", len(pictures), last)
	}
}

// Each change is a line where there is no terminal, in the order in which things happened.
func TestWatchAppendsLines(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	gate := works(t, server)
	slow := strings.TrimSpace(y.quietly("", "runs", "trigger", "slow").out)
	screen := newScreen("slow  running")
	code := make(chan int, 1)
	go func() {
		code <- command.Run(t.Context(), y.host(nil, screen, io.Discard), []string{"runs", "watch", slow})
	}()
	screen.wait(t)
	gate.open()
	if got := <-code; got != 0 {
		t.Errorf("exit %d", got)
	}
	text := screen.String()
	at := -1
	for _, want := range []string{"run running\n", "slow  running\n", "slow  completed", "run completed"} {
		next := strings.Index(text, want)
		if next <= at {
			t.Errorf("%q is missing or too early:\n%s", want, text)
		}
		at = next
	}
}

// Ctrl-C ends the watching and not the run, and leaves the terminal with its cursor.
func TestCtrlCEndsTheWatching(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	y.terminal = true
	slow := strings.Fields(y.quietly("", "runs", "trigger", "slow").out)[0]
	for name, args := range map[string][]string{
		"table": {"runs", "watch", slow}, "json": {"runs", "watch", slow, "-o", "json"},
	} {
		t.Run(name, func(t *testing.T) {
			screen := newScreen("slow")
			var told bytes.Buffer
			ctx, interrupt := context.WithCancel(t.Context())
			code := make(chan int, 1)
			go func() { code <- command.Run(ctx, y.host(nil, screen, &told), args) }()
			screen.wait(t)
			interrupt()
			if got := <-code; got != command.ExitInterrupted || !strings.Contains(told.String(), "run "+slow+" goes on") {
				t.Errorf("exit %d: %s", got, told.String())
			}
			if name == "table" && !strings.HasSuffix(screen.String(), "\x1b[?25h") {
				t.Error("the cursor stays hidden")
			}
		})
	}
	if a := y.quietly("", "runs", "get", slow, "-o", "json"); !strings.Contains(a.out, "RUN_STATUS_RUNNING") {
		t.Errorf("the run does not go on: %s", a.out)
	}
}

// Ctrl-C ends a question too, although nothing was typed.
func TestCtrlCEndsAQuestion(t *testing.T) {
	t.Parallel()
	y := newTypist(t)
	reader, writer := io.Pipe()
	defer writer.Close() //nolint:errcheck // it ends the reader that is left
	ctx, interrupt := context.WithCancel(t.Context())
	asked := newScreen("Email")
	host := y.host(reader, io.Discard, asked)
	host.Secret = func(context.Context) (string, error) { return "", nil }
	code := make(chan int, 1)
	go func() { code <- command.Run(ctx, host, []string{"login"}) }()
	asked.wait(t)
	interrupt()
	if got := <-code; got != command.ExitInterrupted {
		t.Errorf("exit %d", got)
	}
}

// A watch goes on when its connection breaks, and tells nothing twice.
func TestWatchOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	gate := works(t, server)
	line := newCable(t, server)
	far := newTypist(t)
	if a := far.quietly(server.Password, "login", line.address(), "--email", apptest.Email("acme")); a.code != 0 {
		t.Fatal(a.err)
	}
	slow := strings.TrimSpace(y.quietly("", "runs", "trigger", "slow").out)
	screen := newScreen("slow  running")
	code := make(chan int, 1)
	go func() {
		code <- command.Run(t.Context(), far.host(nil, screen, io.Discard), []string{"runs", "watch", slow})
	}()
	screen.wait(t)
	line.cut()
	gate.open()
	if got := <-code; got != 0 {
		t.Errorf("exit %d", got)
	}
	if text := screen.String(); strings.Count(text, "slow  running") != 1 || strings.Count(text, "run completed") != 1 {
		t.Errorf("told twice, or not at all:\n%s", text)
	}
}

func TestServerAway(t *testing.T) {
	t.Parallel()
	_, y := signedIn(t)
	away := y.with("TENON_CLIENT_TOKEN", "eyJhIjoxfQ.eyJhIjoxfQ.c2lnbmF0dXJl")
	away.env["TENON_CLIENT_ADDRESS"] = "http://127.0.0.1:1"
	away.types("runs", "list")
	away.types("runs", "watch", nobodysRun)
	away.env["TENON_CLIENT_ADDRESS"] = "127.0.0.1:1"
	away.types("runs", "list")
	delete(away.env, "TENON_CLIENT_ADDRESS")
	away.types("runs", "list")
	away.golden("away")
}

// screen is a stream that can be waited at for a text.
type screen struct {
	mu     sync.Mutex
	text   bytes.Buffer
	wanted string
	shown  chan struct{}
	once   sync.Once
}

func newScreen(wanted string) *screen { return &screen{wanted: wanted, shown: make(chan struct{})} }

func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.text.Write(text)
	if strings.Contains(s.text.String(), s.wanted) {
		s.once.Do(func() { close(s.shown) })
	}
	return n, err
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) wait(t *testing.T) {
	t.Helper()
	select {
	case <-s.shown:
	case <-time.After(patience):
		t.Fatalf("%q is not shown: %s", s.wanted, s.String())
	}
}

// cable leads to a server and can be cut; what is dialled afterwards gets through.
type cable struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	all      sync.WaitGroup
}

func newCable(t *testing.T, server *apptest.Server) *cable {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener}
	c.all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", strings.TrimPrefix(server.Address, "http://"))
			if err != nil {
				_ = near.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, near, far)
			c.mu.Unlock()
			c.all.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			c.all.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		c.cut()
		c.all.Wait()
	})
	return c
}

func (c *cable) address() string { return "http://" + c.listener.Addr().String() }

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}
