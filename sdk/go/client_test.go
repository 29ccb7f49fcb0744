package tenon

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	"github.com/tenon-run/tenon/sdk/go/internal/faketenon"
)

func TestConfiguration(t *testing.T) {
	claim := base64.RawURLEncoding.EncodeToString([]byte(`{"addr":"http://tenon.test:8080/"}`))
	for name, c := range map[string]struct {
		env  map[string]string
		opts []ClientOption
		want string // address, or part of the error
	}{
		"no token":       {want: "TENON_CLIENT_TOKEN"},
		"no address":     {env: map[string]string{"TENON_CLIENT_TOKEN": "t"}, want: "TENON_CLIENT_ADDRESS"},
		"from the token": {env: map[string]string{"TENON_CLIENT_TOKEN": "h." + claim + ".s"}, want: "http://tenon.test:8080"},
		"environment wins over the token": {
			env: map[string]string{"TENON_CLIENT_TOKEN": "h." + claim + ".s", "TENON_CLIENT_ADDRESS": "http://other.test"}, want: "http://other.test",
		},
		"option wins": {
			env:  map[string]string{"TENON_CLIENT_TOKEN": "t", "TENON_CLIENT_ADDRESS": "http://other.test"},
			opts: []ClientOption{WithAddress("https://third.test")}, want: "https://third.test",
		},
		"no token wanted": {opts: []ClientOption{WithoutToken(), WithAddress("http://a.test/")}, want: "http://a.test"},
		"no token wanted, no address": {
			env: map[string]string{"TENON_CLIENT_TOKEN": "h." + claim + ".s"}, opts: []ClientOption{WithoutToken()}, want: "TENON_CLIENT_ADDRESS",
		},
		"no scheme":      {opts: []ClientOption{WithToken("t"), WithAddress("localhost:8080")}, want: "no http:// or https:// address"},
		"CA without TLS": {opts: []ClientOption{WithToken("t"), WithAddress("http://a.test"), WithTLSRootCAFile("ca.pem")}, want: "is not https://"},
		"no CA file": {
			env:  map[string]string{"TENON_CLIENT_TLS_ROOT_CA_FILE": "does-not-exist.pem"},
			opts: []ClientOption{WithToken("t"), WithAddress("https://a.test")}, want: "TLS root CA file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"TENON_CLIENT_TOKEN", "TENON_CLIENT_ADDRESS", "TENON_CLIENT_TENANT", "TENON_CLIENT_TLS_ROOT_CA_FILE", "TENON_CLIENT_TLS_SERVER_NAME"} {
				t.Setenv(key, c.env[key])
			}
			client, err := NewClient(c.opts...)
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			defer client.Close()
			if got := credentialsOf(&client.cfg).bearer; client.cfg.anonymous && got != "" {
				t.Errorf("a client without a token sends %q", got)
			}
			if client.Address() != c.want {
				t.Errorf("got %s, want %s", client.Address(), c.want)
			}
		})
	}
}

// While as many calls as may be are under way, the other triggers gather into the next one.
func TestTriggersGather(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf), WithSlots(100))
	var all sync.WaitGroup
	release := occupy(b, wf, &all)
	for i := range 200 {
		all.Go(func() {
			run, err := wf.Trigger(b.ctx, b.client, i)
			if err != nil {
				t.Error(err)
				return
			}
			b.server.Look(func(s *faketenon.Seen) {
				if got := s.Runs[run.ID()].GetInputJson(); got != strconv.Itoa(i) {
					t.Errorf("trigger %d got the run of %s", i, got)
				}
			})
		})
	}
	gathered(b, b.client.triggers, 200)
	release()
	all.Wait()
	b.server.Look(func(s *faketenon.Seen) {
		slices.Sort(s.Bulks)
		if want := append(slices.Repeat([]int{1}, maxTriggerCalls), 200); !slices.Equal(s.Bulks, want) {
			t.Errorf("the calls had %v items, want %v", s.Bulks, want)
		}
	})
}

// occupy makes as many calls with triggers as may be under way, which last until release.
func occupy(b *bench, wf *Workflow[int, int], all *sync.WaitGroup) (release func()) {
	b.t.Helper()
	var releases []func()
	for range maxTriggerCalls {
		entered, release := b.server.Gate(runsv1connect.RunServiceTriggerBulkProcedure)
		releases = append(releases, release)
		all.Go(func() {
			if _, err := wf.Trigger(b.ctx, b.client, 0); err != nil {
				b.t.Error(err)
			}
		})
		b.receive("a call", entered)
	}
	return func() {
		for _, release := range releases {
			release()
		}
	}
}

// gathered waits until so many items wait for the next batch.
func gathered[T any](b *bench, g *gatherer[T], n int) {
	b.t.Helper()
	for {
		g.mu.Lock()
		have := len(g.pending)
		g.mu.Unlock()
		if have == n {
			return
		}
		if b.ctx.Err() != nil {
			b.t.Fatalf("%d have gathered, want %d", have, n)
		}
		runtime.Gosched()
	}
}

func TestTriggerManyKeepsToTheLimit(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(NewTask("other", func(Context, int) (int, error) { return 0, nil })))
	runs, err := wf.TriggerMany(b.ctx, b.client, make([]int, 10_001))
	bulk, ok := errors.AsType[*BulkError](err)
	if !ok || len(bulk.Items) != 10_001 || len(runs) != 10_001 || runs[0] != nil || connect.CodeOf(bulk.Items[0].Err) != connect.CodeNotFound {
		t.Fatalf("got %d runs, %.200v", len(runs), err)
	}
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || refused.Reason != "UNKNOWN_WORKFLOW" {
		t.Errorf("got %v", refused)
	}
	b.server.Look(func(s *faketenon.Seen) {
		if len(s.Bulks) != 2 || s.Bulks[0] != 10_000 || s.Bulks[1] != 1 {
			t.Errorf("the calls had %v items", s.Bulks)
		}
	})
}

// A trigger whose answer got lost is sent again under the same id, no longer as the first send, and makes one run.
func TestTriggerAfterALostAnswer(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf))
	b.server.Fail(runsv1connect.RunServiceTriggerBulkProcedure, 1, connect.CodeUnavailable, true)
	run, err := wf.Trigger(b.ctx, b.client, 4)
	if err != nil || run.Created() {
		t.Fatalf("got %v, %v", run, err)
	}
	b.server.Look(func(s *faketenon.Seen) {
		if len(s.Triggers) != 2 || s.Triggers[0].GetRunId() != s.Triggers[1].GetRunId() || !s.Triggers[0].GetFirstSend() || s.Triggers[1].GetFirstSend() {
			t.Errorf("got %v", s.Triggers)
		}
		if len(s.Runs) != 1 {
			t.Errorf("%d runs were made", len(s.Runs))
		}
	})
	if out, err := run.Result(b.ctx); err != nil || out != 8 {
		t.Fatalf("got %d, %v", out, err)
	}
}

func TestLabelsGoWithTheRun(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf), WithSlots(20))
	given := map[string]string{"env": "prod", "team": "a"}
	opts := []TriggerOption{WithLabels(given), WithLabels(map[string]string{"team": "b"})}
	runs, err := wf.TriggerMany(b.ctx, b.client, []int{1, 2}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	given["env"] = "changed meanwhile"
	want := map[string]string{"env": "prod", "team": "b"}
	for i, run := range runs {
		if got, err := run.Get(b.ctx); err != nil || !maps.Equal(got.GetLabels(), want) {
			t.Errorf("run %d has the labels %v, want %v: %v", i, got.GetLabels(), want, err)
		}
	}
	if got := len(given); got != 2 {
		t.Errorf("the caller's map has %d entries", got)
	}
}

// A malformed run is refused alone, though it travels with others.
func TestMalformedTriggerSpoilsNoOther(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf), WithSlots(20))
	var all sync.WaitGroup
	release := occupy(b, wf, &all)
	for i := range 9 {
		all.Go(func() {
			var opts []TriggerOption
			if i == 5 {
				opts = append(opts, WithPriority(10))
			}
			_, err := wf.Trigger(b.ctx, b.client, i, opts...)
			if (err != nil) != (i == 5) || (i == 5 && connect.CodeOf(err) != connect.CodeInvalidArgument) {
				t.Errorf("trigger %d: %v", i, err)
			}
		})
	}
	gathered(b, b.client.triggers, 9)
	release()
	all.Wait()
}

// Who gives up leaves those who travel with it their call; it ends when nobody waits for it any more.
func TestTriggerThatGivesUpEndsNoOther(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf))
	var all sync.WaitGroup
	release := occupy(b, wf, &all)
	ctx, cancel := context.WithCancelCause(b.ctx)
	why := errors.New("changed my mind")
	gaveUp := make(chan error, 1)
	go func() {
		_, err := wf.Trigger(ctx, b.client, 1)
		gaveUp <- err
	}()
	all.Go(func() {
		if _, err := wf.Trigger(b.ctx, b.client, 2); err != nil {
			t.Error(err)
		}
	})
	gathered(b, b.client.triggers, 2)
	entered, proceed := b.server.Gate(runsv1connect.RunServiceTriggerBulkProcedure)
	release()
	b.receive("the call of both", entered)
	cancel(why)
	if err := <-gaveUp; !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	proceed()
	all.Wait()
	b.server.Look(func(s *faketenon.Seen) {
		if !slices.Contains(s.Bulks, 2) {
			t.Errorf("the calls had %v items", s.Bulks)
		}
	})
}

// What can't be written is refused before it travels with others.
func TestTriggerThatCannotBeSent(t *testing.T) {
	b := setup(t)
	if _, err := double().Trigger(b.ctx, b.client, 0, WithRunID("run_\xff")); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("got %v", err)
	}
	b.server.Look(func(s *faketenon.Seen) {
		if len(s.Bulks) != 0 {
			t.Errorf("the server was called: %v", s.Bulks)
		}
	})
}

func TestTriggerEndsWithItsContext(t *testing.T) {
	b := setup(t)
	entered, release := b.server.Gate(runsv1connect.RunServiceTriggerBulkProcedure)
	defer release()
	ctx, cancel := context.WithCancelCause(b.ctx)
	why := errors.New("changed my mind")
	go func() {
		<-entered
		cancel(why)
	}()
	if _, err := double().Trigger(ctx, b.client, 0); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// A call that runs out of time says what kept it.
func TestTimeoutNamesTheTrouble(t *testing.T) {
	b := setup(t)
	b.server.Fail(runsv1connect.RunServiceTriggerBulkProcedure, 1<<30, connect.CodeUnavailable, false)
	b.server.Fail(runsv1connect.RunServiceGetRunProcedure, 1<<30, connect.CodeUnavailable, false)
	ctx, cancel := context.WithTimeout(b.ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := double().Trigger(ctx, b.client, 0); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("trigger: %v", err)
	}
	ctx, cancel = context.WithTimeout(b.ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := b.client.GetRun(ctx, "run_x"); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("get: %v", err)
	}
}

func TestClosedClient(t *testing.T) {
	b := setup(t)
	if err := b.client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := double().Trigger(b.ctx, b.client, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("trigger: %v", err)
	}
	if _, err := b.client.GetRun(b.ctx, "run_x"); !errors.Is(err, ErrClosed) {
		t.Errorf("get: %v", err)
	}
}

func TestReplay(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf))
	run, err := wf.Trigger(b.ctx, b.client, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run.Result(b.ctx); err != nil {
		t.Fatal(err)
	}
	again, err := run.Replay(b.ctx)
	if err != nil || again.GetGeneration() != 2 {
		t.Fatalf("got %v, %v", again, err)
	}
	if out, err := run.Result(b.ctx); err != nil || out != 8 {
		t.Fatalf("got %d, %v", out, err)
	}
}

// An https:// address is spoken to over HTTP/2, and trusted by the root CA file alone.
func TestTLSWithARootCAFile(t *testing.T) {
	major := make(chan int, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		major <- r.ProtoMajor
		http.NotFound(w, r)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	trusting, err := NewClient(WithToken("t"), WithAddress(server.URL), WithTLSRootCAFile(file), WithTLSServerName("example.com"))
	if err != nil {
		t.Fatal(err)
	}
	defer trusting.Close()
	if _, err := trusting.GetRun(t.Context(), "run_x"); connect.CodeOf(err) != connect.CodeUnimplemented || <-major != 2 {
		t.Errorf("got %v", err)
	}
	wary, err := NewClient(WithToken("t"), WithAddress(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer wary.Close()
	if _, err := wary.GetRun(t.Context(), "run_x"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient(WithToken("t"), WithAddress(server.URL), WithTLSRootCAFile(file)); err == nil || !strings.Contains(err.Error(), "no PEM") {
		t.Errorf("got %v", err)
	}
}

// A rate limit is waited out, a size limit is not.
func TestTransient(t *testing.T) {
	limited := connect.NewError(connect.CodeResourceExhausted, errors.New("slow down"))
	if transient(limited) {
		t.Error("a size limit is tried again")
	}
	// As in a response with google.rpc.RetryInfo: only the detail's type matters.
	detail, err := connect.NewErrorDetail(&anypb.Any{TypeUrl: "type.googleapis.com/google.rpc.RetryInfo"})
	if err != nil {
		t.Fatal(err)
	}
	limited.AddDetail(detail)
	if !transient(limited) {
		t.Error("a rate limit is final")
	}
	for code, want := range map[connect.Code]bool{connect.CodeUnavailable: true, connect.CodeNotFound: false, connect.CodePermissionDenied: false} {
		if got := transient(fmt.Errorf("call: %w", connect.NewError(code, errors.New("x")))); got != want {
			t.Errorf("%s: got %v", code, got)
		}
	}
}
