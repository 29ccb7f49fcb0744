package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// held is a server with a worker whose task "hold" says that it has begun, and goes on when it is let go.
type held struct {
	*apptest.Server
	api        *tenon.Client
	workflow   *tenon.Workflow[int, int]
	token      string // of a developer
	begun, out chan struct{}
}

func newHeld(t *testing.T) *held {
	t.Helper()
	h := &held{Server: apptest.Start(t), begun: make(chan struct{}), out: make(chan struct{})}
	h.api = client(t, h.Server, authz.RoleDeveloper)
	_, h.token = h.Token(t, h.Owner, authz.RoleDeveloper, time.Hour)
	h.workflow = tenon.NewTask("hold", func(ctx tenon.Context, n int) (int, error) {
		select {
		case h.begun <- struct{}{}:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		select {
		case <-h.out:
			return n + 1, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	work(t, client(t, h.Server, ""), tenon.WithWorkflows(h.workflow))
	return h
}

// start triggers a run and waits until its task has begun.
func (h *held) start(t *testing.T) *tenon.Run[int] {
	t.Helper()
	run := untilKnown(t, func() (*tenon.Run[int], error) { return h.workflow.Trigger(t.Context(), h.api, 41) })
	h.hasBegun(t)
	return run
}

func (h *held) hasBegun(t *testing.T) {
	t.Helper()
	select {
	case <-h.begun:
	case <-time.After(time.Minute):
		t.Fatal("the task has not begun")
	}
}

// goesOn lets the run's task go on, and reads the result from the run itself.
func (h *held) goesOn(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case h.out <- struct{}{}:
	case <-ctx.Done():
		t.Fatal("the task does not wait any more")
	}
	got, err := h.workflow.Handle(h.api, id).Result(ctx)
	if err != nil || got != 42 {
		t.Errorf("the result is %d, want 42: %v", got, err)
	}
	run, err := h.api.GetRun(ctx, id)
	if err != nil || run.GetTasks()[0].GetAttempt() != 1 || run.GetTasks()[0].GetLostAttempts() != 0 {
		t.Errorf("the run was disturbed: %v, %v", run, err)
	}
}

// inside tells whether a goroutine of this process is in a function.
func inside(t *testing.T, function string) bool {
	t.Helper()
	var stacks strings.Builder
	const whole = 2
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, whole); err != nil {
		t.Fatal(err)
	}
	return strings.Contains(stacks.String(), function)
}

// gone waits until no goroutine is in a function any more. It reads a run in between, so the server is seen to answer meanwhile.
func (h *held) gone(t *testing.T, id, function string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); inside(t, function); {
		if time.Now().After(deadline) {
			t.Fatalf("a goroutine is still in %s after its client has gone", function)
		}
		if _, err := h.api.GetRun(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// openStream posts one message to a streaming method over a bare connection, reads the first message of the answer and hands the connection out.
func openStream(t *testing.T, address, token, method, message string) (net.Conn, string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	body := string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message //nolint:gosec // short
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/connect+json\r\n"+
		"Connect-Protocol-Version: 1\r\nContent-Length: %d\r\n\r\n%s", method, token, len(body), body); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %v", method, answer, err)
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(answer.Body, head); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	first := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(answer.Body, first); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return conn, string(first)
}

// Where the server's goroutines are while a client watches or waits.
const watching, awaiting = "scheduler.(*Service).Watch(", "scheduler.(*Service).TriggerAndAwait("

// The tests below look at all goroutines of the process, so they do not run beside others.

// A reader hangs up in the middle of WatchRun.
//
//nolint:paralleltest // see above
func TestWatcherHangsUp(t *testing.T) {
	h := newHeld(t)
	run := h.start(t)
	conn, first := openStream(t, h.Address, h.token, runService+"WatchRun", `{"runId": "`+run.ID()+`"}`)
	if !strings.Contains(first, run.ID()) || !inside(t, watching) {
		t.Errorf("the first message is %s", first)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	h.gone(t, run.ID(), watching)
	h.goesOn(t, run.ID())
}

// A caller gives up in the middle of TriggerAndWait: nobody waits for the run any more, and it goes on.
//
//nolint:paralleltest // see above
func TestWaiterHangsUp(t *testing.T) {
	h := newHeld(t)
	h.goesOn(t, h.start(t).ID()) // by now the workflow is known
	id, err := tenon.NewRunID()
	if err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	ended := make(chan error, 1)
	go func() {
		_, err := h.api.Runs().TriggerAndWait(ctx, &runsv1.TriggerAndWaitRequest{Run: &runsv1.NewRun{RunId: id, Workflow: "hold", InputJson: "41"}})
		ended <- err
	}()
	h.hasBegun(t)
	if !inside(t, awaiting) {
		t.Error("nobody waits for the run")
	}
	hangUp()
	if err := <-ended; connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("the call ended with %v", err)
	}
	h.gone(t, id, awaiting)
	h.goesOn(t, id)
}

// A worker's connection breaks in the middle of Listen, and the worker never comes back: its session ends after the grace, and the other worker's does not.
//
//nolint:paralleltest // see above
func TestListenerHangsUp(t *testing.T) {
	h := newHeld(t)
	run := h.start(t)
	pool := testkit.Pool(t, h.DatabaseURL)
	before := openSessions(t, pool)
	if before != 1 {
		t.Fatalf("%d sessions are open, want the worker's", before)
	}
	_, token := h.Token(t, h.Owner, "", time.Hour)
	plain := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(plain.CloseIdleConnections)
	made, err := workersv1connect.NewWorkerServiceClient(plain, h.Address, withToken(token)).Register(t.Context(), &workersv1.RegisterRequest{Actions: []string{"hold/hold"}, Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	conn, first := openStream(t, h.Address, token, workerService+"Listen", `{"workerId": "`+made.GetWorkerId()+`", "session": 1}`)
	if !strings.Contains(first, "opened") {
		t.Errorf("the first message is %s", first)
	}
	if open := openSessions(t, pool); open != before+1 {
		t.Errorf("%d sessions are open beside a listener, want %d", open, before+1)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for open := openSessions(t, pool); open != before; open = openSessions(t, pool) {
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions are open long after the listener has gone, want %d", open, before)
		}
	}
	h.goesOn(t, run.ID())
}

func openSessions(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	var n int
	if err := pool.QueryRow(t.Context(), "select count(*) from worker_sessions where closed_at = 0").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
