package authn

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/testkit"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// world is a database and a bus that a synctest bubble can hold.
type world struct {
	bus.Bus // Request and Serve are not used

	mu       sync.Mutex
	handlers map[string]func(bus.Msg)
	list     []revocation
	reads    int
	down     bool
}

type subscription struct{}

func (subscription) Stop() {}

func (w *world) Subscribe(subject string, handle func(bus.Msg)) (bus.Subscription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handlers[subject] = handle
	return subscription{}, nil
}

func (w *world) read(_ context.Context, after int64) (int64, []revocation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if w.down {
		return 0, nil, errors.New("down")
	}
	return int64(len(w.list)), w.list[min(after, int64(len(w.list))):], nil
}

func (w *world) readsSoFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads
}

func (w *world) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// revoke commits a revocation without telling anybody.
func (w *world) revoke(token flow.ID) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, revocation{number: int64(len(w.list)) + 1, token: token, expires: time.Now().Add(time.Hour)})
	return int64(len(w.list))
}

// change commits a change of a membership without telling anybody.
func (w *world) change(key member) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	number := int64(len(w.list)) + 1
	w.list = append(w.list, revocation{number: number, token: flow.ID{0xff, byte(number)}, member: key, expires: time.Now().Add(time.Hour)})
	return number
}

func (w *world) send(t *testing.T, subject string, message proto.Message) {
	t.Helper()
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	handle := w.handlers[subject]
	w.mu.Unlock()
	handle(bus.Msg{Subject: subject, Data: data})
}

// tell announces a revocation that has been committed.
func (w *world) tell(t *testing.T, number int64, token flow.ID) {
	t.Helper()
	w.send(t, SubjectRevoked, &busv1.Revoked{Number: number, TokenId: typeid.Format(typeid.Token, token), Expires: time.Now().Add(time.Hour).Unix()})
}

// beacons sends beacons for a while, as identity does.
func (w *world) beacons(t *testing.T, number int64, span time.Duration) {
	t.Helper()
	for range int(span / BeaconEvery) {
		w.send(t, SubjectBeacon, &busv1.Beacon{Number: number})
		time.Sleep(BeaconEvery) // the bubble's clock
	}
	w.send(t, SubjectBeacon, &busv1.Beacon{Number: number})
	synctest.Wait()
}

// inWorld runs test in a bubble with running Revocations that have read an empty list.
func inWorld(t *testing.T, test func(t *testing.T, w *world, r *Revocations)) {
	t.Helper()
	log := testkit.Logger(t)
	synctest.Test(t, func(t *testing.T) {
		w := &world{handlers: map[string]func(bus.Msg){}}
		r := newRevocations(w.read, w, log)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		ready := make(chan struct{})
		go func() { done <- r.RunReady(ctx, func() { close(ready) }) }()
		<-ready
		synctest.Wait()
		test(t, w, r)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

var tokenA, tokenB = flow.ID{0xa}, flow.ID{0xb}

func wantRevoked(t *testing.T, r *Revocations, token flow.ID) {
	t.Helper()
	if err := r.check(token); !fault.HasReason(err, ReasonTokenRevoked) {
		t.Errorf("check: %v, want %s", err, ReasonTokenRevoked)
	}
}

func TestAnIdleProcessReadsNothingWhileBeaconsFlow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		before := w.readsSoFar()
		w.beacons(t, 0, time.Minute)
		if got := w.readsSoFar() - before; got != 0 {
			t.Errorf("%d reads in an idle minute", got)
		}
		if err := r.check(tokenA); err != nil {
			t.Error(err)
		}
	})
}

func TestAMessageRevokesWithoutARead(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		w.beacons(t, 0, time.Second)
		before := w.readsSoFar()
		w.tell(t, w.revoke(tokenA), tokenA)
		w.beacons(t, 1, 2*time.Second)
		wantRevoked(t, r, tokenA)
		if got := w.readsSoFar() - before; got != 0 {
			t.Errorf("%d reads", got)
		}
	})
}

func TestALostMessageIsFoundByTheNextBeacon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		w.beacons(t, 0, time.Second)
		w.revoke(tokenA)
		time.Sleep(BeaconEvery)
		w.send(t, SubjectBeacon, &busv1.Beacon{Number: 1})
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		wantRevoked(t, r, tokenA)
	})
}

func TestAGapInTheNumbersIsReadAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		w.beacons(t, 0, time.Second)
		w.revoke(tokenA) // its message is lost
		w.tell(t, w.revoke(tokenB), tokenB)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		wantRevoked(t, r, tokenA)
		wantRevoked(t, r, tokenB)
	})
}

func TestMissingBeaconsAreReplacedByReads(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		w.beacons(t, 0, time.Second)
		w.revoke(tokenA) // the bus is gone from here on
		time.Sleep(time.Second)
		synctest.Wait()
		wantRevoked(t, r, tokenA)
		before := w.readsSoFar()
		time.Sleep(10 * time.Second)
		if got := w.readsSoFar() - before; got < 18 || got > 21 {
			t.Errorf("%d reads in ten seconds without beacons, want one each 500 ms", got)
		}
	})
}

func TestANumberThatPostgresLacksCausesNoStorm(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		before := w.readsSoFar()
		w.beacons(t, 99, 10*time.Second)
		if got := w.readsSoFar() - before; got > 22 {
			t.Errorf("%d reads in ten seconds", got)
		}
		if err := r.check(tokenA); err != nil {
			t.Error(err)
		}
	})
}

func TestWithoutBeaconsAndPostgresNobodyIsTrusted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		w.setDown(true)
		time.Sleep(staleAfter + time.Second)
		synctest.Wait()
		if err := r.check(tokenA); !fault.HasReason(err, ReasonRevocationsUnknown) || !fault.Is(err, fault.CodeUnavailable) {
			t.Errorf("check: %v", err)
		}
		w.setDown(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if err := r.check(tokenA); err != nil {
			t.Errorf("after Postgres came back: %v", err)
		}
	})
}

func TestWatchesEndOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		ended, left := 0, 0
		var mu sync.Mutex
		count := func(n *int) func(error) {
			return func(error) { mu.Lock(); defer mu.Unlock(); *n++ }
		}
		defer r.watchToken(tokenA, count(&ended))()
		r.watchToken(tokenA, count(&left))() // unwatched at once
		w.tell(t, w.revoke(tokenA), tokenA)
		synctest.Wait()
		r.watchToken(tokenA, count(&ended))() // too late: ends before it returns
		mu.Lock()
		defer mu.Unlock()
		if ended != 2 || left != 0 {
			t.Errorf("ended %d times, the one that had left %d times", ended, left)
		}
	})
}

func TestAChangedMembershipEndsWatchesAndRevokesNothing(t *testing.T) {
	for name, tell := range map[string]func(t *testing.T, w *world, number int64){
		"its number is told": func(t *testing.T, w *world, number int64) { w.send(t, SubjectRevoked, &busv1.Revoked{Number: number}) },
		"a beacon comes":     func(t *testing.T, w *world, number int64) { w.send(t, SubjectBeacon, &busv1.Beacon{Number: number}) },
		"nobody says a word": func(*testing.T, *world, int64) {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world, r *Revocations) {
				w.beacons(t, 0, time.Second)
				ann, bob := member{flow.ID{1}, 7}, member{flow.ID{2}, 7}
				asOf := r.asOf()
				ends := make(chan error, 3)
				keep := func(err error) { ends <- err }
				defer r.watchMember(ann, asOf, keep)()
				defer r.watchMember(bob, asOf, keep)()
				number := w.change(ann)
				tell(t, w, number)
				time.Sleep(time.Second)
				synctest.Wait()
				r.watchMember(ann, asOf, keep)() // read before the change and watched after it: too late
				defer r.watchMember(ann, r.asOf(), keep)()
				w.send(t, SubjectRevoked, &busv1.Revoked{Number: number}) // told again: who has come back stays
				w.beacons(t, number, 2*time.Second)
				if len(ends) != 2 {
					t.Fatalf("%d watches have ended", len(ends))
				}
				for range 2 {
					if err := <-ends; !fault.Is(err, fault.CodeAborted) || !fault.HasReason(err, ReasonMembershipChanged) {
						t.Errorf("ended with %v", err)
					}
				}
				if !r.isStale(ann, asOf) || r.isStale(ann, number) || r.isStale(bob, asOf) {
					t.Error("the wrong memberships are stale")
				}
				if err := r.check(flow.ID{0xff, byte(number)}); err != nil {
					t.Errorf("the change's own id counts as a revoked token: %v", err)
				}
			})
		})
	}
}

func TestRevocationsOfExpiredTokensAreForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		w.tell(t, w.revoke(tokenA), tokenA)
		w.beacons(t, w.change(member{flow.ID{1}, 7}), 2*time.Hour)
		r.mu.RLock()
		defer r.mu.RUnlock()
		if len(r.revoked) != 0 || len(r.changed) != 0 {
			t.Errorf("%d revocations and %d changes are kept", len(r.revoked), len(r.changed))
		}
	})
}

func TestRubbishOnTheBusIsSkipped(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, r *Revocations) {
		r.onRevoked(bus.Msg{Data: []byte{0xff}})
		r.onBeacon(bus.Msg{Data: []byte{0xff}})
		w.send(t, SubjectRevoked, &busv1.Revoked{Number: 1, TokenId: "tok_x"})
		if err := r.check(tokenA); err != nil {
			t.Error(err)
		}
	})
}
