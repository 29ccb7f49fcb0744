package tenon

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	"github.com/tenon-run/tenon/sdk/go/internal/faketenon"
)

func TestAwaitOpensABrokenStreamAgain(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	b.start(WithWorkflows(k.wf))
	run, err := k.wf.Trigger(b.ctx, b.client, 9)
	if err != nil {
		t.Fatal(err)
	}
	b.receive("the start", k.started)
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := run.Result(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	b.server.Fail(runsv1connect.RunServiceAwaitRunsProcedure, 3, connect.CodeUnavailable, false)
	close(k.release)
	if out, err := run.Result(b.ctx); err != nil || out != 9 {
		t.Fatalf("got %d, %v", out, err)
	}
	if _, err := k.wf.Handle(b.client, run.ID()).Get(b.ctx); err != nil {
		t.Error(err)
	}
}

// Those who begin to wait while a stream is being opened share the next one; each gets the results of its own runs, and of a run that others await too.
func TestAwaitsShareAStream(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf), WithSlots(100))
	inputs := make([]int, 50)
	for i := range inputs {
		inputs[i] = i
	}
	runs, err := wf.TriggerMany(b.ctx, b.client, inputs)
	if err != nil {
		t.Fatal(err)
	}
	entered, release := b.server.Gate(runsv1connect.RunServiceAwaitRunsProcedure)
	var all sync.WaitGroup
	await := func(i int) {
		outs, err := Await(b.ctx, runs[i], runs[0], runs[i])
		if err != nil || outs[0] != 2*i || outs[1] != 0 || outs[2] != 2*i {
			t.Errorf("run %d: got %v, %v", i, outs, err)
		}
	}
	all.Go(func() { await(1) })
	b.receive("the first stream", entered)
	for i := 2; i < len(runs); i++ {
		all.Go(func() { await(i) })
	}
	gathered(b, b.client.awaits, len(runs)-2)
	release()
	all.Wait()
	b.server.Look(func(s *faketenon.Seen) {
		if len(s.Awaits) != 2 || len(s.Awaits[0].GetRunIds()) != 2 || len(s.Awaits[1].GetRunIds()) != len(runs)-1 {
			t.Errorf("the streams were %v", s.Awaits)
		}
	})
}

// A run that is not there is refused to those who await it, and to nobody who shares their stream.
func TestAwaitOfNoRunSpoilsNoOther(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf), WithSlots(20))
	runs, err := wf.TriggerMany(b.ctx, b.client, make([]int, 10))
	if err != nil {
		t.Fatal(err)
	}
	entered, release := b.server.Gate(runsv1connect.RunServiceAwaitRunsProcedure)
	var all sync.WaitGroup
	for i, run := range runs {
		bad := i == 3 || i == 7
		if bad {
			run = wf.Handle(b.client, "run_none")
		}
		all.Go(func() {
			_, err := run.Result(b.ctx)
			if (err != nil) != bad || bad && connect.CodeOf(err) != connect.CodeNotFound {
				t.Errorf("run %d: %v", i, err)
			}
		})
		if i == 0 {
			b.receive("the first stream", entered)
		}
	}
	gathered(b, b.client.awaits, len(runs)-1)
	release()
	all.Wait()
}

// One that gives up leaves the others their stream; when nobody is left the stream ends.
func TestAwaitEndsWithTheLastWhoWaits(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	b.start(WithWorkflows(k.wf), WithSlots(3))
	runs, err := k.wf.TriggerMany(b.ctx, b.client, []int{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	entered, release := b.server.Gate(runsv1connect.RunServiceAwaitRunsProcedure)
	why := errors.New("changed my mind")
	var ended [3]chan error
	var giveUp [3]context.CancelCauseFunc
	for i, run := range runs {
		ctx, cancel := context.WithCancelCause(b.ctx)
		giveUp[i], ended[i] = cancel, make(chan error, 1)
		go func() {
			_, err := run.Result(ctx)
			ended[i] <- err
		}()
		if i == 0 {
			b.receive("the first stream", entered)
		}
	}
	gathered(b, b.client.awaits, 2)
	release()
	b.until("both streams are open", func(s *faketenon.Seen) bool { return s.Awaiting == 2 })
	giveUp[1](why)
	if err := <-ended[1]; !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	b.server.Look(func(s *faketenon.Seen) {
		if s.Awaiting != 2 {
			t.Errorf("%d streams are open, want 2", s.Awaiting)
		}
	})
	giveUp[2](why)
	if err := <-ended[2]; !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	b.until("the shared stream has ended", func(s *faketenon.Seen) bool { return s.Awaiting == 1 })
	close(k.release)
	if err := <-ended[0]; err != nil {
		t.Error(err)
	}
	giveUp[0](why)
}

func TestCloseEndsAwaits(t *testing.T) {
	b := setup(t)
	k := newBlocker()
	b.start(WithWorkflows(k.wf))
	defer close(k.release)
	run, err := k.wf.Trigger(b.ctx, b.client, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewClient(WithToken(faketenon.Token), WithAddress(b.server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	handle := k.wf.Handle(other, run.ID())
	ended := make(chan error, 1)
	go func() {
		_, err := handle.Result(b.ctx)
		ended <- err
	}()
	b.until("the stream is open", func(s *faketenon.Seen) bool { return s.Awaiting == 1 })
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := handle.Result(b.ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
}

// A stream that does not open, as behind a proxy that holds answers back, keeps nobody waiting but those it is for.
func TestAwaitDoesNotWaitForAnothersStream(t *testing.T) {
	b := setup(t)
	wf := double()
	b.start(WithWorkflows(wf), WithSlots(2))
	runs, err := wf.TriggerMany(b.ctx, b.client, []int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	b.client.cfg.openPatience = time.Millisecond
	entered, release := b.server.Gate(runsv1connect.RunServiceAwaitRunsProcedure)
	held := make(chan error, 1)
	go func() {
		_, err := runs[0].Result(b.ctx)
		held <- err
	}()
	b.receive("the first stream", entered)
	if out, err := runs[1].Result(b.ctx); err != nil || out != 4 {
		t.Errorf("got %d, %v", out, err)
	}
	release()
	if err := <-held; err != nil {
		t.Error(err)
	}
}
